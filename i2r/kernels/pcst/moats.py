"""Moat growing for the prize-collecting Steiner tree: a forest, and a lower bound.

Goemans and Williamson 1995 (10.1137/S0097539793242618): every cluster of vertices grows a moat
around itself until its prizes are used up; clusters whose moats meet merge along that edge.
Moats are a solution of the dual linear program, so they bound every tree's value from below.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.heaps import IndexedHeap, drop_item, make_indexed, set_key
from i2r.kernels.pcst.sides import Sides, start_sides

# Moats meet where less than this part of an edge's cost, or of the time, is left between them.
MEET = 1e-12


class Clusters(NamedTuple):
    """Disjoint clusters of vertices, each known by one of them.

    Attributes
    ----------
    way_up : (n,) int32
        A vertex nearer to the one that the cluster is known by; -1 for that one.
    way_sum : (n,) float64
        What the moats around a vertex reach more than those around the next one up.
    reach : (n,) float64
        How far all moats around the known vertex reached when its cluster was born.
    born, ends : (n,) float64
        When the cluster was born, and when it will stop growing, or has stopped.
    grows : (n,) bool
        Whether it is growing.
    size : (n,) int32
        Its number of vertices.
    total : (1,) float64
        Sum of the moats that have stopped growing.
    """

    way_up: npt.NDArray[np.int32]
    way_sum: npt.NDArray[np.float64]
    reach: npt.NDArray[np.float64]
    born: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    grows: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int32]
    total: npt.NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def grow_moats(
    ends: npt.NDArray[np.int32],
    costs: npt.NDArray[np.float64],
    prizes: npt.NDArray[np.float64],
    by_cost: npt.NDArray[np.int64],
    root: int,
) -> tuple[npt.NDArray[np.int64], float]:
    """Grow moats until one cluster is left growing (unrooted), or none is (rooted).

    Edges are split between their two sides as in Hegde, Indyk and Schmidt 2014 ("A fast,
    adaptive variant of the Goemans-Williamson scheme for the prize-collecting Steiner tree
    problem", 11th DIMACS Implementation Challenge): a side is looked at only when its share is
    used up. What is then left is shared anew, in halves where both sides grow. With that, the
    time is near linear in the number of edges.

    **Lower bound, unrooted.** Let y(S) be the moats when the second-last growing cluster stops.
    They pack: no edge is crossed by more than its cost, no cluster's inner moats exceed its
    prizes. Take any tree T. A moat around S is crossed by T, or lies outside T (S and T are
    disjoint), or encloses T. The first kind sums to at most the tree's cost, the second to at
    most the prizes left out, and the third is a chain: all its sets hold one vertex v of T, so
    they sum to at most d(v), the moats around v. Hence value(T) >= sum(y) - max d(v).

    **Two times.** The tree that pruning leaves of the last growing cluster's forest tree costs at
    most twice that. While k clusters grow, the bound rises at the rate k - 1: some vertex of the
    last cluster has grown all the time, so max d(v) is the time itself. Without the parts that
    hang on clusters which had stopped, the tree has no leaf cluster that does not grow, so its
    cost rises at most at 2 (k' - 1), where k' >= 1 of the growing clusters touch it; the prizes
    left out rise at k - k'. (Feofiloff, Fernandes, Ferreira and de Pina 2007,
    10.1016/j.ipl.2007.03.012, where a bound for Johnson, Minkoff and Phillips 2000 is corrected.)

    **Rooted**, the cluster of the root never grows, no moat encloses it, and the bound is the sum.

    Parameters
    ----------
    ends : (m, 2) int32
        The two vertices of every edge, no self-loops.
    costs : (m,) float64
        0 or more.
    prizes : (n,) float64
        0 or more.
    by_cost : (m,) int64
        The edges in the order of their costs.
    root
        A vertex, or -1 for an unrooted tree.

    Returns
    -------
    forest : (k,) int64
        The edges along which clusters merged, in that order.
    lower_bound
        No tree's value is less, but for rounding (a few units of the 13th digit).
    """
    n, m, n_merged, time = len(prizes), len(costs), 0, 0.0
    clusters = _start_clusters(prizes, root)
    sides = start_sides(ends, costs, by_cost, n)
    queue, growing = _start_queue(sides, clusters)
    forest = np.empty(max(n - 1, 0), np.int64)
    while growing > (0 if root >= 0 else 1):
        node = 0 + queue.item[0]  # of 64 bit
        time = max(time, queue.key[node])
        if node >= 2 * m + n:
            _stop(clusters, queue, node, node - 2 * m - n, clusters.ends[node - 2 * m - n])
            growing -= 1
            continue
        is_list = node >= 2 * m
        v = node - 2 * m if is_list else sides.vertex[node]
        half = sides.listed[sides.next[v]] if is_list else node
        c, reach = _reach(clusters, v, time)
        if not clusters.grows[c]:
            drop_item(queue, node)
            _park(sides, c, node)
            continue
        d, away = _reach(clusters, sides.vertex[half ^ 1], time)
        cost = sides.cost[half >> 1]
        close = MEET * (cost + time)
        if c == d or (is_list and sides.alone[half]):
            left = 0.0
        elif sides.share[half] - reach > close:
            # Its cluster stood still for a while.
            set_key(queue, node, time + (sides.share[half] - reach))
            continue
        else:
            left = cost - reach - away
            if left <= close:
                forest[n_merged] = half >> 1
                n_merged += 1
                top = _find(clusters, root)[0] if root >= 0 else -1
                growing -= _merge(clusters, sides, queue, c, d, time, top in (c, d))
        if is_list:
            _queue_next(sides, clusters, queue, v, time)
        else:
            drop_item(queue, node)
        if left > close:
            _share(sides, clusters, queue, half, d, time, reach, away)
    return forest[:n_merged], _bound(clusters, time, root)


@numba.njit(cache=True, nogil=True)
def _start_queue(sides: Sides, clusters: Clusters) -> tuple[IndexedHeap, int]:
    """Queue the lists and ends of the vertices that grow, and count these."""
    n, lists, growing = len(clusters.grows), len(sides.share), 0
    queue = make_indexed(lists + 2 * n)
    for v in range(n):
        if clusters.grows[v]:
            growing += 1
            set_key(queue, lists + n + v, clusters.ends[v])
            _queue_next(sides, clusters, queue, v, 0.0)
        elif sides.next[v] + 1 < sides.last[v]:
            sides.next[v] += 1
            _park(sides, v, lists + v)
    return queue, growing


@numba.njit(cache=True, nogil=True)
def _queue_next(sides: Sides, clusters: Clusters, queue: IndexedHeap, v: int, time: float) -> None:
    """Move on in a vertex's list to the next half-edge that leads out of its cluster."""
    entry = len(sides.share) + v
    c, reach = _reach(clusters, v, time)
    i = sides.next[v] + 1
    while i < sides.last[v]:
        half = sides.listed[i]
        if not sides.alone[half] and _find(clusters, sides.vertex[half ^ 1])[0] != c:
            sides.next[v] = i
            set_key(queue, entry, time + max(0.0, sides.share[half] - reach))
            return
        i += 1
    sides.next[v] = i
    drop_item(queue, entry)


@numba.njit(cache=True, nogil=True)
def _share(
    sides: Sides,
    clusters: Clusters,
    queue: IndexedHeap,
    half: int,
    d: int,
    time: float,
    reach: float,
    away: float,
) -> None:
    """Share what is left of an edge whose moats have not met anew, the other side's in d."""
    other = half ^ 1
    left = sides.cost[half >> 1] - reach - away
    # Half for each where both grow; otherwise all for this one, and the other is looked at when
    # its cluster grows again.
    mine = 0.5 * left if clusters.grows[d] else left
    sides.alone[half] = sides.alone[other] = True
    sides.share[half] = reach + mine
    sides.share[other] = away + (left - mine)
    set_key(queue, half, time + mine)
    if clusters.grows[d]:
        set_key(queue, other, time + (left - mine))
    elif sides.before[other] == -2:
        drop_item(queue, other)
        _park(sides, d, other)


@numba.njit(cache=True, nogil=True)
def _park(sides: Sides, c: int, entry: int) -> None:
    """Keep an entry until its cluster grows."""
    sides.before[entry] = sides.parked[c]
    sides.parked[c] = entry


@numba.njit(cache=True, nogil=True)
def _wake(
    sides: Sides, clusters: Clusters, queue: IndexedHeap, entry: int, c: int, time: float
) -> None:
    """Queue the entries that were parked, the last of them given, as far as they lead out of c."""
    lists = len(sides.share)
    while entry >= 0:
        before = sides.before[entry]
        sides.before[entry] = -2
        v = entry - lists if entry >= lists else sides.vertex[entry]
        half = sides.listed[sides.next[v]] if entry >= lists else entry
        is_over = entry >= lists and sides.alone[half]
        if not is_over and _find(clusters, sides.vertex[half ^ 1])[0] != c:
            reach = _reach(clusters, v, time)[1]
            set_key(queue, entry, time + max(0.0, sides.share[half] - reach))
        elif entry >= lists:
            _queue_next(sides, clusters, queue, v, time)
        entry = before


@numba.njit(cache=True, nogil=True)
def _start_clusters(prizes: npt.NDArray[np.float64], root: int) -> Clusters:
    """Make every vertex a cluster; those with a prize grow until it is used up."""
    n = len(prizes)
    clusters = Clusters(
        np.full(n, -1, np.int32),
        np.zeros(n, np.float64),
        np.zeros(n, np.float64),
        np.zeros(n, np.float64),
        np.zeros(n, np.float64),
        np.zeros(n, np.bool_),
        np.ones(n, np.int32),
        np.zeros(1, np.float64),
    )
    for v in range(n):
        clusters.grows[v] = prizes[v] > 0 and v != root
        clusters.ends[v] = prizes[v] if v != root else 0.0
    return clusters


@numba.njit(cache=True, nogil=True)
def _find(clusters: Clusters, vertex: int) -> tuple[int, float]:
    """Find a vertex's cluster, and what its moats reach more than the known vertex's."""
    # Of 64 bit, whatever the vertex has.
    total, top = 0.0, 0 + vertex
    while clusters.way_up[top] >= 0:
        total += clusters.way_sum[top]
        top = clusters.way_up[top]
    rest, step = total, vertex
    while step != top and clusters.way_up[step] != top:
        following, own = clusters.way_up[step], clusters.way_sum[step]
        clusters.way_up[step] = top
        clusters.way_sum[step] = rest
        rest -= own
        step = following
    return top, total


@numba.njit(cache=True, nogil=True)
def _reach(clusters: Clusters, vertex: int, time: float) -> tuple[int, float]:
    """Find a vertex's cluster, and how far all moats around the vertex reach."""
    top, more = _find(clusters, vertex)
    if clusters.grows[top]:
        more += time - clusters.born[top]
    return top, more + clusters.reach[top]


@numba.njit(cache=True, nogil=True)
def _stop(clusters: Clusters, queue: IndexedHeap, entry: int, c: int, time: float) -> None:
    """Let a cluster grow no more; its end has the given entry."""
    width = time - clusters.born[c]
    clusters.total[0] += width
    clusters.reach[c] += width
    clusters.grows[c] = False
    drop_item(queue, entry)


@numba.njit(cache=True, nogil=True)
def _merge(
    clusters: Clusters,
    sides: Sides,
    queue: IndexedHeap,
    c: int,
    d: int,
    time: float,
    has_root: bool,
) -> int:
    """Make one cluster of two; return by how many there are fewer that grow."""
    end = len(sides.share) + len(clusters.grows)
    rest, before, woken = 0.0, 0, -1
    for old in (c, d):
        if clusters.grows[old]:
            before += 1
            rest += max(0.0, clusters.ends[old] - time)
            _stop(clusters, queue, end + old, old, time)
        else:
            woken = sides.parked[old]
            sides.parked[old] = -1
    if clusters.size[c] < clusters.size[d]:
        c, d = d, c
    clusters.way_up[d] = c
    clusters.way_sum[d] = clusters.reach[d] - clusters.reach[c]
    clusters.size[c] += clusters.size[d]
    clusters.born[c] = time
    clusters.ends[c] = time if has_root else time + rest
    clusters.grows[c] = not has_root
    if has_root:
        return before
    set_key(queue, end + c, clusters.ends[c])
    _wake(sides, clusters, queue, woken, c, time)
    return before - 1


@numba.njit(cache=True, nogil=True)
def _bound(clusters: Clusters, time: float, root: int) -> float:
    """Sum the moats; without a root, less the most that lie around one vertex."""
    total, most = clusters.total[0], 0.0
    for v in range(len(clusters.grows)):
        if clusters.grows[v]:
            total += time - clusters.born[v]
        most = max(most, _reach(clusters, v, time)[1])
    return max(0.0, total if root >= 0 else total - most)
