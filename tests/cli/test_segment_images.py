"""Folders of images from the command line: segment, score, train."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.testing import draw_field

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two fields of simulated nuclei and one without."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, occupancy in enumerate((1.0, 0.7, 0.0)):
        tifffile.imwrite(folder / f"f{i}.tif", draw_field(i, occupancy=occupancy)[0])
    return folder


@pytest.mark.parametrize("method", ["threshold", "unet"])
def test_a_folder_is_segmented_and_scored(
    method: str, cli: Cli, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    code, said = cli("segment-images", images, out, "--method", method, "--pixel-size-um", 1.0)
    assert code == 0, said
    assert "3 of 3 images" in said
    assert sorted(path.name for path in out.iterdir()) == ["f0.tif", "f1.tif", "f2.tif"]
    assert tifffile.imread(out / "f0.tif").max() == 15
    assert not tifffile.imread(out / "f2.tif").any()
    code, said = cli(
        "score-segmentation", out, out, "--json", tmp_path / "s.json",
        "--page", tmp_path / "worst.html", "--images", images,
    )  # fmt: skip
    assert code == 0, said
    assert "mean F1 (0.50 to 0.90)  1.000" in said
    assert "splits 0, merges 0" in said
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["total"]["mean_f1"] == 1.0
    assert content["by_image"]["f2"]["mean_f1"] is None
    assert "<b>f0</b>" in (tmp_path / "worst.html").read_text()


def test_a_bad_image_is_named_and_the_others_are_segmented(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    (images / "broken.tif").write_bytes(b"II*\0")
    bad = np.ones((50, 50), np.float32)
    bad[0, 0] = np.nan
    tifffile.imwrite(images / "nan.tif", bad)
    tifffile.imwrite(images / "pages.tif", np.zeros((2, 50, 50), np.uint16))
    code, said = cli("segment-images", images, tmp_path / "out", "--method", "unet")
    assert code == 3
    assert "3 of 6 images" in said
    for text in ("broken: truncated: ", "nan: segment nuclei: 1 of 2500 pixels", "pages: channel"):
        assert f"error: {text}" in said
    assert "Traceback" not in said


def test_images_that_look_implausible_are_named_with_their_reasons(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    (images / "f2.tif").unlink()
    code, said = cli("segment-images", images, tmp_path / "good", "--pixel-size-um", 1.0)
    assert (code, "implausible" in said) == (0, False)
    bright = np.clip(draw_field(3)[0] * 20.0, 0, 65535).astype(np.uint16)
    tifffile.imwrite(images / "f3.tif", bright)
    code, said = cli("segment-images", images, tmp_path / "out", "--pixel-size-um", 1.0)
    assert code == 0
    assert "note: 1 of 3 images look implausible (1 saturated" in said
    assert "): f3 (saturated" in said


def test_nothing_is_overwritten(cli: Cli, images: Path, tmp_path: Path) -> None:
    assert cli("segment-images", images, tmp_path / "out", "--method", "threshold")[0] == 0
    code, said = cli("segment-images", images, tmp_path / "out", "--method", "threshold")
    assert (code, "holds 3 files with the images' names" in said) == (2, True)
    code, said = cli("segment-images", images, images)
    assert code == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--method", "magic"], "segmenter 'magic': not installed"),
        (["--method", "threshold", "--weights", "w"], "belongs to the method unet"),
        (["--weights", "nowhere.pt"], "can't be read"),
        (["--pixel-size-um", "0"], "pixel-size-um"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], expected: str, cli: Cli, images: Path, tmp_path: Path
) -> None:
    code, said = cli("segment-images", images, tmp_path / "out", *options)
    assert code == 2
    assert expected in said
    assert not (tmp_path / "out").exists()


def test_weights_that_are_none_are_refused(cli: Cli, images: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"something else")
    code, said = cli("segment-images", images, tmp_path / "out", "--weights", tmp_path / "w.pt")
    assert (code, "expected a file of 'i2r train-segmenter'" in said) == (2, True)


def test_scoring_needs_every_image(cli: Cli, images: Path, tmp_path: Path) -> None:
    cli("segment-images", images, tmp_path / "out", "--method", "threshold")
    (tmp_path / "truth").mkdir()
    tifffile.imwrite(tmp_path / "truth" / "other.tif", np.zeros((96, 128), np.uint16))
    code, said = cli("score-segmentation", tmp_path / "out", tmp_path / "truth")
    assert (code, "no label image named other" in said) == (2, True)
    code, said = cli("score-segmentation", tmp_path, tmp_path, "--page", "x.html")
    assert (code, "expected both or none" in said) == (2, True)


def test_training_writes_weights_that_segment(cli: Cli, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "labels").mkdir(parents=True)
    images.rename(data / "images")
    for path in (data / "images").iterdir():
        labels = np.zeros((96, 128), np.uint16)
        labels[tifffile.imread(path) > 6000] = 1
        tifffile.imwrite(data / "labels" / path.name, labels)
    weights = tmp_path / "w.pt"
    code, said = cli(
        "train-segmenter", weights, "--data", data, "--test-data", data, "--steps", 2,
        "--threads", 1,
    )  # fmt: skip
    assert code == 0, said
    assert "training on 3 images" in said
    assert "step 2 of 2: loss" in said
    assert f"{data}: 3 images, mean F1" in said
    assert not (tmp_path / "w.pt.checkpoint").exists()
    out = tmp_path / "out"
    code, said = cli("segment-images", data / "images", out, "--weights", weights)
    assert code == 0, said
    further = tmp_path / "f.pt"
    code, said = cli(
        "train-segmenter", further, "--data", data, "--start", weights, "--outlines", 0.5,
        "--crowded", 0.5, "--steps", 1, "--threads", 1,
    )  # fmt: skip
    assert code == 0, said
    assert further.read_bytes() != weights.read_bytes()
    code, said = cli("train-segmenter", further, "--data", data, "--start", tmp_path / "none.pt")
    assert (code, "none.pt: can't be read" in said) == (2, True)
    code, said = cli("train-segmenter", tmp_path / "v.pt")
    assert (code, "expected a folder to train on" in said) == (2, True)


def test_outlines_need_no_truth(cli: Cli, images: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "labels", tmp_path / "outlines.html"
    # Without --method as the stage 'segment' does, which needs no PyTorch.
    code, said = cli("segment-images", images, out, "--pixel-size-um", 1.0, "--page", page)
    assert code == 0, said
    assert "outlines: " in said
    content = page.read_text()
    assert content.index("<b>f2</b>: 0 nuclei") < content.index("<b>f0</b>: 15 nuclei")
    again = tmp_path / "again.html"
    code, said = cli("score-segmentation", out, "--page", again, "--images", images)
    assert code == 0, said
    assert again.read_text().count("<figure>") == 3
    code, said = cli("score-segmentation", out)
    assert (code, "TRUTH_DIR: not given" in said) == (2, True)
    tifffile.imwrite(images / "f1.tif", np.zeros((9, 9), np.uint16))
    code, said = cli("score-segmentation", out, "--page", again, "--images", images)
    assert (code, "its labels are" in said) == (2, True)


def test_one_default_for_folders_and_plates() -> None:
    from i2r.stages.segment import Segment

    assert Segment().method == "threshold"
