"""What is gone or damaged is noticed wherever it is read, named, and made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from i2r.errors import DamageError
from i2r.pipeline.preview import preview_units
from i2r.pipeline.spec import load_pipeline
from i2r.store import files, shards
from i2r.store.arrays import read_array, write_array
from i2r.store.damage import find_damage, iterate_outputs
from i2r.store.experiment import open_experiment
from i2r.store.unit_result import Entry
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import run_here, short_pipeline

WELL = "A03"
IMAGE = "plates/P1.ome.zarr/A/3/1/0"
LABELS = "plates/P1.ome.zarr/A/3/2/labels/segment/0"
CROPS = f"nuclei/crop/P1.zarr/{WELL}"
PART = f"tables/segment/P1/{WELL}.parquet"
MERGED = "tables/crop/P1.parquet"


def find_shard(array: Path) -> Path:
    return next(path for path in (array / "c").rglob("0") if path.is_file())


def flip(path: Path, at: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 if at is None else at] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("array", [IMAGE, LABELS, CROPS])
def test_a_flipped_bit_is_named_with_well_and_command(cropped: Path, array: str) -> None:
    shard = find_shard(cropped / array)
    flip(shard)
    line = rf"{array}: damaged \(.*'i2r repair {cropped} P1/{WELL}' makes it again"
    with pytest.raises(DamageError, match=line):
        read_array(f"{cropped}/{array}")
    with pytest.raises(Exception, match=r"(?i)checksum"):  # others read the codec too
        zarr.open_array(cropped / array, mode="r")[...]
    experiment = open_experiment(str(cropped))
    assert find_problems(experiment) == []
    (problem,) = find_problems(experiment, deep=True)
    assert array in problem
    # Wherever it is in the shard.
    flip(shard)
    size = shard.stat().st_size
    for at in range(0, size, max(1, size // 40)):
        flip(shard, at)
        with pytest.raises(DamageError):
            read_array(f"{cropped}/{array}")
        flip(shard, at)
    read_array(f"{cropped}/{array}")


def test_two_shards_that_changed_places(tmp_path: Path) -> None:
    """Both are whole, and of one size: only their arrays know which is whose."""
    for name in ("a", "b"):
        noise = np.random.default_rng(len(name) + ord(name)).integers(0, 2**16, (2, 64, 64))
        write_array(
            f"{tmp_path}/{name}", noise.astype(np.uint16), chunk=(1, 64, 64), axes=("c", "y", "x")
        )
    first, second = find_shard(tmp_path / "a"), find_shard(tmp_path / "b")
    assert first.stat().st_size == second.stat().st_size
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(DamageError):
        read_array(f"{tmp_path}/a")
    with pytest.raises(DamageError):
        read_array(f"{tmp_path}/b", region=(slice(1, 2),))


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


LOSSES: list[tuple[Callable[[Path], None], str]] = [
    (remove, "plates/P1.ome.zarr/A/3"),
    (remove, LABELS),
    (remove, CROPS),
    (remove, PART),
    (remove, MERGED),
    (remove, "plates/P1.ome.zarr/zarr.json"),
    (remove, "plates/P1.ome.zarr/A/3/1/zarr.json"),
    (cut, PART),
    (cut, MERGED),
    (cut, f"{CROPS}/c/0/0/0/0"),
]


@pytest.mark.parametrize(("lose", "path"), LOSSES)
def test_the_same_command_again_makes_what_is_gone(
    cropped: Path, plate: PlateFiles, lose: Callable[[Path], None], path: str
) -> None:
    before = digest_experiment(str(cropped))
    lose(cropped / path)
    assert find_problems(open_experiment(str(cropped)))
    said: list[str] = []

    def refuse(question: str) -> bool:
        raise AssertionError(question)  # its options are those that it had

    run = run_here(short_pipeline(plate), cropped, say=said.append, confirm=refuse)
    assert run.exit_code == 0
    assert "to be made again" in "\n".join(said)
    assert digest_experiment(str(cropped)) == before
    assert find_problems(open_experiment(str(cropped)), deep=True) == []
    assert not run_here(short_pipeline(plate), cropped).ran


@pytest.mark.parametrize("path", [IMAGE, LABELS, PART])
def test_damage_that_shows_when_it_is_read(cropped: Path, plate: PlateFiles, path: str) -> None:
    """Sizes are right, so only the stage that reads it can know: it stops, and goes on after."""
    changed = short_pipeline(plate, crop={"min_solidity": 0.2})
    twin = cropped.with_name("twin")
    shutil.copytree(cropped, twin)
    run_here(changed, twin)
    flip(find_shard(cropped / path) if "zarr" in path else cropped / path)
    said: list[str] = []
    summary = run_here(changed, cropped, say=said.append)
    assert summary.exit_code == 0
    assert "damaged" in "\n".join(said)
    assert summary.ran["crop"] >= 8
    assert digest_experiment(str(cropped)) == digest_experiment(str(twin))


def test_a_table_of_a_stage_that_is_read_as_a_whole(screened: Path, plate: PlateFiles) -> None:
    """Workers are not told of all its files; the client looks before anything is read."""
    pipeline = load_pipeline(str(plate.pipeline))
    merged = sorted((screened / "tables/screen-scores").glob("*.parquet")) or sorted(
        (screened / "tables/screen").glob("*.parquet")
    )
    before = digest_experiment(str(screened))
    flip(merged[0])
    assert find_problems(open_experiment(str(screened))) == []
    assert find_problems(open_experiment(str(screened)), deep=True)
    summary = run_here(pipeline, screened, deep=())
    assert summary.exit_code == 0
    assert summary.ran
    assert digest_experiment(str(screened)) == before


def test_repair_by_the_command_line(cropped: Path, cli: Callable[..., tuple[int, str]]) -> None:
    before = digest_experiment(str(cropped))
    flip(find_shard(cropped / CROPS))
    code, said = cli("repair", cropped, "P1/A04", "--cluster", "none", "--yes")
    assert (code, "damaged" in said) == (0, False)
    code, said = cli("validate", cropped, "--deep")
    assert (code, "1 problem" in said) == (2, True)
    code, said = cli("repair", cropped, f"P1/{WELL}", "--cluster", "none", "--yes")
    assert code == 0, said
    assert f"to be made again: crop P1/{WELL}" in said
    assert cli("validate", cropped, "--deep")[0] == 0
    assert digest_experiment(str(cropped)) == before
    code, said = cli("repair", cropped, "P1/Z99", "--cluster", "none", "--yes")
    assert (code, "no unit 'P1/Z99'" in said) == (2, True)


def strip_checksums(experiment: Path) -> None:
    """Make of an experiment what an earlier i2r would have written."""
    for path in experiment.rglob("zarr.json"):
        document = json.loads(path.read_text())
        if document["node_type"] != "array":
            continue
        content: Any = zarr.open_array(path.parent, mode="r")[...]
        document["attributes"].pop("i2r", None)
        inner = document["codecs"][0]["configuration"]["codecs"]
        document["codecs"][0]["configuration"]["codecs"] = inner[:-1]
        path.write_text(json.dumps(document))
        if content.size:
            zarr.open_array(path.parent, mode="r+")[...] = content
    for path in (experiment / "ledger").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line.get("result", {}).pop("outputs", None)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (experiment / "ledger/state.parquet").unlink()


def test_experiments_without_checksums_stay_readable_and_current(
    cropped: Path, plate: PlateFiles
) -> None:
    before = digest_experiment(str(cropped))
    strip_checksums(cropped)
    assert find_problems(open_experiment(str(cropped)), deep=True) == []
    assert digest_experiment(str(cropped)) == before
    pipeline = short_pipeline(plate)
    pending = preview_units(pipeline, open_experiment(str(cropped)))
    assert not any(pending.values())
    assert not run_here(pipeline, cropped).ran
    # What is gone of them is noticed all the same.
    for path in (CROPS, IMAGE, PART):
        remove(cropped / path)
    assert run_here(pipeline, cropped).exit_code == 0
    assert digest_experiment(str(cropped)) == before


def test_every_unit_says_what_it_wrote_and_nothing_else_is_there(screened_original: Path) -> None:
    experiment = open_experiment(str(screened_original))
    outputs = list(iterate_outputs(experiment))
    assert all(output.mark is not None for output in outputs)
    assert find_damage(experiment, outputs, content=True) == []
    noted = {output.path for output in outputs}
    beside = {"experiment.json", "layout.parquet", "sources.parquet", "report.html"}

    for found in files.find_files(experiment.url, lambda path: True):
        folder, _, name = found.path.rpartition("/")
        if found.path in beside or found.path.startswith(("ledger/", "runs/")):
            continue
        of_array = name == "zarr.json" and any(p.startswith(f"{folder}/c/0") for p in noted)
        shared = found.path.endswith("/labels/zarr.json")
        assert found.path in noted or of_array or shared, found.path


def test_entries_of_units_fit_into_the_folded_state(cropped: Path) -> None:
    experiment = open_experiment(str(cropped))
    entry = experiment.ledger.entry("crop", f"P1/{WELL}")
    assert isinstance(entry, Entry)
    n_bytes, checksum = entry.result["outputs"][PART.replace("segment", "crop")]
    assert n_bytes == (cropped / PART.replace("segment", "crop")).stat().st_size
    assert 0 <= checksum < 2**32


def test_sizes_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    url = str(tmp_path / "a")
    write_array(url, np.ones((3, 8, 8), np.uint16), chunk=(1, 8, 8), axes=("c", "y", "x"))
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    for shape in ([10**9, 8, 8], [3, 10**9, 8], [3, 8, 10**400]):
        changed = json.loads(json.dumps(document))
        changed["shape"] = shape
        changed["chunk_grid"]["configuration"]["chunk_shape"] = shape
        (tmp_path / "a/zarr.json").write_text(json.dumps(changed))
        with pytest.raises(DamageError):
            read_array(url)
        inner = changed["codecs"][0]["configuration"]
        inner["chunk_shape"] = shape
        (tmp_path / "a/zarr.json").write_text(json.dumps(changed))
        with pytest.raises(DamageError):
            read_array(url)


def test_checksums_are_those_of_the_specification(tmp_path: Path) -> None:
    """RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 8a9136aa."""
    assert shards.google_crc32c.value(bytes(32)) == 0x8A9136AA
    url = str(tmp_path / "a")
    values = np.arange(600, dtype=np.uint16).reshape(10, 60)
    write_array(url, values, chunk=(4, 60), axes=("y", "x"))
    assert (zarr.open_array(url, mode="r")[...] == values).all()
