"""Trees within a network: the best part of a tree, and the cheapest tree on some vertices."""

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True, nogil=True)
def prune_strongly(
    ends: npt.NDArray[np.int32],
    costs: npt.NDArray[np.float64],
    prizes: npt.NDArray[np.float64],
    forest: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Find the part of a forest, connected, that is worth most: prizes less costs.

    Strong pruning (Johnson, Minkoff and Phillips 2000, "The prize collecting Steiner tree
    problem: theory and practice", SODA). Every connected part has one highest vertex when the
    trees hang from any of theirs, and a vertex keeps those branches below it that are worth more
    than their edge: exact, in linear time.

    Parameters
    ----------
    ends, costs, prizes
        The network; see `i2r.kernels.pcst.moats.grow_moats`.
    forest : (k,) int64
        Edges without a cycle.

    Returns
    -------
    vertices : (j,) int32
        The part's vertices, from its highest one downwards; never empty for n > 0.
    edges : (j - 1,) int64
        Edge ``i`` joins vertex ``i + 1`` to one before it.
    """
    n = len(prizes)
    if n == 0:
        return np.empty(0, np.int32), np.empty(0, np.int64)
    first, near, edge_of = list_neighbours(ends, n, forest)
    order = np.empty(n, np.int32)
    up = np.full(n, -1, np.int32)
    up_edge = np.full(n, -1, np.int64)
    seen = np.zeros(n, np.bool_)
    filled = 0
    for start in range(n):
        if seen[start]:
            continue
        seen[start] = True
        order[filled] = start
        looked = filled
        filled += 1
        while looked < filled:
            v = order[looked]
            looked += 1
            for i in range(first[v], first[v + 1]):
                w = near[i]
                if not seen[w]:
                    seen[w] = True
                    up[w], up_edge[w] = v, edge_of[i]
                    order[filled] = w
                    filled += 1
    worth = prizes.copy()
    kept = np.zeros(n, np.bool_)
    best = order[0]
    for i in range(n - 1, -1, -1):
        v = order[i]
        if worth[v] >= worth[best]:
            best = v
        if up[v] >= 0:
            gain = worth[v] - costs[up_edge[v]]
            if gain > 0:
                worth[up[v]] += gain
                kept[v] = True
    return _collect(best, first, near, edge_of, up, kept)


@numba.njit(cache=True, nogil=True)
def _collect(
    top: int,
    first: npt.NDArray[np.int64],
    near: npt.NDArray[np.int32],
    edge_of: npt.NDArray[np.int64],
    up: npt.NDArray[np.int32],
    kept: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """List a vertex and the branches below it that are kept."""
    vertices = np.empty(len(up), np.int32)
    edges = np.empty(len(up), np.int64)
    vertices[0] = top
    looked, filled = 0, 1
    while looked < filled:
        v = vertices[looked]
        looked += 1
        for i in range(first[v], first[v + 1]):
            w = near[i]
            if up[w] == v and kept[w]:
                vertices[filled] = w
                edges[filled - 1] = edge_of[i]
                filled += 1
    return vertices[:filled], edges[: filled - 1]


@numba.njit(cache=True, nogil=True)
def list_neighbours(
    ends: npt.NDArray[np.int32], n: int, chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """List the neighbours of every vertex by the chosen edges.

    Returns
    -------
    first : (n + 1,) int64
        Vertex ``v`` has the entries ``first[v]`` up to ``first[v + 1]``.
    near : (2k,) int32
        The neighbours.
    edge_of : (2k,) int64
        The edges to them.
    """
    first = np.zeros(n + 1, np.int64)
    for e in chosen:
        first[ends[e, 0] + 1] += 1
        first[ends[e, 1] + 1] += 1
    for v in range(n):
        first[v + 1] += first[v]
    fill = first[:n].copy()
    near = np.empty(2 * len(chosen), np.int32)
    edge_of = np.empty(2 * len(chosen), np.int64)
    for e in chosen:
        for side in range(2):
            v = ends[e, side]
            near[fill[v]] = ends[e, 1 - side]
            edge_of[fill[v]] = e
            fill[v] += 1
    return first, near, edge_of


@numba.njit(cache=True, nogil=True)
def span_cheaply(
    ends: npt.NDArray[np.int32],
    by_cost: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Find the cheapest forest on some vertices (Kruskal 1956, 10.2307/2033241).

    Parameters
    ----------
    ends
        The network's edges.
    by_cost : (m,) int64
        The edges in the order of their costs.
    inside : (n,) bool
        The vertices to span, by edges among them.

    Returns
    -------
    (k,) int64
        The forest's edges.
    """
    n = len(inside)
    group = np.arange(n).astype(np.int32)
    left = 0
    for v in range(n):
        left += inside[v]
    forest = np.empty(max(left - 1, 0), np.int64)
    filled = 0
    for e in by_cost:
        if filled == len(forest):
            break
        u, v = ends[e, 0], ends[e, 1]
        if not (inside[u] and inside[v]):
            continue
        if join_groups(group, u, v):
            forest[filled] = e
            filled += 1
    return forest[:filled]


@numba.njit(cache=True, nogil=True)
def join_groups(group: npt.NDArray[np.int32], u: int, v: int) -> bool:
    """Join the groups of two vertices; say whether they were apart.

    Of every vertex `group` has one that is nearer to the one its group is known by, which has
    itself; the ways there are shortened.
    """
    while group[u] != u:
        group[u] = group[group[u]]
        u = group[u]
    while group[v] != v:
        group[v] = group[group[v]]
        v = group[v]
    if u != v:
        group[v] = u
    return u != v
