"""Moat growing for the prize-collecting Steiner tree: a forest, and a lower bound.

Goemans and Williamson 1995 (10.1137/S0097539793242618): every cluster of vertices grows a moat
around itself until its prizes are used up; clusters whose moats meet merge along that edge.
Moats are a solution of the dual linear program, so they bound every tree's value from below.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.heaps import (
    KEY,
    IndexedHeap,
    PairingHeaps,
    add_node,
    drop_item,
    lower_key,
    make_heaps,
    make_indexed,
    meld,
    pop_root,
    set_key,
    shift_heap,
)

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
    size, heap : (n,) int32
        Its number of vertices; root of the heap of its sides, keyed by the time of their turn.
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
    heap: npt.NDArray[np.int32]
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
    n, n_merged, time = len(prizes), 0, 0.0
    clusters = _start_clusters(prizes, root)
    sides = _start_sides(ends, costs, by_cost, n)
    queue = make_indexed(n)
    growing = 0
    for v in range(n):
        _queue_next(sides, clusters, v, v, 0.0)
        if clusters.grows[v]:
            growing += 1
            _schedule(clusters, sides.heaps, queue, v)
    forest = np.empty(max(n - 1, 0), np.int64)
    while growing > (0 if root >= 0 else 1):
        c = queue.item[0]
        time = max(time, queue.key[c])
        node = clusters.heap[c]
        if node < 0 or sides.heaps.keys[node, KEY] > clusters.ends[c]:
            _stop(clusters, queue, c, clusters.ends[c])
            growing -= 1
            continue
        clusters.heap[c] = pop_root(sides.heaps, node)
        half = node
        if node >= len(sides.share):
            v = node - len(sides.share)
            half = sides.listed[sides.next[v]]
            free = sides.alone[half]
            _queue_next(sides, clusters, v, c, time)
            half = -1 if free else half
        if half >= 0 and _meets(sides, clusters, queue, half, c, time):
            d = _find(clusters, sides.vertex[half ^ 1])[0]
            forest[n_merged] = half >> 1
            n_merged += 1
            top = _find(clusters, root)[0] if root >= 0 else -1
            growing -= _merge(clusters, sides.heaps, queue, c, d, time, top in (c, d))
        else:
            _schedule(clusters, sides.heaps, queue, c)
    return forest[:n_merged], _bound(clusters, time, root)


class Sides(NamedTuple):
    """The two sides of every edge: half-edge ``2e + i`` belongs to the vertex ``ends[e, i]``.

    As long as all sides have half of their edge, those of one vertex come up in the order of
    their costs: one node for each vertex is enough, which stands for the next in its list. A
    side that got another share has a node alone.

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
        Whether a half-edge has a node alone, which has its number; the nodes for lists follow.
    heaps
        The nodes.
    """

    vertex: npt.NDArray[np.int32]
    listed: npt.NDArray[np.int32]
    next: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64]
    alone: npt.NDArray[np.bool_]
    heaps: PairingHeaps


@numba.njit(cache=True, nogil=True)
def _start_sides(
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
        # The first call of `_queue_next` moves on to the first one.
        first - 1,
        last,
        share,
        costs,
        np.zeros(2 * m, np.bool_),
        make_heaps(2 * m + n),
    )


@numba.njit(cache=True, nogil=True)
def _queue_next(sides: Sides, clusters: Clusters, v: int, c: int, time: float) -> None:
    """Move on in a vertex's list to the next half-edge that leads out of its cluster."""
    i = sides.next[v] + 1
    while i < sides.last[v]:
        half = sides.listed[i]
        if not sides.alone[half] and _find(clusters, sides.vertex[half ^ 1])[0] != c:
            key = time + (sides.share[half] - _reach(clusters, v, time)[1])
            clusters.heap[c] = add_node(
                sides.heaps, clusters.heap[c], len(sides.share) + v, max(time, key)
            )
            break
        i += 1
    sides.next[v] = i


