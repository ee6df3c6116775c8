"""The two sides of every edge of a network, as growing moats come to them."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt


class Sides(NamedTuple):
    """The two sides of every edge: half-edge ``2e + i`` belongs to the vertex ``ends[e, i]``.

    As long as all sides have half of their edge, those of one vertex come up in the order of
    their costs: one entry in the queue for each vertex is enough, which stands for the next in its
    list. A side that got another share has an entry alone.

    All entries are in one queue by the time of their turn, which may come too early where a
    cluster stood still meanwhile: the entry is then queued again. Of a cluster that does not grow,
    entries whose turn came are parked until it grows again. Most of them lead to the very cluster
    that wakes it and are not queued any more.

    Attributes
    ----------
    vertex, listed : (2m,) int32
        The half-edge's vertex; the half-edges by vertex and cost.
    next, last : (n,) int64
        The part of a vertex's list that is left.
    share : (2m,) float64
        How far the moats around its vertex may reach before a half-edge needs a look.
    cost : (m,) float64
        The edges' costs.
    alone : (2m,) bool
        Whether a half-edge has an entry alone, which has its number; the vertices' lists follow,
        and then the ends of clusters.
    parked : (n,) int32
        The entry of a cluster that was parked last; -1 for none.
    before : (2m + n,) int32
        The entry that was parked before one; -1 for none, -2 for an entry that is not parked.
    """

    vertex: npt.NDArray[np.int32]
    listed: npt.NDArray[np.int32]
    next: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64]
    alone: npt.NDArray[np.bool_]
    parked: npt.NDArray[np.int32]
    before: npt.NDArray[np.int32]


@numba.njit(cache=True, nogil=True)
def start_sides(
    ends: npt.NDArray[np.int32],
    costs: npt.NDArray[np.float64],
    by_cost: npt.NDArray[np.int64],
    n: int,
) -> Sides:
    """List the half-edges of every vertex, with halves of their edges."""
    m = len(costs)
    last = np.zeros(n, np.int64)
    for e in range(m):
        last[ends[e, 0]] += 1
        last[ends[e, 1]] += 1
    first = np.empty(n, np.int64)
    total = 0
    for v in range(n):
        first[v] = total
        total += last[v]
        last[v] = first[v]
    listed = np.empty(2 * m, np.int32)
    for e in by_cost:
        for side in range(2):
            v = ends[e, side]
            listed[last[v]] = 2 * e + side
            last[v] += 1
    share = np.empty(2 * m, np.float64)
    for e in range(m):
        share[2 * e] = share[2 * e + 1] = 0.5 * costs[e]
    return Sides(
        np.ascontiguousarray(ends).reshape(-1),
        listed,
        # Before the first one, as lists are moved on before they are read.
        first - 1,
        last,
        share,
        costs,
        np.zeros(2 * m, np.bool_),
        np.full(n, -1, np.int32),
        np.full(2 * m + n, -2, np.int32),
    )
