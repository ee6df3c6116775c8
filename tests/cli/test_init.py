"""The newcomer's way: a folder of TIFFs, 'i2r init', a filled-in layout, a run, a report."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.testing import write_plate

PATTERN = r"(?P<plate>[^/]+)/(?P<well>[A-H]\d+)_s(?P<field>\d+)_(?P<channel>\w+)\.tif"


def fill_in(folder: Path, truth: Path) -> None:
    """Do what the user is asked to do: name the perturbations, say what a pixel is."""
    layout = pd.read_csv(folder / "layout.csv", dtype=str).drop(columns=["perturbation", "role"])
    known = pd.read_csv(truth, dtype=str)[["well", "perturbation", "role"]]
    layout.merge(known, on="well").to_csv(folder / "layout.csv", index=False)
    content = yaml.safe_load((folder / "pipeline.yaml").read_text())
    for stage in content["stages"]:
        if stage["stage"] == "convert":
            stage["pixel_size_um"] = 1.0
        if stage["stage"] == "crop":
            stage |= {"size_px": 32, "min_area_um2": 60}
        if stage["stage"] == "screen":
            stage |= {"control_draws": 1, "n_folds": 2}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("kind", ["folder with a pattern", "load_data.csv"])
def test_newcomer_reaches_crops_and_a_report(tmp_path: Path, kind: str) -> None:
    plate = write_plate(tmp_path / "plate", wells=8, fields=1)
    folder = tmp_path / "screen"
    given = ["--source", str(plate.load_data)]
    if kind == "folder with a pattern":
        given = ["--source", str(plate.source), "--pattern", PATTERN]
    runner = CliRunner()
    started = runner.invoke(i2r, ["init", str(folder), *given])
    assert started.exit_code == 0, started.output
    assert "8 wells" in started.output
    fill_in(folder, plate.layout)

    command = ["run", str(folder / "pipeline.yaml"), str(folder / "e"), "--cluster", "none"]
    done = runner.invoke(i2r, command)
    assert done.exit_code == 0, done.output
    assert "report:" in done.output
    assert (folder / "e" / "report.html").stat().st_size > 10_000
    assert list((folder / "e" / "nuclei" / "crop" / "P1.zarr").iterdir())

    again = runner.invoke(i2r, command)
    assert again.exit_code == 0
    assert "nothing to do" in again.output


def test_init_touches_no_existing_file(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=4, fields=1)
    folder = tmp_path / "screen"
    arguments = ["init", str(folder), "--source", str(plate.load_data)]
    assert CliRunner().invoke(i2r, arguments).exit_code == 0
    (folder / "layout.csv").write_text("mine")
    refused = CliRunner().invoke(i2r, arguments)
    assert refused.exit_code == 1  # the command line's main turns it into one line and 2
    assert "exists already" in str(refused.exception)
    assert (folder / "layout.csv").read_text() == "mine"


def test_init_prints_commands_that_a_shell_takes(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=4, fields=1)
    folder = tmp_path / "mein Screen"
    said = CliRunner().invoke(i2r, ["init", str(folder), "--source", str(plate.load_data)]).output
    command = next(line for line in said.splitlines() if line.startswith("4. ")).partition(" ")[2]
    paths = [str(folder / "pipeline.yaml"), str(folder / "experiment")]
    assert shlex.split(command) == ["i2r", "run", *paths]
    assert said.startswith("found 1 plate, 4 wells, ")


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=4, fields=1)
    (tmp_path / "file").write_text("no folder")
    arguments = ["init", str(tmp_path / "file" / "screen"), "--source", str(plate.load_data)]
    with pytest.raises(InputError, match="can't be written"):
        CliRunner().invoke(i2r, arguments, catch_exceptions=False)


def test_a_plate_that_comes_later_is_added_to_the_layout(tmp_path: Path) -> None:
    plate = write_plate(tmp_path / "plate", wells=4, fields=1)
    folder = tmp_path / "screen"
    runner = CliRunner()
    given = ["--source", str(plate.source), "--pattern", PATTERN, "-q"]
    started = runner.invoke(i2r, ["init", str(folder), *given])
    assert (started.exit_code, started.output) == (0, "")
    assert "method: fast" in (folder / "pipeline.yaml").read_text()
    # What somebody fills in, in an order and with a separator of their own.
    mine = 'role;Well;plate;notes\nnegative_control;a1;P1;"a;b"\ntreated;A02;P1;\ntreated;Z9;P1;\n'
    (folder / "layout.csv").write_text(mine)
    pipeline = (folder / "pipeline.yaml").read_text()
    write_plate(tmp_path / "plate", wells=2, fields=1, plate="P2")
    done = runner.invoke(i2r, ["init", str(folder), "--update"])
    assert done.exit_code == 0, done.output
    assert "4 rows added" in done.output
    assert "1 well of the layout without images: P1/Z09" in done.output
    added = ";A03;P1;\n;A04;P1;\n;A01;P2;\n;A02;P2;\n"
    assert (folder / "layout.csv").read_text() == mine + added
    assert (folder / "pipeline.yaml").read_text() == pipeline
    again = runner.invoke(i2r, ["init", str(folder), "--update"])
    assert "0 rows added" in again.output
    assert (folder / "layout.csv").read_text() == mine + added


def test_update_needs_what_init_made_and_takes_no_other_option(tmp_path: Path) -> None:
    for given, words in (
        (["--update"], "pipeline.yaml: not there"), (["--update", "--plate", "P"], "found --plate too"),
        ([], "--source: not given"),
    ):  # fmt: skip
        refused = CliRunner().invoke(i2r, ["init", str(tmp_path / "none"), *given])
        assert isinstance(refused.exception, InputError)
        assert words in str(refused.exception)


def test_files_that_cannot_be_used_are_said_once_and_why(tmp_path: Path) -> None:
    """A cut file, one of several times, and a link that leads back to itself: three in eight."""
    plane = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    for number in range(8):
        path = tmp_path / "images" / f"A{number + 1:02d}_s1_w1.tif"
        path.parent.mkdir(exist_ok=True)
        stack = np.stack([plane] * 2)
        about = {"metadata": {"axes": "TYX"}, "ome": True} if number == 3 else {}
        tifffile.imwrite(path, stack if number == 3 else plane, **about)
        if number == 5:
            path.write_bytes(path.read_bytes()[:2000])
        if number == 6:
            path.unlink()
            path.symlink_to(path.name)
    given = ["init", str(tmp_path / "s"), "--source", str(tmp_path / "images")]
    done = CliRunner().invoke(i2r, given)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "note: 1 of 8 files is missing" in lines
    assert "note: missing files: A07_s1_w1.tif" in lines
    assert "note: 1 well has no image at all: images/A07" in lines
    (cut,) = [line for line in lines if "A06_s1_w1.tif" in line]
    assert cut.startswith("note: 1 file can't be read whole, for example: ")
    (times,) = [line for line in lines if "A04_s1_w1.tif" in line]
    assert times.startswith("note: fields of 1 file will be excluded, for example: ")
    assert "2 time points" in times
    assert "found 1 plate, 8 wells, 8 images" in done.output


def test_no_pixel_size_is_proposed_where_pixels_are_not_square(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for well in ("A01", "A02"):
        about = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.7}
        plane = np.zeros((8, 8), np.uint16)
        tifffile.imwrite(tmp_path / "images" / f"{well}_s1.ome.tif", plane, metadata=about)
    given = ["init", str(tmp_path / "s"), "--source", str(tmp_path / "images")]
    done = CliRunner().invoke(i2r, given)
    assert (
        "A01_s1.ome.tif (and 1 file more) says that a pixel is 0.65 um wide and 0.7" in done.output
    )
    written = yaml.safe_load((tmp_path / "s" / "pipeline.yaml").read_text())
    assert "pixel_size_um" not in written["stages"][0]


def test_nuclei_are_looked_for_in_the_channel_of_their_stain(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for channel in ("Alexa 488", "HOECHST 33342"):
        path = tmp_path / "images" / f"A01_s1_{channel}.tif"
        tifffile.imwrite(path, np.zeros((8, 8), np.uint16))
    pattern = r"(?P<well>A01)_s(?P<field>1)_(?P<channel>.+)\.tif$"
    given = ["--source", str(tmp_path / "images"), "--pattern", pattern]
    assert CliRunner().invoke(i2r, ["init", str(tmp_path / "s"), *given]).exit_code == 0
    stages = yaml.safe_load((tmp_path / "s" / "pipeline.yaml").read_text())["stages"]
    assert {s["channel"] for s in stages if "channel" in s} == {"HOECHST 33342"}