@numba.njit(cache=True, nogil=True)
def _meets(
    sides: Sides, clusters: Clusters, queue: IndexedHeap, half: int, c: int, time: float
) -> bool:
    """Look at a half-edge whose share is used up: tell whether the moats meet, or share anew."""
    other = half ^ 1
    reach = _reach(clusters, sides.vertex[half], time)[1]
    d, away = _reach(clusters, sides.vertex[other], time)
    if d == c:
        return False
    cost = sides.cost[half >> 1]
    left = cost - reach - away
    if left <= MEET * (cost + time):
        return True
    # Half for each where both grow; otherwise all for this one, and the other is looked at when
    # its cluster grows again.
    mine = 0.5 * left if clusters.grows[d] else left
    frame = time if clusters.grows[d] else clusters.ends[d]
    sides.alone[half] = True
    clusters.heap[c] = add_node(sides.heaps, clusters.heap[c], half, time + mine)
    key = frame + (left - mine)
    if sides.alone[other]:
        before = frame + (sides.share[other] - away)
        clusters.heap[d] = lower_key(sides.heaps, clusters.heap[d], other, before, min(before, key))
    else:
        sides.alone[other] = True
        clusters.heap[d] = add_node(sides.heaps, clusters.heap[d], other, key)
    sides.share[half] = reach + mine
    sides.share[other] = away + (left - mine)
    if clusters.grows[d]:
        _schedule(clusters, sides.heaps, queue, d)
    return False


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
        np.full(n, -1, np.int32),
        np.zeros(1, np.float64),
    )
    for v in range(n):
        clusters.grows[v] = prizes[v] > 0 and v != root
        clusters.ends[v] = prizes[v] if v != root else 0.0
    return clusters


@numba.njit(cache=True, nogil=True)
def _find(clusters: Clusters, vertex: int) -> tuple[int, float]:
    """Find a vertex's cluster, and what its moats reach more than the known vertex's."""
    total, top = 0.0, vertex
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
def _schedule(clusters: Clusters, heaps: PairingHeaps, queue: IndexedHeap, c: int) -> None:
    """Queue a growing cluster for what comes first: a side of an edge, or its end."""
    first = clusters.heap[c]
    key = clusters.ends[c]
    if first >= 0:
        key = min(key, heaps.keys[first, KEY])
    set_key(queue, c, key)


@numba.njit(cache=True, nogil=True)
def _stop(clusters: Clusters, queue: IndexedHeap, c: int, time: float) -> None:
    """Let a cluster grow no more."""
    width = time - clusters.born[c]
    clusters.total[0] += width
    clusters.reach[c] += width
    clusters.grows[c] = False
    drop_item(queue, c)


@numba.njit(cache=True, nogil=True)
def _merge(
    clusters: Clusters,
    heaps: PairingHeaps,
    queue: IndexedHeap,
    c: int,
    d: int,
    time: float,
    has_root: bool,
) -> int:
    """Make one cluster of two; return by how many there are fewer that grow."""
    rest, before = 0.0, 0
    for old in (c, d):
        if clusters.grows[old]:
            before += 1
            rest += max(0.0, clusters.ends[old] - time)
            _stop(clusters, queue, old, time)
        else:
            # Its clock stood still since it had stopped.
            shift_heap(heaps, clusters.heap[old], time - clusters.ends[old])
    if clusters.size[c] < clusters.size[d]:
        c, d = d, c
    clusters.way_up[d] = c
    clusters.way_sum[d] = clusters.reach[d] - clusters.reach[c]
    clusters.size[c] += clusters.size[d]
    clusters.heap[c] = meld(heaps, clusters.heap[c], clusters.heap[d])
    clusters.born[c] = time
    clusters.ends[c] = time if has_root else time + rest
    clusters.grows[c] = not has_root
    if has_root:
        return before
    _schedule(clusters, heaps, queue, c)
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
