"""Arrays as compiled loops want them: frozen, finite, and nuclei's boxes inside their field."""

from typing import Any

import numpy as np
import numpy.typing as npt


def freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give a contiguous view that can't be written to, as fields of a store are.

    Kernels are compiled ahead for such arrays: Numba compiles one version for arrays that can be
    written to and another for those that can't, and takes seconds for each.

    Parameters
    ----------
    array
        Any shape and dtype; copied where it is not contiguous.
    """
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def check_listed(
    labels: npt.NDArray[np.integer],
    label_ids: npt.NDArray[np.integer],
    bbox: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Check nuclei that are given as labels and boxes: compiled code would read beyond arrays.

    Parameters
    ----------
    labels : (y, x) integer
        Label image of a field.
    label_ids : (n,) integer
        Labels of nuclei.
    bbox : (n, 4) integer
        Their bounding boxes: y0, x0, y1, x1, half open.

    Returns
    -------
    labels, label_ids, bbox
        Contiguous: labels int32 or int64, the others copies, int64.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a bounding box is empty or reaches out of the field.
    """
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"nuclei: labels are {labels.dtype} of shape {labels.shape}, expected integers (y, x)."
        )
    # Copies: columns of a table may be read-only, for which kernels would be compiled once more.
    ids: npt.NDArray[np.int64] = np.array(label_ids, dtype=np.int64)
    boxes: npt.NDArray[np.int64] = np.array(bbox, dtype=np.int64, order="C")
    if ids.ndim != 1 or boxes.shape != (ids.size, 4):
        raise ValueError(
            f"nuclei: labels are {ids.shape} and boxes {boxes.shape}, expected (n,) and (n, 4)."
        )
    inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= labels.shape).all(axis=1)
    wrong = np.flatnonzero(~inside | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"nuclei: {wrong.size} bounding boxes are empty or outside the field {labels.shape}, "
            f"first label {ids[wrong[0]]} with {boxes[wrong[0]].tolist()}. Leave those out."
        )
    if labels.dtype != np.int32:
        labels = labels.astype(np.int64)  # two compiled versions instead of eight
    return np.ascontiguousarray(labels), ids, boxes


def check_finite(image: npt.NDArray[np.number]) -> None:
    """Refuse an image of floating point with a value that is not a number.

    Raises
    ------
    ValueError
        If a pixel is NaN or infinite.
    """
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        n_bad = image.size - int(np.isfinite(image).sum())
        raise ValueError(
            f"nuclei: {n_bad} of {image.size} pixels are NaN or infinite, expected finite "
            "intensities. Replace them, or exclude the field."
        )
