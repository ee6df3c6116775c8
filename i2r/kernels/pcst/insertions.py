"""Vertices put into a tree: with the edges that they make dearer than needed taken out."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.heaps import IndexedHeap, drop_item, make_indexed, set_key
from i2r.kernels.pcst.rooted_tree import Network, Tree


class Journal(NamedTuple):
    """What a trial changed, to be undone.

    Attributes
    ----------
    vertex, up, degree, label : (capacity,) int32
        A vertex and what it was.
    up_edge : (capacity,) int64
        The edge above it.
    mark : (n,) int64
        Vertices on a path, by the number of the search.
    loose : (capacity,) int32
        Vertices that lost an edge.
    counts : (3,) int64
        Entries, loose vertices, searches.
    """

    vertex: npt.NDArray[np.int32]
    up: npt.NDArray[np.int32]
    degree: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    up_edge: npt.NDArray[np.int64]
    mark: npt.NDArray[np.int64]
    loose: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def make_journal(n: int) -> Journal:
    """Make room for trials in a network of n vertices."""
    room = 64 * n + 1024
    return Journal(
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int64),
        np.zeros(n, np.int64),
        np.empty(room, np.int32),
        np.zeros(3, np.int64),
    )


@numba.njit(cache=True, nogil=True)
def put_in(net: Network, tree: Tree, journal: Journal, v: int, least: float) -> float:
    """Put a vertex into the tree with its best edges, if the tree gains by it.

    The tree becomes the cheapest one on its vertices and the new one, as far as the old tree was;
    leaves that lost what they were there for are taken away. Preorder and sizes are then out of
    date: hang the tree anew before the moves that need them.

    Returns
    -------
    float
        What the tree gained, 0 where it stayed as it was.
    """
    n_near, cheapest, best = 0, -1, np.inf
    for i in range(net.first[v], net.first[v + 1]):
        if tree.label[net.near[i]] == 0:
            n_near += 1
            if net.costs[net.edge_of[i]] < best:
                best, cheapest = net.costs[net.edge_of[i]], i
    gain = net.prizes[v] - best
    if n_near == 0 or (n_near == 1 and gain <= least):
        return 0.0
    journal.counts[:2] = 0
    upper = net.near[cheapest]
    _note(tree, journal, v)
    _note(tree, journal, upper)
    tree.label[v], tree.degree[v] = 0, 1
    tree.up[v], tree.up_edge[v] = upper, net.edge_of[cheapest]
    tree.degree[upper] += 1
    room = len(journal.vertex) - len(tree.up) - 8
    for i in range(net.first[v], net.first[v + 1]):
        if i != cheapest and tree.label[net.near[i]] == 0 and journal.counts[0] < room:
            gain += _swap(net, tree, journal, v, net.near[i], net.edge_of[i])
    for i in range(journal.counts[1]):
        w = journal.loose[i]
        while tree.label[w] == 0 and tree.degree[w] == 1 and w != tree.counts[1]:
            saved = net.costs[tree.up_edge[w]] - net.prizes[w]
            if saved < 0 or journal.counts[0] > len(journal.vertex) - 4:
                break
            gain += saved
            upper = tree.up[w]
            _note(tree, journal, w)
            _note(tree, journal, upper)
            tree.label[w], tree.degree[w], tree.up[w], tree.up_edge[w] = -1, 0, -1, -1
            tree.degree[upper] -= 1
            w = upper
    if gain > least:
        return gain
    for i in range(journal.counts[0] - 1, -1, -1):
        w = journal.vertex[i]
        tree.up[w], tree.up_edge[w] = journal.up[i], journal.up_edge[i]
        tree.degree[w], tree.label[w] = journal.degree[i], journal.label[i]
    return 0.0


@numba.njit(cache=True, nogil=True)
def _note(tree: Tree, journal: Journal, v: int) -> None:
    """Write down what a vertex is before it changes."""
    i = journal.counts[0]
    journal.vertex[i], journal.up[i], journal.up_edge[i] = v, tree.up[v], tree.up_edge[v]
    journal.degree[i], journal.label[i] = tree.degree[v], tree.label[v]
    journal.counts[0] += 1


@numba.njit(cache=True, nogil=True)
def _swap(net: Network, tree: Tree, journal: Journal, v: int, u: int, edge: int) -> float:
    """Take an edge in for the dearest one on the cycle it closes, if that is dearer."""
    journal.counts[2] += 1
    number = journal.counts[2]
    w = v
    while w >= 0:
        journal.mark[w] = number
        w = tree.up[w]
    dearest, below, low = net.costs[edge], -1, -1
    w = u
    while journal.mark[w] != number:
        if net.costs[tree.up_edge[w]] > dearest:
            dearest, below, low = net.costs[tree.up_edge[w]], w, u
        w = tree.up[w]
    meet, w = w, v
    while w != meet:
        if net.costs[tree.up_edge[w]] > dearest:
            dearest, below, low = net.costs[tree.up_edge[w]], w, v
        w = tree.up[w]
    if below < 0:
        return 0.0
    _note(tree, journal, u)
    _note(tree, journal, v)
    tree.degree[u] += 1
    tree.degree[v] += 1
    _loosen(tree, journal, below)
    _loosen(tree, journal, tree.up[below])
    # Turn round what hung between the new edge and the one that goes.
    w, upper, upper_edge = low, u + v - low, edge
    while True:
        _note(tree, journal, w)
        following, following_edge = tree.up[w], tree.up_edge[w]
        tree.up[w], tree.up_edge[w] = np.int32(upper), np.int64(upper_edge)
        if w == below:
            return dearest - net.costs[edge]
        upper, upper_edge = w, following_edge
        w = following


@numba.njit(cache=True, nogil=True)
def _loosen(tree: Tree, journal: Journal, v: int) -> None:
    """Take one edge of a vertex away, and remember to look whether it is still worth its place."""
    _note(tree, journal, v)
    tree.degree[v] -= 1
    journal.loose[journal.counts[1]] = v
    journal.counts[1] += 1


@numba.njit(cache=True, nogil=True)
def gather_prizes(net: Network, tree: Tree, least: float) -> float:
    """Put in the path from the tree that gains most by the prizes along it, if one does.

    Returns
    -------
    float
        What the tree gained; preorder and sizes are then out of date, as after `put_in`.
    """
    n = len(net.prizes)
    heap = make_indexed(n)
    gain, came, came_edge = np.zeros(n), np.full(n, -1, np.int32), np.full(n, -1, np.int64)
    done = np.zeros(n, np.bool_)
    most, end, highest = least, -1, 0.0
    for v in range(n):
        if tree.label[v] < 0:
            highest = max(highest, net.prizes[v])
        else:
            _spread(net, tree, heap, v, 0.0, done, came, came_edge)
    while heap.size[0]:
        v = 0 + heap.item[0]  # of 64 bit
        distance = heap.key[v]
        if distance > highest:
            # What was paid so far is more than any prize can bring back at once.
            break
        drop_item(heap, v)
        done[v] = True
        gain[v] = gain[came[v]] + net.prizes[v] - net.costs[came_edge[v]]
        if gain[v] > most:
            most, end = gain[v], v
        _spread(net, tree, heap, v, distance, done, came, came_edge)
    if end < 0:
        return 0.0
    while tree.label[end] < 0:
        tree.label[end] = 0
        tree.up[end], tree.up_edge[end] = came[end], came_edge[end]
        tree.degree[end] += 1
        tree.degree[came[end]] += 1
        end = came[end]
    return most


@numba.njit(cache=True, nogil=True)
def _spread(
    net: Network,
    tree: Tree,
    heap: IndexedHeap,
    v: int,
    distance: float,
    done: npt.NDArray[np.bool_],
    came: npt.NDArray[np.int32],
    came_edge: npt.NDArray[np.int64],
) -> None:
    """Offer a vertex's neighbours outside the tree the way by it."""
    for i in range(net.first[v], net.first[v + 1]):
        w, e = net.near[i], net.edge_of[i]
        if tree.label[w] == 0 or done[w]:
            continue
        length = distance + max(0.0, net.costs[e] - net.prizes[w])
        if heap.place[w] < 0 or length < heap.key[w]:
            came[w], came_edge[w] = v, e
            set_key(heap, w, length)
