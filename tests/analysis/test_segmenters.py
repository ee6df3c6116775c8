"""Fields by the trained network: bad input, tiles, pixel size, and other packages' segmenters."""

import os
from functools import cache
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from scipy import ndimage

from i2r import extensions
from i2r.analysis import segmenters
from i2r.analysis.segmenters import call_segmenter, segment_by_network
from i2r.errors import I2RError, InputError
from i2r.kernels.metrics import SegmentationScore, combine_scores, score_segmentation
from i2r.models.unet import NucleusUNet
from i2r.models.unet_inference import load_network, read_packaged_weights
from i2r.readers.labelled import LabelledField, keep_fifth_out, list_labelled, read_labelled
from i2r.stages.segment import UnetSegment


def draw_nuclei(
    seed: int, shape: tuple[int, int] = (260, 300), radius: float = 13.0
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth discs on a noisy background, some touching; image uint16 and true labels."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    centres: list[np.ndarray] = []
    for _ in range(400):
        centre = random.uniform(0, shape)
        if all(np.hypot(*(centre - c)) > 1.75 * radius for c in centres):
            centres.append(centre)
    for i, (a, b) in enumerate(centres, 1):
        labels[(np.hypot(y - a, x - b) < radius) & (labels == 0)] = i
    levels = random.uniform(500, 2500, len(centres) + 1)
    levels[0] = 0
    edges = ndimage.grey_erosion(labels, 3) != labels  # a dim line where nuclei touch
    clean = ndimage.gaussian_filter(levels[labels] * np.where(edges, 0.6, 1), 0.8)
    return (200 + clean + random.normal(0, 15, shape)).clip(0).astype(np.uint16), labels


@cache
def load_packaged_network() -> NucleusUNet:
    return load_network(read_packaged_weights())


def segment(plane: np.ndarray, **options) -> np.ndarray:
    options.setdefault("pixel_size_um", None)
    return segment_by_network(plane[None], load_packaged_network(), **options)[0]


def test_drawn_nuclei_are_found_touching_or_not() -> None:
    image, truth = draw_nuclei(0)
    score = score_segmentation(segment(image), truth)
    assert truth.max() > 40
    assert score.f1[4] > 0.9


def score_fields(fields: list[LabelledField], pixel_size_um: float | None) -> SegmentationScore:
    """Score the network that ships with i2r on fields with known nuclei."""
    scores = []
    for field in fields:
        image, truth = read_labelled(field)
        scores.append(score_segmentation(segment(image, pixel_size_um=pixel_size_um), truth))
    return combine_scores(scores)


@pytest.mark.slow
@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="I2R_DATA names no folder of data sets")
def test_the_network_that_ships_is_as_accurate_as_documented() -> None:
    """Every other field: worse weights, or a decoding that got worse, fail here."""
    data = os.environ["I2R_DATA"]
    score = score_fields(list_labelled(f"{data}/bbbc039/validation")[::2], 0.656)
    assert score.mean_f1 >= 0.937
    assert score.f1[0] >= 0.981
    assert score.f1[8] >= 0.780
    assert score.merges <= 20
    _, kept_out = keep_fifth_out(list_labelled(f"{data}/dsb2018_fluo"))
    score = score_fields(kept_out[::2], None)
    assert score.average_precision[0] >= 0.89
    assert score.mean_f1 >= 0.827


def test_labels_are_consecutive_and_connected() -> None:
    labels = segment(draw_nuclei(1)[0])
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert all(ndimage.label(labels == i)[1] == 1 for i in range(1, labels.max() + 1))


def test_tiles_give_what_the_whole_field_gives() -> None:
    image, _ = draw_nuclei(2, (500, 620))
    whole, tiled = segment(image), segment(image, max_side_px=480)
    score = score_segmentation(tiled, whole)
    assert score.n_predicted == score.n_truth
    assert score.f1[8] > 0.97


def test_the_pixel_size_is_taken_into_account() -> None:
    """The same nuclei at a third of the pixel size: without the size they are far too large."""
    image, truth = draw_nuclei(3, (120, 140))
    fine = ndimage.zoom(image, 3, order=1)
    fine_truth = np.kron(truth, np.ones((3, 3), np.int32))
    told = score_segmentation(segment(fine, pixel_size_um=0.65 / 3), fine_truth)
    assert told.f1[4] > 0.9


