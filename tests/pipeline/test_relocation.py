"""Source images that were moved are compared, and nothing is computed anew."""

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.pipeline.relocation import relocate_sources
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.testing import describe_pipeline, write_plate
from tests.conftest import run_here

PATTERN = r"(?P<plate>\w+)/(?P<well>[A-Z]\d+)_s(?P<field>\d+)_(?P<channel>\w+)\.tif"


def test_moved_sources_are_the_same_and_nothing_runs_again(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "in", wells=4)
    content = describe_pipeline(plate, screen=False)
    content["stages"][0] |= {
        "source": str(plate.source),
        "reader": "pattern",
        "pattern": PATTERN,
    }
    url = str(tmp_path / "e")
    first = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert sum(first.ran.values()) > 4
    content["stages"][0]["source"] = str(tmp_path / "archive" / plate.source.name)
    (tmp_path / "archive").mkdir()
    plate.source.rename(tmp_path / "archive" / plate.source.name)
    files = sorted(p for p in (tmp_path / "archive").rglob("*") if p.suffix in (".tif", ".tiff"))
    for path in files:  # as copying to another disk does
        os.utime(path, ns=(1, 1))

    kept = files[0].read_bytes()
    files[0].write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(InputError, match="other bytes than the file that was converted"):
        relocate_sources(open_experiment(url), str(tmp_path / "archive"))
    files[0].write_bytes(kept[:-1])
    with pytest.raises(InputError, match="Copy it again"):
        relocate_sources(open_experiment(url), str(tmp_path / "archive"))
    files[0].unlink()
    with pytest.raises(InputError, match="not there"):
        relocate_sources(open_experiment(url), str(tmp_path / "archive"))
    files[0].write_bytes(kept)
    os.utime(files[0], ns=(1, 1))

    result = CliRunner().invoke(i2r, ["relocate", url, str(tmp_path / "archive")])
    assert result.exit_code == 0, result.output
    assert f"{len(files)} files" in result.output
    again = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert sum(again.ran.values()) == 0

    os.utime(files[0], ns=(2, 2))  # from here on it is another file
    changed = run_here(parse_pipeline(content, where="test"), tmp_path / "e")
    assert 0 < sum(changed.ran.values()) < sum(first.ran.values())


def test_a_moved_ome_zarr_plate_is_the_same_by_its_pixels(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "in", wells=4)
    content = describe_pipeline(plate, screen=False)
    content["stages"] = content["stages"][:1]
    run_here(parse_pipeline(content, where="test"), tmp_path / "first")
    shutil.copytree(tmp_path / "first" / "plates", tmp_path / "in" / "plates")
    (zarr,) = (tmp_path / "in" / "plates").iterdir()
    convert = content["stages"][0]
    again = {"stage": "convert", "source": str(zarr.parent), "layout": convert["layout"]}
    pipeline = {"stages": [again, {"stage": "quality"}]}
    url = tmp_path / "e"
    first = run_here(parse_pipeline(pipeline, where="test"), url)
    assert first.exit_code == 0

    moved = tmp_path / "archive" / "here" / zarr.name
    shutil.copytree(zarr, moved)  # with other times of change
    for path in moved.rglob("*"):
        os.utime(path, ns=(1, 1))
    shutil.rmtree(zarr)
    chunk = next(p for p in sorted(moved.rglob("*")) if p.is_file() and "/0/c/" in str(p))
    kept = chunk.read_bytes()
    chunk.write_bytes(kept[:40] + bytes([kept[40] ^ 1]) + kept[41:])
    with pytest.raises(InputError, match="other pixels than the file that was converted"):
        relocate_sources(open_experiment(str(url)), str(moved.parent))
    chunk.write_bytes(kept)
    os.utime(chunk, ns=(1, 1))

    found = relocate_sources(open_experiment(str(url)), str(moved.parent))
    assert found.files == found.hashed > 0
    again["source"] = str(moved.parent)
    assert sum(run_here(parse_pipeline(pipeline, where="test"), url).ran.values()) == 0
