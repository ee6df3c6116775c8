"""Which points of one list are which of another: nuclei found twice, by two programs."""

import numpy as np
import numpy.typing as npt


def match_points(
    found: npt.ArrayLike, known: npt.ArrayLike, *, reach: float
) -> npt.NDArray[np.intp]:
    """Match points that are each other's nearest, no further apart than the reach.

    Parameters
    ----------
    found, known
        Shapes (n, 2) and (m, 2). Points with NaN match nothing.
    reach
        The largest distance, in the points' unit.

    Returns
    -------
    ndarray of intp, shape (n,)
        For every found point the index of the known one, -1 where there is none. No known point
        is given twice.
    """
    from scipy.spatial import cKDTree

    here, there = (np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in (found, known))
    matched = np.full(len(here), -1, dtype=np.intp)
    usable = np.flatnonzero(np.isfinite(here).all(axis=1))
    sound = np.flatnonzero(np.isfinite(there).all(axis=1))
    if not usable.size or not sound.size:
        return matched
    distance, forth = cKDTree(there[sound]).query(here[usable])
    _, back = cKDTree(here[usable]).query(there[sound])
    mutual = (back[forth] == np.arange(usable.size)) & (distance <= reach)
    matched[usable[mutual]] = sound[forth[mutual]]
    return matched