@pytest.mark.parametrize("pixel_size_um", [0.2, 0.65, None, 1.3])
def test_the_network_never_sees_more_than_a_tile(
    pixel_size_um: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by what the network sees at once, however large the field is."""
    seen: list[float] = []

    def record(network: object, fields: np.ndarray, *, zoom: float) -> np.ndarray:
        seen.append(max(fields.shape[1:]) * max(zoom, 1.0))
        return np.full((len(fields), 4, *fields.shape[1:]), -9, np.float32)

    monkeypatch.setattr("i2r.models.unet_inference.predict_maps", record)
    field = np.zeros((3000, 2500), np.uint16)
    field[5, 5] = 1
    assert not segment(field, pixel_size_um=pixel_size_um).any()
    assert len(seen) > 1
    assert max(seen) <= segmenters.MAX_SIDE_PX


@pytest.mark.parametrize("value", [0, 700, 65535])
def test_constant_fields_have_no_nuclei(value: int) -> None:
    assert not segment(np.full((64, 80), value, np.uint16)).any()


def test_noise_alone_has_no_nuclei() -> None:
    noise = np.random.default_rng(0).normal(500, 20, (256, 256)).astype(np.uint16)
    assert not segment(noise).any()


def test_strange_fields_are_fine() -> None:
    network = load_packaged_network()
    assert segment_by_network(
        np.zeros((0, 5, 5), np.uint16), network, pixel_size_um=None
    ).shape == (0, 5, 5)
    assert segment(np.zeros((0, 7), np.uint16)).shape == (0, 7)
    assert not segment(np.array([[3, 900]], np.uint16)).any()
    specks = np.full((90, 90), 100, np.uint16)
    specks[10::20, 10::20] = 60000
    assert not segment(specks).any()
    y, x = np.indices((200, 200))
    blob = np.where(np.hypot(y - 100, x - 100) < 95, 5000, 100).astype(np.uint16)
    found = segment(blob)
    assert (found > 0).mean() < 0.9


def test_pixels_that_are_no_numbers_are_refused() -> None:
    plane = np.ones((20, 20), np.float32)
    plane[3, 4] = np.nan
    with pytest.raises(ValueError, match="1 of 400 pixels are NaN or infinite"):
        segment(plane)


def test_fields_are_independent_of_each_other() -> None:
    planes = [draw_nuclei(seed, (128, 128))[0] for seed in range(3)]
    label = UnetSegment(channel="DNA").labeller(0.65)
    for plane, found in zip(planes, label(["1", "2", "3"], planes), strict=True):
        np.testing.assert_array_equal(found, segment(plane, pixel_size_um=0.65))


def halves(image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    """A segmenter: left and right, numbered by the pixel size."""
    assert pixel_size_um is not None
    return np.where(np.indices(image.shape)[1] < 5, 1, round(10 * pixel_size_um))


def wrong(image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    """A segmenter that gives what the test sets."""
    return wrong.gives  # type: ignore[attr-defined]


@pytest.fixture
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("halves", f"{__name__}:halves", segmenters.GROUP),
        EntryPoint("wrong", f"{__name__}:wrong", segmenters.GROUP),
    ]
    monkeypatch.setattr(extensions, "entry_points", lambda group: points)


@pytest.mark.usefixtures("_plugins")
def test_another_packages_segmenter_is_called_by_its_name() -> None:
    labels = call_segmenter(np.zeros((4, 10), np.uint8), name="halves", pixel_size_um=0.7)
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == [1, 7]


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize(
    ("gives", "problem"),
    [
        (np.zeros((3, 3), int), "shape"),
        (np.zeros((4, 10)), "float64"),
        (np.full((4, 10), -1), "from -1"),
    ],
)
def test_labels_that_are_none_are_refused(gives: np.ndarray, problem: str) -> None:
    wrong.gives = gives  # type: ignore[attr-defined]
    with pytest.raises(I2RError, match=problem):
        call_segmenter(np.zeros((4, 10), np.uint8), name="wrong", pixel_size_um=None)


@pytest.mark.usefixtures("_plugins")
def test_an_unknown_segmenter_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="found halves, wrong"):
        call_segmenter(np.zeros((4, 10), np.uint8), name="none", pixel_size_um=None)
