"""Segmentation scores against closed forms and a version that compares every pair of objects."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.metrics import (
    IOU_THRESHOLDS,
    combine_scores,
    count_overlaps,
    score_segmentation,
)

Labels = npt.NDArray[np.int32]


@st.composite
def label_images(draw: st.DrawFn, shape: tuple[int, int] = (24, 30)) -> Labels:
    """Overlapping rectangles, later ones on top, with gaps in the numbering."""
    labels = np.zeros(shape, dtype=np.int32)
    for _ in range(draw(st.integers(0, 6))):
        y, x = draw(st.integers(0, 20)), draw(st.integers(0, 26))
        height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
        labels[y : y + height, x : x + width] = draw(st.integers(1, 40))
    return labels


def score_by_pairs(predicted: Labels, truth: Labels) -> dict[str, object]:
    """Score by masks, one pair of objects after the other."""
    true_masks = [truth == i for i in np.unique(truth[truth > 0]) if (truth == i).sum() >= 25]
    masks = [predicted == i for i in np.unique(predicted[predicted > 0])]
    masks = [mask for mask in masks if mask.sum() >= 25]
    iou = np.zeros((len(true_masks), len(masks)))
    for i, a in enumerate(true_masks):
        for j, b in enumerate(masks):
            iou[i, j] = (a & b).sum() / (a | b).sum()
    missed = [0, 0, 0, 0]
    for i, a in enumerate(true_masks):
        if not (iou[i] > 0.7).any():
            missed[sum(a.sum() >= edge for edge in (250, 625, 900))] += 1
    return {
        "tp": [int((iou > t).sum()) for t in IOU_THRESHOLDS],
        "matched_iou": [float(iou[iou > t].sum()) for t in IOU_THRESHOLDS],
        "missed": missed,
        "splits": int(((iou > 0.1).sum(axis=1) > 1).sum()),
        "merges": int(((iou > 0.1).sum(axis=0) > 1).sum()),
        "n": (len(true_masks), len(masks)),
    }


@settings(max_examples=60, deadline=None)
@given(label_images(), label_images())
def test_equals_the_comparison_of_all_pairs(predicted: Labels, truth: Labels) -> None:
    score, expected = score_segmentation(predicted, truth), score_by_pairs(predicted, truth)
    assert score.true_positives.tolist() == expected["tp"]
    assert (score.n_truth, score.n_predicted) == expected["n"]
    assert score.missed.tolist() == expected["missed"]
    assert (score.splits, score.merges) == (expected["splits"], expected["merges"])
    if score.n_truth + score.n_predicted:
        half = (score.n_truth + score.n_predicted) / 2
        np.testing.assert_allclose(
            score.panoptic_quality, np.array(expected["matched_iou"]) / half, atol=1e-12
        )


@settings(max_examples=30, deadline=None)
@given(label_images(), label_images())
def test_exchanging_the_images_exchanges_precision_and_recall(a: Labels, b: Labels) -> None:
    one, other = score_segmentation(a, b), score_segmentation(b, a)
    np.testing.assert_array_equal(one.precision, other.recall)
    np.testing.assert_array_equal(one.f1, other.f1)
    assert (one.splits, one.merges) == (other.merges, other.splits)


@settings(max_examples=30, deadline=None)
@given(label_images())
def test_an_image_agrees_with_itself_whatever_its_numbers_are(labels: Labels) -> None:
    renumbered = np.where(labels > 0, 2_000_000_000 - labels * 7, 0).astype(np.int64)
    score = score_segmentation(renumbered, labels)
    if score.n_truth:
        assert score.mean_f1 == 1.0
        assert score.average_precision.tolist() == [1.0] * 9
        assert score.missed.sum() == score.splits == score.merges == 0


def test_shifted_rectangle_matches_up_to_its_iou() -> None:
    truth = np.zeros((40, 40), dtype=np.int32)
    predicted = truth.copy()
    truth[5:15, 5:25] = 1
    predicted[5:15, 8:28] = 1  # 170 of 230 px: IoU 0.739
    score = score_segmentation(predicted, truth)
    assert score.true_positives.tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert score.mean_f1 == pytest.approx(5 / 9)
    assert score.panoptic_quality[0] == pytest.approx(170 / 230)


def test_an_iou_of_exactly_the_threshold_is_no_match() -> None:
    truth = np.zeros((20, 20), dtype=np.int32)
    predicted = truth.copy()
    truth[:10, :10] = 1
    predicted[:5, :10] = 1
    assert score_segmentation(predicted, truth).true_positives[0] == 0


def test_split_merge_and_missed_objects_are_counted_by_size() -> None:
    truth = np.zeros((100, 200), dtype=np.int32)
    predicted = truth.copy()
    truth[0:20, 0:40] = 1  # 800 px, cut in two
    predicted[0:20, 0:20], predicted[0:20, 20:40] = 1, 2
    truth[40:60, 0:20], truth[40:60, 20:40] = 2, 3  # 400 px each, merged
    predicted[40:60, 0:40] = 3
    truth[70:75, 0:5] = 4  # 25 px, not found
    truth[80:84, 0:6] = 5  # 24 px, too small to count
    truth[60:100, 100:130] = 6  # 1200 px, found
    predicted[60:100, 100:130] = 4
    score = score_segmentation(predicted, truth)
    assert (score.splits, score.merges) == (1, 1)
    assert score.missed.tolist() == [1, 2, 1, 0]
    assert score.truth_by_size.tolist() == [1, 2, 1, 1]
    assert (score.n_truth, score.n_predicted) == (5, 4)


def test_nothing_to_find() -> None:
    empty = np.zeros((30, 30), dtype=np.int32)
    blob = empty.copy()
    blob[3:12, 3:12] = 1
    nothing = score_segmentation(empty, empty)
    assert np.isnan(nothing.f1).all()
    assert np.isnan(nothing.mean_f1)
    assert score_segmentation(blob, empty).mean_f1 == 0.0
    assert score_segmentation(empty, blob).recall[0] == 0.0
    no_pixels = np.zeros((0, 5), dtype=np.int32)
    assert score_segmentation(no_pixels, no_pixels).n_truth == 0


def test_combining_averages_images_and_sums_counts() -> None:
    empty = np.zeros((30, 30), dtype=np.int32)
    blob = empty.copy()
    blob[3:12, 3:12] = 1
    scores = [
        score_segmentation(blob, blob),
        score_segmentation(empty, blob),
        score_segmentation(empty, empty),
    ]
    combined = combine_scores(scores)
    assert combined.mean_f1 == 0.5  # the image without objects does not count
    assert combined.true_positives.tolist() == [1] * 9
    assert combined.false_negatives.tolist() == [1] * 9
    assert combined.n_images == 3
    with pytest.raises(ValueError, match="at least one image"):
        combine_scores([])


def test_overlaps_are_listed_once_per_pair() -> None:
    truth = np.zeros((10, 20), dtype=np.uint16)
    predicted = np.zeros((10, 20), dtype=np.int64)
    truth[:, :10], truth[:, 10:] = 3, 500
    predicted[:, 5:15] = 9
    overlap = count_overlaps(predicted, truth)
    assert overlap.truth_area_px.tolist() == [100, 100]
    assert list(zip(overlap.truth_index, overlap.predicted_index, strict=True)) == [(0, 0), (1, 0)]
    np.testing.assert_allclose(overlap.iou, 50 / 150)


def test_wrong_input_is_named() -> None:
    labels = np.zeros((4, 4), dtype=np.int32)
    with pytest.raises(ValueError, match="same field"):
        score_segmentation(labels, labels[:3])
    with pytest.raises(ValueError, match="predicted labels are float64"):
        score_segmentation(labels * 1.0, labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="true labels hold -1"):
        score_segmentation(labels, labels - 1)
