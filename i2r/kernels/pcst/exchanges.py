"""Local search on a tree in a network: vertices go in, paths and vertices are replaced.

The moves are those of Uchoa and Werneck 2012 (10.1145/2133803.2184448) for Steiner trees, with
prizes: a piece of tree that is cut out takes along what is no longer worth its edge, and a new
path is shorter by the prizes that it collects. Every accepted move raises the tree's worth.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.heaps import IndexedHeap, drop_item, make_indexed, set_key
from i2r.kernels.pcst.rooted_tree import Network, Tree, hang_tree

# Vertices with more neighbours in the tree are never taken out: they hold it together.
MOST_PARTS = 8
_OUTSIDE, _BLOCKED = -1, -2


class Move(NamedTuple):
    """Room for one move: where the tree is cut, the parts it falls into, and what joins them.

    Attributes
    ----------
    cuts, gone
        Vertices whose upper edge goes; vertices that go. Counts in ``counts[0]``, ``counts[1]``.
    parts : (MOST_PARTS + 1, 2) int64
        Range of a part in preorder; part 0 is all the rest. Count in ``counts[2]``.
    group : (MOST_PARTS + 1,) int64
        Which parts are joined already.
    fresh, joins
        Vertices and edges that come in. Counts in ``counts[3]``, ``counts[4]``.
    seen, came, came_edge, heap
        Shortest paths; ``counts[5]`` is the search's number, ``counts[6]`` the edges looked at.
    """

    cuts: npt.NDArray[np.int32]
    gone: npt.NDArray[np.int32]
    parts: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    fresh: npt.NDArray[np.int32]
    joins: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int64]
    came: npt.NDArray[np.int32]
    came_edge: npt.NDArray[np.int64]
    heap: IndexedHeap
    counts: npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def make_move(n: int) -> Move:
    """Make room for moves in a network of n vertices."""
    return Move(
        np.empty(n + 1, np.int32),
        np.empty(n + 1, np.int32),
        np.zeros((MOST_PARTS + 1, 2), np.int64),
        np.zeros(MOST_PARTS + 1, np.int64),
        np.empty(n + 1, np.int32),
        np.empty(n + 1, np.int64),
        np.zeros(n, np.int64),
        np.full(n, -1, np.int32),
        np.full(n, -1, np.int64),
        make_indexed(n),
        np.zeros(7, np.int64),
    )


@numba.njit(cache=True, nogil=True)
def replace_path(net: Network, tree: Tree, move: Move, x: int, least: float) -> float:
    """Cut the edge above a vertex and join the two parts more cheaply, if that is possible.

    Returns
    -------
    float
        What the tree gained, 0 where it stayed as it was. A changed tree has been hung anew.
    """
    _begin(move)
    budget = net.costs[tree.up_edge[x]] + _cut_above(net, tree, move, tree.up[x])
    budget += _cut_below(net, tree, move, x)
    return _finish(net, tree, move, budget, least)


@numba.njit(cache=True, nogil=True)
def take_out(net: Network, tree: Tree, move: Move, v: int, least: float) -> float:
    """Take a vertex out and join the parts without it, if that is worth it; as `replace_path`."""
    degree = tree.degree[v]
    if degree < 2 or degree > MOST_PARTS or v == tree.counts[1]:
        return 0.0
    budget = net.costs[tree.up_edge[v]] - net.prizes[v]
    at, last = tree.place[v] + 1, tree.place[v] + tree.size[v]
    child = at
    while child < last:
        w = tree.order[child]
        budget += net.costs[tree.up_edge[w]]
        child += tree.size[w]
    _begin(move)
    _remove(tree, move, v, _BLOCKED)
    budget += _cut_above(net, tree, move, tree.up[v])
    move.cuts[move.counts[0]] = v
    move.counts[0] += 1
    child = at
    while child < last:
        w = tree.order[child]
        child += tree.size[w]
        budget += _cut_below(net, tree, move, w)
    return _finish(net, tree, move, budget, least)


@numba.njit(cache=True, nogil=True)
def _begin(move: Move) -> None:
    move.counts[:5] = 0
    move.counts[2] = 1


@numba.njit(cache=True, nogil=True)
def _remove(tree: Tree, move: Move, v: int, label: int) -> None:
    tree.label[v] = label
    move.gone[move.counts[1]] = v
    move.counts[1] += 1


@numba.njit(cache=True, nogil=True)
def _cut_above(net: Network, tree: Tree, move: Move, v: int) -> float:
    """Take away upwards what a cut below leaves without worth; return what that saves."""
    saved = 0.0
    while v != tree.counts[1] and tree.degree[v] == 2:
        cost = net.costs[tree.up_edge[v]]
        if net.prizes[v] > cost:
            break
        saved += cost - net.prizes[v]
        _remove(tree, move, v, _OUTSIDE)
        move.cuts[move.counts[0]] = v
        move.counts[0] += 1
        v = tree.up[v]
    return saved


@numba.njit(cache=True, nogil=True)
def _cut_below(net: Network, tree: Tree, move: Move, v: int) -> float:
    """Cut above a vertex, take away downwards what has no worth, and make the rest a part."""
    saved = 0.0
    move.cuts[move.counts[0]] = v
    move.counts[0] += 1
    while tree.degree[v] == 2:
        below = tree.order[tree.place[v] + 1]
        cost = net.costs[tree.up_edge[below]]
        if net.prizes[v] > cost:
            break
        saved += cost - net.prizes[v]
        _remove(tree, move, v, _OUTSIDE)
        move.cuts[move.counts[0]] = below
        move.counts[0] += 1
        v = below
    part = move.counts[2]
    move.parts[part, 0], move.parts[part, 1] = tree.place[v], tree.place[v] + tree.size[v]
    move.counts[2] += 1
    for i in range(move.parts[part, 0], move.parts[part, 1]):
        tree.label[tree.order[i]] = part
    return saved


@numba.njit(cache=True, nogil=True)
def _finish(net: Network, tree: Tree, move: Move, budget: float, least: float) -> float:
    """Join the parts for less than the budget and hang the tree anew, or put all back."""
    left = budget - least
    n_parts = move.counts[2]
    for part in range(n_parts):
        move.group[part] = part
    for _ in range(n_parts - 1):
        if left <= 0:
            break
        left -= _join_smallest(net, tree, move, left)
    if left > 0:
        root = tree.counts[1]
        for i in range(move.counts[0]):
            tree.up_edge[move.cuts[i]] = -1
        edges = np.empty(tree.counts[0] + move.counts[4], np.int64)
        filled = 0
        for i in range(tree.counts[0]):
            e = tree.up_edge[tree.order[i]]
            if e >= 0:
                edges[filled] = e
                filled += 1
        for i in range(move.counts[4]):
            edges[filled] = move.joins[i]
            filled += 1
        hang_tree(net, tree, edges[:filled], root)
        move.counts[6] += len(tree.up) >> 2
        return left + least
    for part in range(1, n_parts):
        for i in range(move.parts[part, 0], move.parts[part, 1]):
            tree.label[tree.order[i]] = 0
    for i in range(move.counts[3]):
        tree.label[move.fresh[i]] = _OUTSIDE
    for i in range(move.counts[1]):
        tree.label[move.gone[i]] = 0
    return 0.0


@numba.njit(cache=True, nogil=True)
def _join_smallest(net: Network, tree: Tree, move: Move, limit: float) -> float:
    """Join the smallest group of parts to another by the shortest path; return its price.

    Lengths are costs less the prizes of the vertices entered, at least 0. Infinite where no path
    is shorter than the limit.
    """
    source = _choose_group(tree, move)
    meet, e = _find_way(net, tree, move, source, limit)
    if meet < 0:
        return np.inf
    part = tree.label[net.ends[e, 0] + net.ends[e, 1] - meet]
    joined, price = move.group[part], net.costs[e]
    while True:
        move.joins[move.counts[4]] = e
        move.counts[4] += 1
        if tree.label[meet] >= 0:
            break
        tree.label[meet] = part
        move.fresh[move.counts[3]] = meet
        move.counts[3] += 1
        e = move.came_edge[meet]
        price += net.costs[e] - net.prizes[meet]
        meet = move.came[meet]
    for other in range(move.counts[2]):
        if move.group[other] == source:
            move.group[other] = joined
    return price


@numba.njit(cache=True, nogil=True)
def _find_way(net: Network, tree: Tree, move: Move, source: int, limit: float) -> tuple[int, int]:
    """Find the shortest path from a group to any other (Dijkstra 1959, 10.1007/BF01386390).

    Returns
    -------
    meet, edge
        The last vertex before the other group, and the edge into that; -1 for no path.
    """
    move.counts[5] += 1
    way = (limit, -1, -1)
    for part in range(move.counts[2]):
        if move.group[part] != source:
            continue
        low, high = move.parts[part, 0], move.parts[part, 1]
        if part == 0:
            low, high = 0, tree.counts[0]
        for i in range(low, high):
            if tree.label[tree.order[i]] == part:
                way = _relax(net, tree, move, tree.order[i], 0.0, source, way)
    for i in range(move.counts[3]):
        if move.group[tree.label[move.fresh[i]]] == source:
            way = _relax(net, tree, move, move.fresh[i], 0.0, source, way)
    heap = move.heap
    while heap.size[0]:
        v = heap.item[0]
        if heap.key[v] >= way[0]:
            break
        drop_item(heap, v)
        way = _relax(net, tree, move, v, heap.key[v], source, way)
    while heap.size[0]:
        drop_item(heap, heap.item[0])
    return way[1], way[2]


@numba.njit(cache=True, nogil=True)
def _choose_group(tree: Tree, move: Move) -> int:
    """Choose the group of parts with the fewest vertices."""
    sizes = np.zeros(MOST_PARTS + 1, np.int64)
    sizes[move.group[0]] = tree.counts[0] - move.counts[1]
    for part in range(1, move.counts[2]):
        size = move.parts[part, 1] - move.parts[part, 0]
        sizes[move.group[part]] += size
        sizes[move.group[0]] -= size
    best = move.group[0]
    for part in range(1, move.counts[2]):
        if sizes[move.group[part]] < sizes[best]:
            best = move.group[part]
    return best


@numba.njit(cache=True, nogil=True)
def _relax(
    net: Network,
    tree: Tree,
    move: Move,
    v: int,
    distance: float,
    source: int,
    way: tuple[float, int, int],
) -> tuple[float, int, int]:
    """Look from a vertex at its neighbours: another group ends the path, others continue it."""
    move.counts[6] += net.first[v + 1] - net.first[v]
    best, meet, meet_edge = way
    for i in range(net.first[v], net.first[v + 1]):
        w, e = net.near[i], net.edge_of[i]
        label = tree.label[w]
        cost = distance + net.costs[e]
        if label >= 0:
            if move.group[label] != source and cost < best:
                best, meet, meet_edge = cost, v, e
        elif label == _OUTSIDE:
            cost = distance + max(0.0, net.costs[e] - net.prizes[w])
            if cost < best and (move.seen[w] != move.counts[5] or cost < move.heap.key[w]):
                move.seen[w] = move.counts[5]
                move.came[w], move.came_edge[w] = v, e
                set_key(move.heap, w, cost)
    return best, meet, meet_edge
