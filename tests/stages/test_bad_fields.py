"""A plate of fields that show nothing, or too much: every image stage takes them."""

from pathlib import Path

import numpy as np
import tifffile

from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate
from tests.conftest import run_here

SHAPE = (96, 128)


def draw_giant() -> np.ndarray:
    """One object that nearly fills the field."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    return 200 + 3000 * (np.hypot(y - 48, x - 64) < 44) + noise


def draw_specks() -> np.ndarray:
    """Single bright pixels."""
    field = np.full(SHAPE, 200.0)
    field[::11, ::13] = 5000
    return field


FIELDS = {
    "A01": np.zeros(SHAPE),
    "A02": np.full(SHAPE, 1000.0),
    "A03": np.full(SHAPE, 65535.0),
    "A04": np.random.default_rng(1).poisson(300, SHAPE),
    "A05": draw_specks(),
    "A06": draw_giant(),
}


def test_fields_that_show_nothing_or_too_much_go_through_every_stage(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=8, fields=2, shape=SHAPE)
    for well, field in FIELDS.items():
        for path in plate.source.rglob(f"{well}_*.tif"):
            tifffile.imwrite(path, field.astype(np.uint16))
    content = describe_pipeline(plate, screen=False)
    content["stages"] += ["features", "report"]
    summary = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert summary.exit_code == 0, summary
    experiment = open_experiment(str(tmp_path / "e"))
    nuclei = experiment.table("segment").groupby("well").size()
    assert {well: int(nuclei.get(well, 0)) for well in FIELDS} == {
        **dict.fromkeys(FIELDS, 0),
        "A06": 2,
    }
    assert (nuclei[["A07", "A08"]] > 10).all()
    crops = experiment.table("crop")
    assert set(crops.loc[crops["well"] == "A06", "reason"]) == {"area_large"}
    features = experiment.table("features")
    assert set(features["well"]) == {"A07", "A08"}
    assert np.isfinite(features.select_dtypes(np.float32).to_numpy()).all()
    saturated = experiment.table("quality").set_index("well").loc["A03", "saturated_fraction"]
    assert (saturated == 1).all()
