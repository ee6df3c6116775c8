"""Images that show the same thing: overlapping fields and frames of one series.

Data sets for training are often cut from larger fields or series. Images that share a view must
not be on both sides of a split into training and test.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MIN_CORRELATION = 0.5
"""Images that correlate above this at some shift show the same thing; on 394 fluorescence images
of the Data Science Bowl 2018 unlike pairs have a median of 0.18, 99.9 percent below 0.49."""


def group_duplicates(
    images: Sequence[npt.NDArray[np.number]],
) -> npt.NDArray[np.intp]:
    """Put images that share a view into one group: chains of images that are joined.

    Two are joined where their blobs (square roots, band-passed at half the resolution) correlate
    above `MIN_CORRELATION`.

    Parameters
    ----------
    images : sequence of (y, x) arrays
        Any sizes from 2 x 2 px; only images of one size are compared, at all cyclic shifts.

    Returns
    -------
    ndarray of intp, shape (image,)
        The position of the first image of each image's group.
    """
    joined: list[tuple[int, int]] = []
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(i)
    for shape, members in by_shape.items():
        patterns = np.stack([_find_pattern(images[i]) for i in members])
        size = (shape[0] // 2, shape[1] // 2)
        spectra = fft.rfft2(patterns)
        for a in range(len(members) - 1):
            product = spectra[a] * spectra[a + 1 :].conj()
            highest = fft.irfft2(product, s=size).max(axis=(1, 2))
            later = np.flatnonzero(highest > MIN_CORRELATION) + a + 1
            joined += [(members[a], members[b]) for b in later]
    n = len(images)
    first, second = np.array(joined, dtype=np.intp).reshape(-1, 2).T
    links = coo_array((np.ones(len(joined)), (first, second)), shape=(n, n))
    number = connected_components(links, directed=False)[1] if n else np.zeros(0, dtype=np.intp)
    starts = np.full(n, n, dtype=np.intp)
    np.minimum.at(starts, number, np.arange(n))
    return starts[number]


def _find_pattern(image: npt.NDArray[np.number]) -> npt.NDArray[np.float32]:
    """Give an image's blobs at half the resolution, with mean 0 and norm 1 (0 if constant)."""
    y, x = image.shape[0] // 2, image.shape[1] // 2
    halved = image[: 2 * y, : 2 * x].astype(np.float32).reshape(y, 2, x, 2).mean(axis=(1, 3))
    root = np.sqrt(np.maximum(halved, 0))
    pattern = ndimage.gaussian_filter(root, 1) - ndimage.gaussian_filter(root, 8)
    pattern -= pattern.mean()
    norm = float(np.linalg.norm(pattern))
    return pattern / np.float32(norm) if norm > 0 else np.zeros_like(pattern)
