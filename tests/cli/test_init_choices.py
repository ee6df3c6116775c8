"""What 'i2r init' takes from the user, and what the pipeline it writes then reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.stages.convert import Convert
from tests.readers.test_omezarr import draw, write_plate


def start(folder: Path, source: Path | str, *options: str) -> tuple[dict[str, Any], str]:
    """Start an experiment; give the options of 'convert', and what was said."""
    given = ["init", str(folder), "--source", str(source), *options]
    done = CliRunner().invoke(i2r, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    stages = yaml.safe_load((folder / "pipeline.yaml").read_text())["stages"]
    return next(stage for stage in stages if stage["stage"] == "convert"), done.output


def fail(folder: Path, source: Path | str, *options: str) -> str:
    """Start what can't be started; give the message. Nothing is left behind."""
    given = ["init", str(folder), "--source", str(source), *options]
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(i2r, given, catch_exceptions=False)
    assert not folder.exists()
    return str(caught.value)


def survey(stage: dict[str, Any], folder: Path) -> Any:
    """Survey with the options that were written, as 'plan' would; layouts are filled in."""
    layout = folder / "layout.csv"
    lines = layout.read_text().splitlines()
    filled = [f"{','.join(line.split(',')[:2])},DMSO,,,negative_control" for line in lines[1:]]
    layout.write_text("\n".join([lines[0], *filled]))
    return Convert.model_validate({**stage, "layout": str(layout)}).survey()


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    """Two wells of three focal planes, two times and two channels, by their names."""
    folder = tmp_path / "source"
    folder.mkdir()
    for well in ("A01", "A02"):
        for z in (1, 2, 3):
            for time in (1, 2):
                for channel in (1, 2):
                    name = f"P_{well}_T{time:04}F001L01A01Z{z:02}C{channel:02}.tif"
                    plane = np.full((16, 18), 100 * z + 10 * time + channel, np.uint16)
                    tifffile.imwrite(folder / name, plane)
    return folder


def test_focal_planes_and_times_are_chosen(stacks: Path, tmp_path: Path) -> None:
    assert "--time" in fail(tmp_path / "none", stacks)
    stage, said = start(tmp_path / "max", stacks, "--time", "1")
    assert (stage["z"], stage["time"]) == ("max", 1)
    assert "up to 3 focal planes per field: 'z: max' takes their maximum" in said
    images = survey(stage, tmp_path / "max").sources
    assert images["url"].str.contains("_T0002F").all()
    assert len(images) == 12
    stage, _ = start(tmp_path / "two", stacks, "--time", "0", "--z", "2")
    images = survey(stage, tmp_path / "two").sources
    assert images["url"].str.contains("_T0001F.*Z02C").all()
    assert "no focal plane 7, found 1, 2, 3" in fail(
        tmp_path / "n", stacks, "--time", "0", "--z", "7"
    )
    assert "expected max, or the index" in fail(tmp_path / "n", stacks, "--time", "0", "--z", "all")
    assert "found 2 time points" in fail(tmp_path / "n", stacks, "--time", "5", "--z", "max")


def test_channels_are_chosen_and_named(stacks: Path, tmp_path: Path) -> None:
    chosen = ("--time", "0", "--channels", "02=DNA, 01=ER")
    stage, _ = start(tmp_path / "named", stacks, *chosen)
    assert stage["channels"] == {"02": "DNA", "01": "ER"}
    images = survey(stage, tmp_path / "named").sources
    assert images[images["channel"] == "DNA"]["url"].str.endswith("C02.tif").all()
    stage, said = start(tmp_path / "one", stacks, "--time", "0", "--channels", "02")
    assert stage["channels"] == {"02": "02"}
    assert "channels left out: 01 (6 files)" in said
    assert "'w1' of the option 'channels' are nowhere" in fail(
        tmp_path / "n", stacks, "--time", "0", "--channels", "w1=DNA"
    )


def test_an_acquisition_is_chosen(tmp_path: Path) -> None:
    both = ({"path": "0", "acquisition": 1}, {"path": "1", "acquisition": 2})
    url = write_plate(tmp_path / "p.zarr", draw(2, 16, 18), axes="cyx", images=both)
    assert "(init: --acquisition)" in fail(tmp_path / "none", url)
    stage, _ = start(tmp_path / "e", url, "--acquisition", "2")
    assert stage["acquisition"] == 2
    images = survey(stage, tmp_path / "e").sources
    assert set(images["field"]) == {"1"}


def test_a_plate_gets_the_users_name_where_files_have_none(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for well in ("A01", "A02"):
        tifffile.imwrite(folder / f"{well}.tif", np.zeros((16, 18), np.uint16))
    stage, _ = start(tmp_path / "e", folder, "--plate", "BR'7", "--pixel-size-um", "0.5")
    assert (stage["plate"], stage["pixel_size_um"]) == ("BR'7", 0.5)
    assert set(survey(stage, tmp_path / "e").sources["plate"]) == {"BR'7"}
