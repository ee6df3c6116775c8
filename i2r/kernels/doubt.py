"""Where a network is least sure: doubt per pixel, and the parts of a field that hold most of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import entr, expit

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1, half open."""


class Candidate(NamedTuple):
    """A part of a field that somebody could look at.

    Attributes
    ----------
    box : Box
        Where it is in the field.
    doubt : float
        Sum of its pixels' doubt, in bits.
    n_nuclei : int
        Nuclei found whose middle is in it.
    """

    box: Box
    doubt: float
    n_nuclei: int


def measure_doubt(
    views: Sequence[npt.NDArray[np.float32]],
) -> npt.NDArray[np.float32]:
    """Measure how unsure a network is at every pixel of a field.

    Parameters
    ----------
    views : sequence of (2 or more, y, x) float32 arrays
        Logits of foreground and of centres, predicted from several views of one field (mirrored,
        magnified) and turned back.

    Returns
    -------
    (y, x) float32
        Bits: the entropy of the mean probability of foreground, and of that of a centre where
        there may be a nucleus. It is the least of each 3 x 3 pixels: an edge is always a line of
        doubt a pixel or two wide, which nobody has to look at.

    References
    ----------
    The mean over views: Gal and Ghahramani 2016, https://arxiv.org/abs/1506.02142; Wang et al.
    2019, https://doi.org/10.1016/j.neucom.2019.01.103.
    """
    mean = np.mean([expit(view[:2]) for view in views], axis=0)
    bits = (entr(mean) + entr(1 - mean)) / np.log(2)
    doubt = bits[0] + mean[0] * bits[1]
    least: npt.NDArray[np.float32] = ndimage.minimum_filter(doubt, 3).astype(np.float32)
    return least


def list_candidates(
    doubt: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], *, side_px: int
) -> list[Candidate]:
    """Cut a field into squares that overlap by half, and sum up what each holds.

    Parameters
    ----------
    doubt : (y, x) float32
        See `measure_doubt`.
    labels : (y, x) integer
        Nuclei that were found, 0 = background.
    side_px : int
        Side of a square. A field less than one and a half times as long is not cut along that
        side.

    Returns
    -------
    list of Candidate
        Row by row.
    """
    sums = np.zeros((doubt.shape[0] + 1, doubt.shape[1] + 1))
    sums[1:, 1:] = doubt.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    n = int(labels.max(initial=0))
    middles = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, n + 1))).reshape(-1, 2)
    found = []
    for y0, y1 in _cut_axis(doubt.shape[0], side_px):
        for x0, x1 in _cut_axis(doubt.shape[1], side_px):
            total = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
            inside = ((middles >= (y0, x0)) & (middles < (y1, x1))).all(axis=1)
            found.append(Candidate((y0, x0, y1, x1), float(max(total, 0.0)), int(inside.sum())))
    return found


def _cut_axis(length: int, side: int) -> list[tuple[int, int]]:
    if length < 1.5 * side:
        return [(0, length)]
    n_steps = -(-2 * (length - side) // side)
    starts = [round(i * (length - side) / n_steps) for i in range(n_steps + 1)]
    return [(start, start + side) for start in starts]


def choose_doubtful(
    candidates: Sequence[Sequence[Candidate]], *, n_nuclei: int, n_least: int, n_most: int
) -> list[tuple[int, Candidate]]:
    """Choose the parts with most doubt, from as many fields as possible.

    Parameters
    ----------
    candidates : sequence of sequences of Candidate
        By field.
    n_nuclei : int
        Parts are chosen until they hold as many nuclei.
    n_least, n_most : int
        But at least and at most so many parts, where there are so many.

    Returns
    -------
    list of (int, Candidate)
        The position of the field, and its part. No two parts overlap. No field gives a second
        one before every other has given its first.
    """
    chosen: list[tuple[int, Candidate]] = []
    left = [sorted(parts, key=lambda part: (-part.doubt, part.box)) for parts in candidates]
    while any(left) and len(chosen) < n_most:
        firsts = [(i, parts[0]) for i, parts in enumerate(left) if parts]
        for i, part in sorted(firsts, key=lambda entry: (-entry[1].doubt, entry[0])):
            enough = sum(p.n_nuclei for _, p in chosen) >= n_nuclei and len(chosen) >= n_least
            if enough or len(chosen) == n_most:
                return chosen
            chosen.append((i, part))
            left[i] = [other for other in left[i] if not _overlap(part.box, other.box)]
    return chosen


def _overlap(one: Box, other: Box) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(
        one[3], other[3]
    )
