"""Labels and the table of nuclei, found or imported."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.kernels.segmentation import segment_nuclei
from i2r.models.unet import NucleusUNet
from i2r.models.unet_inference import pack_weights, read_packaged_weights
from i2r.pipeline.run import prepare
from i2r.report.sections import flagged as flagged_section
from i2r.report.source import ReportSource
from i2r.stages.segment import Segment, ThresholdSegment
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, draw_field
from tests.conftest import run_here, short_pipeline


@pytest.fixture
def masks(plate: PlateFiles, tmp_path: Path) -> Path:
    """Label images with the names of the images: bright pixels, in two labels per field."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in plate.source.glob("P1/*.tif"):
        labels = (tifffile.imread(path) > 8000).astype(np.uint16)
        labels[:, 64:] *= 7
        tifffile.imwrite(folder / path.name, labels)
    return folder


def test_as_many_nuclei_are_found_as_were_drawn(cropped_original: Path) -> None:
    nuclei = open_experiment(str(cropped_original)).table("segment")
    per_field = nuclei.groupby(["well", "field"]).size()
    assert len(per_field) == 16
    # 3 x 5 places, 70 % of them taken at random; smooth and well apart, so none is split or merged.
    assert per_field.between(5, 15).all()
    assert nuclei["area_um2"].between(100, 400).all()


def test_every_place_of_a_full_field_is_found_once() -> None:
    image = draw_field(3, occupancy=1.0)[0]
    labels = ThresholdSegment().segmenter(1.0)(image)
    assert labels.max() == 15
    assert all(labels[18 + 24 * row, 18 + 24 * column] for row in range(3) for column in range(5))
    empty = ThresholdSegment().segmenter(1.0)(draw_field(3, occupancy=0.0)[0])
    assert not empty.any()


def test_the_planted_size_is_measured(own_plate: Callable[..., PlateFiles], tmp_path: Path) -> None:
    plate = own_plate(effect="size")
    run_here(short_pipeline(plate), tmp_path / "e")
    areas = open_experiment(str(tmp_path / "e")).table("segment").groupby("well")["area_um2"].mean()
    assert areas["A02"] / areas["A01"] == pytest.approx(1.25**2, rel=0.12)


def test_the_users_masks_are_taken_as_they_are(
    plate: PlateFiles, masks: Path, tmp_path: Path
) -> None:
    pipeline = short_pipeline(plate, segment={"method": "import", "masks": str(masks)})
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    labels = experiment.plates["P1"].labels("A05").compute()
    for number in (1, 2):
        np.testing.assert_array_equal(
            labels[number - 1], tifffile.imread(masks / f"A05_s{number}_DNA.tif")
        )
    table = experiment.table("segment")
    assert set(table["label"]) == {1, 7}


def test_a_changed_mask_redoes_its_well(plate: PlateFiles, masks: Path, tmp_path: Path) -> None:
    pipeline = short_pipeline(plate, segment={"method": "import", "masks": str(masks)})
    run_here(pipeline, tmp_path / "e")
    tifffile.imwrite(masks / "A05_s1_DNA.tif", np.zeros((96, 128), np.uint16))
    assert run_here(pipeline, tmp_path / "e").ran == {"segment": 2, "crop": 2}


def test_a_missing_mask_fails_its_well_alone_with_advice(
    plate: PlateFiles, masks: Path, tmp_path: Path
) -> None:
    (masks / "A05_s1_DNA.tif").unlink()
    summary = run_here(
        short_pipeline(plate, segment={"method": "import", "masks": str(masks)}), tmp_path / "e"
    )
    (failed,) = summary.failed
    assert failed.name == "segment P1/A05"
    assert failed.error.startswith("P1/A05 field 1: no mask in")
    assert summary.exit_code == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "import"}, "needs 'masks'"),
        ({"method": "import", "masks": "/nowhere"}, "no such folder, or no label image"),
        ({"channel": "ER"}, "no channel 'ER', found DNA"),
        ({"method": "magic"}, "'method' is 'magic'"),
    ],
)
def test_what_cannot_work_is_refused_first(
    options: dict[str, str], expected: str, plate: PlateFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        run_here(short_pipeline(plate, segment=options), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_large_pixels_do_not_cut_nuclei() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:120, :120]
    image = np.zeros((120, 120))
    centres = [(cy, cx) for cy in range(15, 120, 30) for cx in range(15, 120, 30)]
    for number, (cy, cx) in enumerate(centres):
        angle = number * 0.7
        along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        distance = np.hypot(along / 10, across / 4.5) - 1
        image += 15 / (1 + np.exp(np.clip(8 * distance, -30, 30)))
    noisy = np.clip(random.poisson(image + 4), 0, 255).astype(np.uint8)
    labels = ThresholdSegment().segmenter(1.3)(noisy)
    assert labels.max() == len(centres)
    # Without the least lengths in pixels, noise cuts some of them.
    bare = segment_nuclei(
        noisy, sigma_px=0.5 / 1.3, window_px=10, min_area_px=6, min_neck_depth_px=0.7 / 1.3
    )
    assert bare.max() > len(centres)


def test_the_trained_network_finds_what_was_drawn_and_wants_a_gpu(
    plate: PlateFiles, cropped_original: Path, tmp_path: Path
) -> None:
    assert Segment(method="unet").worker_group == "gpu"
    assert Segment().worker_group == Segment(method="import").worker_group == "cpu"
    pipeline = short_pipeline(plate, segment={"method": "unet"})
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    found, classical = (
        open_experiment(str(url)).table("segment").groupby(["well", "field"]).size()
        for url in (tmp_path / "e", cropped_original)
    )
    np.testing.assert_array_equal(found, classical)


def test_other_weights_are_other_results(plate: PlateFiles, cropped: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(read_packaged_weights())
    experiment = open_experiment(str(cropped))
    key = experiment.well_keys[0]
    own, same = Segment(method="unet"), Segment(method="unet", weights=str(weights))
    assert own.fingerprint_inputs(experiment, key) == same.fingerprint_inputs(experiment, key)
    weights.write_bytes(pack_weights(NucleusUNet((4, 8))))
    assert own.fingerprint_inputs(experiment, key) != same.fingerprint_inputs(experiment, key)
    assert same.check(experiment) == []
    weights.write_bytes(b"none")
    assert "found no weights" in "".join(same.check(experiment))


def thirds(image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    """A segmenter of another package."""
    return np.indices(image.shape)[1] * 3 // image.shape[1]


def test_a_segmenter_of_another_package_is_a_method(
    plate: PlateFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("thirds", f"{__name__}:thirds", "i2r.segmenters")
    monkeypatch.setattr("i2r.extensions.entry_points", lambda group: [point])
    pipeline = short_pipeline(plate, segment={"method": "thirds"})
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    table = open_experiment(str(tmp_path / "e")).table("segment")
    assert set(table["label"]) == {1, 2}
    assert len(table) == 32


def test_masks_are_looked_at_before_anything_is_converted(
    plate: PlateFiles, masks: Path, tmp_path: Path
) -> None:
    """Labels as i2r itself writes them pass; one mask of parts, or of another size, stops all."""
    for path in masks.iterdir():
        tifffile.imwrite(path, tifffile.imread(path).astype(np.uint32))
    pipeline = short_pipeline(plate, segment={"method": "import", "masks": str(masks)})
    prepare(pipeline, str(tmp_path / "e"))
    first = sorted(masks.iterdir())[0]
    sound = tifffile.imread(first)
    for mask, message in (
        ((sound > 0).astype(np.uint8) * 255, "one label, 255, of"),
        (sound[:, 1:], "its image is"),
    ):
        tifffile.imwrite(first, mask)
        with pytest.raises(InputError, match=message):
            run_here(pipeline, tmp_path / "e")
        assert not (tmp_path / "e").exists()
    tifffile.imwrite(first, (sound > 0).astype(np.uint8) * 255)
    options = {"method": "import", "masks": str(masks), "mask_parts": "label"}
    summary = run_here(short_pipeline(plate, segment=options), tmp_path / "e")
    assert summary.exit_code == 0


def test_fields_that_look_implausible_are_flagged(
    own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate = own_plate()
    path = next(iter(sorted(plate.source.glob("P1/A02_s1_DNA.tif"))))
    image = tifffile.imread(path)
    image[:40] = 65535
    tifffile.imwrite(path, image)
    run_here(short_pipeline(plate), tmp_path / "e")
    experiment = open_experiment(str(tmp_path / "e"))
    fields = experiment.table("segment-fields")
    flagged = fields[fields["flag"] != ""]
    assert flagged[["well", "field"]].to_numpy().tolist() == [["A02", "1"]]
    assert "saturated" in flagged["flag"].iloc[0]
    counts = experiment.table("segment").groupby(["well", "field"]).size()
    assert fields.set_index(["well", "field"])["n_nuclei"].equals(counts.rename("n_nuclei"))
    (note,) = experiment.ledger.result("segment", "*")["notes"]
    assert note.startswith("1 of 8 fields look implausible (1 saturated")
    assert "P1/A02 field 1" in note
    drawn = str(flagged_section.draw(ReportSource(experiment, ["convert", "segment"])))
    assert "saturated (1): a hundredth" in drawn
    assert "A02" in drawn
