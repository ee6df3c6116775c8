"""Nuclei of an experiment of one's own, to compose simulated fields of."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.simulation import ScreenDesign, write_screen
from i2r.simulation.nuclei import CROP_PX
from i2r.simulation.samples import fit_nucleus, sample_nuclei
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


def draw_disk(radius: float, edge: int = 40, value: int = 700) -> np.ndarray:
    y, x = np.ogrid[:edge, :edge]
    return np.where(np.hypot(y - edge / 2, x - edge / 2) <= radius, value, 0).astype(np.uint16)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.5])
def test_a_nucleus_is_scaled_framed_and_relative_to_the_background(zoom: float) -> None:
    framed = fit_nucleus(draw_disk(12), 200.0, zoom)
    assert framed is not None
    assert framed.shape == (CROP_PX, CROP_PX)
    assert framed.max() == pytest.approx(500)
    assert (framed > 250).sum() == pytest.approx(np.pi * (12 * zoom) ** 2, rel=0.1)
    middle = np.argwhere(framed > 0).mean(axis=0)
    np.testing.assert_allclose(middle, (CROP_PX - 1) / 2, atol=1)


def test_without_a_background_the_lowest_value_inside_is_taken() -> None:
    image = draw_disk(12)
    image[20, 20] = 300
    framed = fit_nucleus(image, None, 1.0)
    assert framed is not None
    assert framed.max() == pytest.approx(400)


@pytest.mark.parametrize(
    ("image", "background", "zoom"),
    [
        (draw_disk(12), 200.0, 3.0),
        (draw_disk(25), 200.0, 1.0),
        (np.zeros((40, 40), np.uint16), 200.0, 1.0),
        (draw_disk(12), 900.0, 1.0),
    ],
    ids=["too large", "cut by the edge", "empty", "below the background"],
)
def test_what_does_not_fit_is_left_out(image: np.ndarray, background: float, zoom: float) -> None:
    assert fit_nucleus(image, background, zoom) is None


def test_nuclei_come_from_negative_controls_and_make_fields(
    cropped_original: Path, tmp_path: Path
) -> None:
    nuclei = sample_nuclei(str(cropped_original))
    assert 20 <= len(nuclei.crops) <= 300
    assert nuclei.crops.shape[1:] == (CROP_PX, CROP_PX)
    assert (nuclei.crops.reshape(len(nuclei.crops), -1).max(axis=1) == 255).all()
    again, other = (sample_nuclei(str(cropped_original), seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(nuclei.crops, again.crops)
    assert not np.array_equal(nuclei.peaks, other.peaks)
    design = ScreenDesign(genes=1, null_genes=1, plates=1, controls=1, fields=1, field_px=96)
    for name, given in (("own", nuclei), ("shipped", None)):
        write_screen(str(tmp_path / name), design, nuclei=given)
    images = [
        (tmp_path / name / "images" / "P1" / "A01_s1_DNA.tif").read_bytes()
        for name in ("own", "shipped")
    ]
    assert images[0] != images[1]


def test_an_experiment_without_bare_nuclei_is_refused(plate: PlateFiles, tmp_path: Path) -> None:
    pipeline = short_pipeline(plate, crop={"mask": False})
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    with pytest.raises(InputError, match="no crops of bare nuclei"):
        sample_nuclei(str(tmp_path / "e"))
    command = ["simulate", str(tmp_path / "s"), "--side", "regulation", "--nuclei", "e"]
    assert CliRunner().invoke(i2r, command).exit_code == 2
