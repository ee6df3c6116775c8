"""How well one label image agrees with another, object by object.

The protocol is that of Caicedo et al. 2019 [1]_: objects are matched by intersection over union
(IoU), small objects are ignored, missed objects are counted by size, and splits and merges are
counted separately. Average precision and panoptic quality are defined as in StarDist [2]_ and
Kirillov et al. [3]_.

References
----------
.. [1] Caicedo et al. 2019, Evaluation of deep learning strategies for nucleus segmentation in
   fluorescence images, Cytometry A 95:952. https://doi.org/10.1002/cyto.a.23863
.. [2] Schmidt et al. 2018, Cell detection with star-convex polygons, MICCAI.
   https://doi.org/10.1007/978-3-030-00934-2_30
.. [3] Kirillov et al. 2019, Panoptic segmentation, CVPR.
   https://doi.org/10.1109/CVPR.2019.00963
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90)
"""IoU that a match has to exceed, Caicedo et al. 2019. None may be below 0.5: only from there
on can an object match at most one other."""

SIZE_BINS_PX = (0, 250, 625, 900)
"""Lower edges of the size bins in which missed objects are counted, in pixels of area."""

MISSED_AT_IOU = 0.70
"""An object counts as missed when no object overlaps it with an IoU above this."""

PARTNER_IOU = 0.10
"""From this IoU on two objects are partners; more than one partner is a split or a merge."""


class Contingency(NamedTuple):
    """Objects of two label images and the overlaps between them, without the empty pairs.

    Attributes
    ----------
    truth_area_px, predicted_area_px : (n_truth,) and (n_predicted,) int64
        Area of each object that is large enough to count.
    truth_index, predicted_index : (n_pairs,) int64
        Positions in the two area arrays of each overlapping pair.
    iou : (n_pairs,) float64
        Intersection over union of each pair, in (0, 1].
    """

    truth_area_px: npt.NDArray[np.int64]
    predicted_area_px: npt.NDArray[np.int64]
    truth_index: npt.NDArray[np.int64]
    predicted_index: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]


class SegmentationScore(NamedTuple):
    """Agreement of a predicted with a true label image, or of many pairs taken together.

    Arrays of length 9 follow `IOU_THRESHOLDS`, arrays of length 4 follow `SIZE_BINS_PX`. Ratios
    whose denominator is zero are NaN: an image without objects that is left empty is neither
    good nor bad, and `combine_scores` leaves it out of the means.

    Attributes
    ----------
    n_images, n_truth, n_predicted : int
        Images scored, and objects of at least the minimum area in them.
    true_positives, false_positives, false_negatives : (9,) int64
        Matched objects, predicted objects without a match, true objects without a match.
    f1, precision, recall : (9,) float64
        2TP / (2TP + FP + FN), TP / (TP + FP) and TP / (TP + FN).
    mean_f1 : float
        Mean of `f1` over the thresholds, the headline number of Caicedo et al. 2019.
    average_precision : (9,) float64
        TP / (TP + FP + FN), as in StarDist and the Data Science Bowl 2018.
    panoptic_quality : (9,) float64
        Sum of the matched IoUs / (TP + FP / 2 + FN / 2).
    missed, truth_by_size : (4,) int64
        True objects without a match above IoU 0.7, and all true objects, by area.
    splits : int
        True objects with more than one predicted partner (IoU above 0.1).
    merges : int
        Predicted objects with more than one true partner (IoU above 0.1).
    """

    n_images: int
    n_truth: int
    n_predicted: int
    true_positives: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    false_negatives: npt.NDArray[np.int64]
    f1: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    mean_f1: float
    average_precision: npt.NDArray[np.float64]
    panoptic_quality: npt.NDArray[np.float64]
    missed: npt.NDArray[np.int64]
    truth_by_size: npt.NDArray[np.int64]
    splits: int
    merges: int


def count_overlaps(
    predicted: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    *,
    min_area_px: int = 25,
) -> Contingency:
    """Measure the objects of two label images and every non-empty overlap between them.

    Parameters
    ----------
    predicted, truth : (y, x) integer
        Label images of one shape, 0 is background. Labels need not be consecutive.
    min_area_px : int
        Objects smaller than this are ignored on both sides: they are neither matched nor
        counted as errors. Caicedo et al. 2019 use 25.

    Returns
    -------
    Contingency
        Time and memory grow with the pixels and the pairs that overlap, not with the product of
        the object counts.

    Raises
    ------
    ValueError
        If the shapes differ, or a label image is not of integers or holds negative values.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"score: predicted labels are {predicted.shape}, true labels {truth.shape}. "
            "Compare label images of the same field."
        )
    truth_index, truth_areas = _index_objects(truth, min_area_px, "true")
    predicted_index, predicted_areas = _index_objects(predicted, min_area_px, "predicted")
    both = (truth_index >= 0) & (predicted_index >= 0)
    pair = truth_index[both] * max(predicted_areas.size, 1) + predicted_index[both]
    pairs, intersection = np.unique(pair, return_counts=True)
    of_truth, of_predicted = np.divmod(pairs, max(predicted_areas.size, 1))
    union = truth_areas[of_truth] + predicted_areas[of_predicted] - intersection
    return Contingency(truth_areas, predicted_areas, of_truth, of_predicted, intersection / union)


