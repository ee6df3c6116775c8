"""Folders of label images compared by the names of their files."""

from typing import Any, NamedTuple

import numpy as np

from i2r.errors import InputError, join_problems
from i2r.kernels.metrics import (
    IOU_THRESHOLDS,
    SIZE_BINS_PX,
    SegmentationScore,
    combine_scores,
    score_segmentation,
)
from i2r.readers.pictures import list_pictures, read_labels


class Agreement(NamedTuple):
    """Scores of label images against the truth.

    Attributes
    ----------
    total
        All images together; ratios are means over images, see `combine_scores`.
    by_image
        Each image's own score, by stem, sorted.
    """

    total: SegmentationScore
    by_image: dict[str, SegmentationScore]


def score_folders(predicted: str, truth: str, *, min_area_px: int = 25) -> Agreement:
    """Score a folder of label images against a folder of true ones, file by file.

    Parameters
    ----------
    predicted, truth
        Folders with TIFF or PNG label images of the same stems, 0 = background.
    min_area_px
        Smaller objects are ignored on both sides; see `score_segmentation`.

    Returns
    -------
    Agreement
        By the protocol of Caicedo et al. 2019, https://doi.org/10.1002/cyto.a.23863.

    Raises
    ------
    InputError
        If a true image has no counterpart or one of another shape, or labels are negative;
        predicted images without truth are passed over.
    FieldError
        If a file is not a label image.
    """
    found, expected = list_pictures(predicted), list_pictures(truth)
    absent = [stem for stem in expected if stem not in found]
    if absent:
        raise InputError(
            join_problems([f"{predicted}: no label image named {stem}" for stem in absent])
            + f"\nExpected one for each of the {len(expected)} in {truth}. Segment the same images."
        )
    scores = {}
    for stem, url in expected.items():
        try:
            scores[stem] = score_segmentation(
                read_labels(found[stem]), read_labels(url), min_area_px=min_area_px
            )
        except ValueError as error:
            raise InputError(f"{stem}: {error}") from error
    return Agreement(combine_scores(list(scores.values())), scores)


def find_worst(agreement: Agreement, n: int) -> list[str]:
    """Name the images with the lowest mean F1, the worst first; those without a value are none."""
    known = {stem: s.mean_f1 for stem, s in agreement.by_image.items() if not np.isnan(s.mean_f1)}
    return sorted(known, key=lambda stem: (known[stem], stem))[:n]


def describe_score(score: SegmentationScore) -> dict[str, Any]:
    """Give a score as plain JSON values; ratios without a value are None."""
    described: dict[str, Any] = {"iou": list(IOU_THRESHOLDS), "size_bins_px": list(SIZE_BINS_PX)}
    for name, value in score._asdict().items():
        plain = np.asarray(value).astype(object)
        plain[np.isnan(np.asarray(value))] = None
        described[name] = plain.tolist()
    return described
