"""A network as arrays, and a tree in it that hangs from one of its vertices."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt


class Network(NamedTuple):
    """A network and its neighbour lists; see `i2r.kernels.pcst.trees.list_neighbours`.

    Attributes
    ----------
    ends, costs, prizes
        As for `i2r.kernels.pcst.moats.grow_moats`.
    first, near, edge_of
        Neighbours of every vertex.
    """

    ends: npt.NDArray[np.int32]
    costs: npt.NDArray[np.float64]
    prizes: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    near: npt.NDArray[np.int32]
    edge_of: npt.NDArray[np.int64]


class Tree(NamedTuple):
    """A tree that hangs from its root.

    Attributes
    ----------
    up, up_edge
        A vertex's upper neighbour and the edge to it; -1 for the root and outside.
    degree
        Neighbours in the tree.
    order, place, size
        The vertices in preorder; a vertex's place there; how many hang on it, itself included.
    label : (n,) int32
        0 in the tree, -1 outside; during a move the part of the tree a vertex is in.
    counts : (2,) int64
        Number of vertices, and the root.
    """

    up: npt.NDArray[np.int32]
    up_edge: npt.NDArray[np.int64]
    degree: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def make_tree(n: int) -> Tree:
    """Make an empty tree in a network of n vertices."""
    return Tree(
        np.full(n, -1, np.int32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        np.full(n, -1, np.int32),
        np.zeros(2, np.int64),
    )


@numba.njit(cache=True, nogil=True)
def hang_tree(net: Network, tree: Tree, edges: npt.NDArray[np.int64], root: int) -> None:
    """Set a tree from its edges, hung from a vertex, which is the tree where there are none."""
    n = len(net.prizes)
    tree.up[:] = -1
    tree.up_edge[:] = -1
    tree.label[:] = -1
    tree.degree[:] = 0
    for e in edges:
        tree.degree[net.ends[e, 0]] += 1
        tree.degree[net.ends[e, 1]] += 1
    start = np.zeros(n + 1, np.int64)
    for v in range(n):
        start[v + 1] = start[v] + tree.degree[v]
    fill = start[:n].copy()
    beside = np.empty(2 * len(edges), np.int64)
    for e in edges:
        for side in range(2):
            v = net.ends[e, side]
            beside[fill[v]] = e
            fill[v] += 1
    stack = np.empty(len(edges) + 1, np.int32)
    stack[0] = root
    height, filled = 1, 0
    while height:
        height -= 1
        v = stack[height]
        tree.label[v] = 0
        tree.size[v] = 1
        tree.order[filled] = v
        tree.place[v] = filled
        filled += 1
        for i in range(start[v], start[v + 1]):
            e = beside[i]
            w = net.ends[e, 0] + net.ends[e, 1] - v
            if e != tree.up_edge[v]:
                tree.up[w], tree.up_edge[w] = v, e
                stack[height] = w
                height += 1
    for i in range(filled - 1, 0, -1):
        v = tree.order[i]
        tree.size[tree.up[v]] += tree.size[v]
    tree.counts[0], tree.counts[1] = filled, root