def _index_objects(
    labels: npt.NDArray[np.integer], min_area_px: int, which: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give each pixel the position of its object among those large enough, -1 for none."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"score: {which} labels are {labels.dtype}, expected integers.")
    if labels.size and int(labels.min()) < 0:
        raise ValueError(f"score: {which} labels hold {labels.min()}, expected 0 and above.")
    flat = labels.ravel()
    if labels.size and int(labels.max()) > labels.size:
        flat = np.unique(flat, return_inverse=True)[1] + int(flat.min() > 0)
    areas = np.bincount(flat, minlength=1)
    counted = areas >= min_area_px
    counted &= areas > 0
    counted[0] = False
    position = np.where(counted, np.cumsum(counted) - 1, -1)
    return position[flat], areas[counted].astype(np.int64)


def score_segmentation(
    predicted: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    *,
    min_area_px: int = 25,
) -> SegmentationScore:
    """Score a predicted label image against a true one by the protocol of Caicedo et al. 2019.

    Parameters
    ----------
    predicted, truth : (y, x) integer
        Label images of one shape, 0 is background. Labels need not be consecutive.
    min_area_px : int
        Objects smaller than this are ignored on both sides.

    Returns
    -------
    SegmentationScore
        Of one image. With no objects on either side all ratios are NaN; with objects on one side
        only, F1 is 0.

    Raises
    ------
    ValueError
        If the shapes differ, or a label image is not of integers or holds negative values.

    References
    ----------
    Caicedo et al. 2019, Cytometry A 95:952. https://doi.org/10.1002/cyto.a.23863
    """
    overlap = count_overlaps(predicted, truth, min_area_px=min_area_px)
    n_truth, n_predicted = overlap.truth_area_px.size, overlap.predicted_area_px.size
    matched = overlap.iou[None, :] > np.array(IOU_THRESHOLDS)[:, None]
    tp = matched.sum(axis=1).astype(np.int64)

    partners = overlap.iou > PARTNER_IOU
    predicted_partners = np.bincount(overlap.truth_index[partners], minlength=n_truth)
    truth_partners = np.bincount(overlap.predicted_index[partners], minlength=n_predicted)

    found = np.zeros(n_truth, dtype=bool)
    found[overlap.truth_index[overlap.iou > MISSED_AT_IOU]] = True
    size_bin = np.searchsorted(SIZE_BINS_PX, overlap.truth_area_px, side="right") - 1
    n_bins = len(SIZE_BINS_PX)
    return _complete_score(
        n_images=1,
        n_truth=n_truth,
        n_predicted=n_predicted,
        tp=tp,
        matched_iou=np.where(matched, overlap.iou[None, :], 0.0).sum(axis=1),
        missed=np.bincount(size_bin[~found], minlength=n_bins).astype(np.int64),
        truth_by_size=np.bincount(size_bin, minlength=n_bins).astype(np.int64),
        splits=int((predicted_partners > 1).sum()),
        merges=int((truth_partners > 1).sum()),
    )


def _complete_score(
    *,
    n_images: int,
    n_truth: int,
    n_predicted: int,
    tp: npt.NDArray[np.int64],
    matched_iou: npt.NDArray[np.float64],
    missed: npt.NDArray[np.int64],
    truth_by_size: npt.NDArray[np.int64],
    splits: int,
    merges: int,
) -> SegmentationScore:
    """Derive all ratios from counts."""
    fp, fn = n_predicted - tp, n_truth - tp
    f1 = _ratio(2 * tp, 2 * tp + fp + fn)
    return SegmentationScore(
        n_images=n_images,
        n_truth=n_truth,
        n_predicted=n_predicted,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        f1=f1,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        mean_f1=float(f1.mean()),
        average_precision=_ratio(tp, tp + fp + fn),
        panoptic_quality=_ratio(matched_iou, tp + fp / 2 + fn / 2),
        missed=missed,
        truth_by_size=truth_by_size,
        splits=splits,
        merges=merges,
    )


def _ratio(
    numerator: npt.NDArray[np.number], denominator: npt.NDArray[np.number]
) -> npt.NDArray[np.float64]:
    """Divide, NaN where the denominator is zero."""
    out = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def combine_scores(scores: Sequence[SegmentationScore]) -> SegmentationScore:
    """Take the scores of many images together: counts are summed, ratios averaged over images.

    Averaging ratios over images is the protocol of Caicedo et al. 2019: a field with few nuclei
    weighs as much as a crowded one. For the other convention, pooled objects, compute the ratios
    from the summed counts.

    Parameters
    ----------
    scores : sequence of SegmentationScore
        One per image. Images whose ratio is NaN (nothing there, nothing predicted) are left out
        of that ratio's mean.

    Returns
    -------
    SegmentationScore
        NaN where no image has a value.

    Raises
    ------
    ValueError
        If there are no scores.

    References
    ----------
    Caicedo et al. 2019, Cytometry A 95:952. https://doi.org/10.1002/cyto.a.23863
    """
    if not scores:
        raise ValueError("combine scores: found none, expected at least one image.")

    def mean(ratios: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        values = np.stack(ratios)
        known = ~np.isnan(values)
        return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))

    f1 = mean([s.f1 for s in scores])
    return SegmentationScore(
        n_images=sum(s.n_images for s in scores),
        n_truth=sum(s.n_truth for s in scores),
        n_predicted=sum(s.n_predicted for s in scores),
        true_positives=np.sum([s.true_positives for s in scores], axis=0),
        false_positives=np.sum([s.false_positives for s in scores], axis=0),
        false_negatives=np.sum([s.false_negatives for s in scores], axis=0),
        f1=f1,
        precision=mean([s.precision for s in scores]),
        recall=mean([s.recall for s in scores]),
        mean_f1=float(f1.mean()),
        average_precision=mean([s.average_precision for s in scores]),
        panoptic_quality=mean([s.panoptic_quality for s in scores]),
        missed=np.sum([s.missed for s in scores], axis=0),
        truth_by_size=np.sum([s.truth_by_size for s in scores], axis=0),
        splits=sum(s.splits for s in scores),
        merges=sum(s.merges for s in scores),
    )
