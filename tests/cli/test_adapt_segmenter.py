"""The network adapts to a folder of images: patches, corrections, and a switch only if not worse."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from i2r.models.unet import NucleusUNet
from i2r.models.unet_inference import load_network, pack_weights
from i2r.stages import segmenter_adaptation as adaptation
from i2r.testing import draw_field

Cli = Callable[..., tuple[int, str]]
# Smaller than what a user trains: the calls and their files are what is tested here.
QUICK = ("--steps", 2, "--threads", 1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five fields of simulated nuclei, in two folders, and one of a single grey level."""
    folder = tmp_path / "images"
    for i in range(6):
        path = folder / f"w{i % 2}" / f"f{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, draw(i)[0] if i else np.full((96, 128), 100, np.uint16))
    return folder


def draw(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field and its labels; nuclei stand in rows, so only sizes tell fields apart."""
    image = draw_field(i)[0, : 97 - i]
    return image, ndimage.label(image > 6000)[0].astype(np.uint16)


def read_index(out: Path) -> list[dict]:
    return json.loads((out / "patches.json").read_text())["patches"]


def correct(out: Path) -> None:
    """Take one nucleus out of every label image."""
    for path in (out / "labels").iterdir():
        labels = tifffile.imread(path)
        labels[labels == 1] = 0
        tifffile.imwrite(path, labels)


def test_patches_are_shown_corrected_and_trained_on(cli: Cli, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ("adapt-segmenter", images, "--out", out, "--pixel-size-um", 1.0, "--threads", 1)
    code, said = cli(*call)
    assert code == 0, said
    assert "looked at 6 of 6 images" in said
    assert f"i2r adapt-segmenter {images} --labels {out} --out {out}" in said
    patches = read_index(out)
    uses = {patch["image"]: patch["use"] for patch in patches}
    assert set(uses.values()) == {"train", "judge"}
    assert "w0/f0.tif" not in uses  # nothing is in it
    page = (out / "patches.html").read_text()
    for patch in patches:
        image, labels = (
            tifffile.imread(out / f / f"{patch['name']}.tif") for f in ("images", "labels")
        )
        y0, x0, y1, x1 = patch["box"]
        np.testing.assert_array_equal(image, tifffile.imread(images / patch["image"])[y0:y1, x0:x1])
        assert labels.shape == image.shape
        assert f"<b>{patch['name']}</b>" in page

    code, said = cli(*call, "--labels", out, *QUICK)
    assert (code, "are as the network made them, expected corrected ones" in said) == (2, True)

    correct(out)
    edited = {p.name: p.read_bytes() for p in (out / "labels").iterdir()}
    code, said = cli(*call)
    assert (code, "patches are there" in said) == (0, True), said
    assert {p.name: p.read_bytes() for p in (out / "labels").iterdir()} == edited
    code, said = cli(*call, "--labels", out / "labels", *QUICK)
    assert code == 0, said
    record = json.loads((out / "judgement.json").read_text())
    assert record["switched"] == (out / "weights.pt").exists()
    assert record["switched"] == (record["after"]["mean_f1"] >= record["before"]["mean_f1"])
    assert record["after"]["n_nuclei"] == sum(
        len(np.unique(tifffile.imread(out / "labels" / f"{p['name']}.tif"))) - 1
        for p in patches
        if p["use"] == "judge"
    )
    assert not (out / "training.checkpoint").exists()


@pytest.mark.parametrize("is_better", [True, False])
def test_only_a_network_that_is_not_worse_is_written(
    is_better: bool, cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates of learning decide: none leaves the network as good as it was, a huge one spoils it."""
    labels = tmp_path / "truth"
    labels.mkdir()
    for i in range(1, 6):
        tifffile.imwrite(labels / f"f{i}.tif", draw(i)[1])
    monkeypatch.setattr(adaptation, "LEARNING_RATE", 0.0 if is_better else 5.0)
    out = tmp_path / "out"
    code, said = cli("adapt-segmenter", images, "--out", out, "--labels", labels, *QUICK)
    assert code == 0, said
    assert (out / "weights.pt").exists() == is_better
    assert ("better or as good" in said) == is_better
    assert ("stays as it was" in said) == (not is_better)
    if is_better:
        load_network((out / "weights.pt").read_bytes())
        code, said = cli(
            "segment-images", images / "w1", tmp_path / "found", "--weights", out / "weights.pt"
        )
        assert code == 0, said


def test_an_interrupted_call_goes_on(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    weights = tmp_path / "w.pt"
    weights.write_bytes(pack_weights(NucleusUNet((4, 8))))
    labels = tmp_path / "truth"
    labels.mkdir()
    for i in range(1, 6):
        tifffile.imwrite(labels / f"f{i}.tif", draw(i)[1])
    call = ("adapt-segmenter", images, "--labels", labels, "--weights", weights, "--threads", 1)
    monkeypatch.setattr(adaptation, "CHECKPOINT_STEPS", 2)
    assert cli(*call, "--out", whole, "--steps", 4)[0] == 0

    from i2r.models import fit_unet

    take_step = fit_unet._take_step

    def stop(*arguments):
        if arguments[-1] == 3:
            raise KeyboardInterrupt
        return take_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fit_unet, "_take_step", stop)
        code, said = cli(*call, "--out", cut, "--steps", 4)
    assert code == 130
    assert "step 2 of 4" in said
    assert [path.name for path in cut.iterdir()] == ["training.checkpoint"]
    code, said = cli(*call, "--out", cut, "--steps", 4)
    assert code == 0, said
    assert "step 2 of 4" not in said
    assert (cut / "judgement.json").read_bytes() == (whole / "judgement.json").read_bytes()
    assert (cut / "weights.pt").exists() == (whole / "weights.pt").exists()


def test_wrong_files_are_one_line(cli: Cli, images: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "out", tmp_path / "labels"
    labels.mkdir()
    truth = draw(1)[1]
    call = ("adapt-segmenter", images, "--out", out, "--labels", labels, *QUICK)

    def refuse(name: str, content: np.ndarray, expected: str) -> None:
        tifffile.imwrite(labels / name, content)
        code, said = cli(*call)
        (labels / name).unlink()
        assert code == 2, said
        assert expected in said
        assert "Traceback" not in said

    refuse("other.tif", truth, "of no patch and no image of this name")
    refuse("f1.tif", truth[:-1], "expected (96, 128) as the image they are of")
    refuse("f1.tif", truth.astype(np.float32), "is float32, expected integers")
    refuse("f1.tif", np.where(truth, 255, 0).astype(np.uint8), "Save labels, not a mask")
    refuse("f1.tif", truth, "1 different views in 1 images")
    tifffile.imwrite(labels / "f0.tif", np.zeros_like(truth))
    refuse("f1.tif", truth, "no nucleus in the 1 label images")
    code, said = cli("adapt-segmenter", images, "--out", out, "--weights", tmp_path / "none.pt")
    assert (code, "can't be read" in said) == (2, True)
    code, said = cli("adapt-segmenter", tmp_path / "nowhere", "--out", out)
    assert (code, "no picture there" in said) == (2, True)
    code, said = cli("adapt-segmenter", images, "--out", images)
    assert (code, "holds w0 and no patches" in said) == (2, True)
    assert not out.exists()


def test_patches_of_other_images_or_options_are_refused(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    weights = tmp_path / "w.pt"
    weights.write_bytes(pack_weights(NucleusUNet((4, 8))))
    call = ("adapt-segmenter", images, "--out", out, "--weights", weights, "--threads", 1)
    assert cli(*call, "--nuclei", 5)[0] == 0
    code, said = cli(*call, "--pixel-size-um", 0.3)
    assert (code, "--pixel-size-um 0.3, chosen with None" in said) == (2, True)
    code, said = cli(*call[:4])
    assert (code, "other --weights" in said) == (2, True)
    for path in images.rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) + 1)
    code, said = cli(*call, "--labels", out)
    assert (code, "not the image that" in said) == (2, True)
    (out / "patches.json").write_text('{"images": "x"}')
    code, said = cli(*call, "--labels", out)
    assert (code, "patches.json: weights: Field required" in said) == (2, True)
