"""Whatever is taken away from an experiment is missed, with one line that names it."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.weights import encode_encoder
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.store.ledger import Ledger, LedgerWriter
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import run_here, short_pipeline

FIELD = "plates/P1.ome.zarr/A/3/2"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def reshape(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"shape": [1, 95, 128]}))


def retype(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"data_type": "uint8"}))


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_a_whole_experiment_has_no_problems(
    cropped_original: Path, screened_original: Path
) -> None:
    assert find_problems(open_experiment(str(cropped_original))) == []
    assert find_problems(open_experiment(str(screened_original))) == []


@pytest.mark.parametrize(
    ("damage", "path", "named"),
    [
        (remove, "plates/P1.ome.zarr", "plates/P1.ome.zarr"),
        (remove, "plates/P1.ome.zarr/zarr.json", "plates/P1.ome.zarr"),
        (truncate, "plates/P1.ome.zarr/zarr.json", "plates/P1.ome.zarr"),
        (remove, "plates/P1.ome.zarr/A/3/zarr.json", "plates/P1.ome.zarr/A/3"),
        (truncate, "plates/P1.ome.zarr/A/3/zarr.json", "plates/P1.ome.zarr/A/3"),
        (remove, FIELD, FIELD),
        (truncate, f"{FIELD}/zarr.json", FIELD),
        (truncate, f"{FIELD}/0/zarr.json", f"{FIELD}/0"),
        (reshape, f"{FIELD}/0/zarr.json", f"{FIELD}/0"),
        (retype, f"{FIELD}/0/zarr.json", f"{FIELD}/0"),
        (remove, f"{FIELD}/0/c/0/0/0", f"{FIELD}/0"),
        (remove, f"{FIELD}/labels/segment", f"{FIELD}/labels/segment"),
        (remove, f"{FIELD}/labels/segment/0/c/0/0", f"{FIELD}/labels/segment/0"),
        (remove, "nuclei/crop/P1.zarr/A03", "nuclei/crop/P1.zarr/A03"),
        (truncate, "nuclei/crop/P1.zarr/A03/zarr.json", "nuclei/crop/P1.zarr/A03"),
        (reshape, "nuclei/crop/P1.zarr/A03/zarr.json", "nuclei/crop/P1.zarr/A03"),
        (remove, "nuclei/crop/P1.zarr/A03/c", "nuclei/crop/P1.zarr/A03"),
        (remove, "tables/crop/P1/A03.parquet", "tables/crop/P1/A03.parquet"),
        (remove, "tables/segment/P1/A03.parquet", "tables/segment/P1/A03.parquet"),
        (remove, "tables/quality/P1.parquet", "tables/quality/P1.parquet"),
    ],
)
def test_whatever_is_damaged_is_named(
    damage: Callable[[Path], None], path: str, named: str, cropped: Path
) -> None:
    damage(cropped / path)
    problems = find_problems(open_experiment(str(cropped)))
    assert problems
    assert any(f"{cropped}/{named}" in line for line in problems)
    assert all("\n" not in line for line in problems)


def test_excluded_fields_and_units_that_are_not_done_are_no_problems(
    own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate, url = own_plate(), tmp_path / "e"
    (plate.source / "P1" / "A01_s1_DNA.tif").unlink()
    for field in (1, 2):
        (plate.source / "P1" / f"A02_s{field}_DNA.tif").unlink()
    run_here(short_pipeline(plate, quality={"exclude": ["P1/A03/1"]}), url)
    assert find_problems(open_experiment(str(url))) == []
    shutil.rmtree(url / "nuclei" / "crop" / "P1.zarr" / "A04")
    writer = LedgerWriter(Ledger(f"{url}/ledger"), 2)
    writer.write("crop", "P1/A04", "start", "x")
    writer.close()
    assert find_problems(open_experiment(str(url))) == []


def test_a_plate_takes_no_more_than_milliseconds_per_field(cropped_original: Path) -> None:
    began = time.process_time()
    find_problems(open_experiment(str(cropped_original)))
    # 384 wells of 9 fields in less than 10 s are 2.9 ms per field.
    assert (time.process_time() - began) / 16 < 0.02


def test_what_a_stage_as_a_whole_wrote_is_missed_too(
    plate: PlateFiles, cropped: Path, screened: Path, tmp_path: Path
) -> None:
    """A ranking, illumination functions, an encoder and a network."""
    encoder = build_encoder(EncoderSettings(widths=(4,), embedding_dim=3), seed=4)
    (tmp_path / "own.pt").write_bytes(encode_encoder(encoder))
    (tmp_path / "n.csv").write_text("source,target,cost\na,b,0.5\nb,c,0.5\n")
    content = describe_pipeline(plate, screen=False)
    content["stages"] += [
        {"stage": "train", "method": "import", "weights": str(tmp_path / "own.pt")},
        {"stage": "interactome", "method": "import", "network": str(tmp_path / "n.csv"),
         "targets": ["c"]},
        {"stage": "illuminate", "needs": ["convert"]},
    ]  # fmt: skip
    assert run_here(parse_pipeline(content, where="test"), cropped).exit_code == 0
    for url, pattern in (
        (screened, "tables/screen/all.parquet"),
        (cropped, "models/train/imported.pt"),
        (cropped, "networks/*.graphml"),
        (cropped, "illumination/illuminate/P1.zarr/*/function"),
        (cropped, "tables/illuminate/all.parquet"),
    ):
        paths = list(url.glob(pattern))
        assert paths, pattern
        for path in paths:
            remove(path)
            problems = find_problems(open_experiment(str(url)))
            assert any(str(path) in line for line in problems), path
