"""Searches for a better tree: local moves until none helps, then the same from elsewhere.

Iterated local search (Lourenco, Martin and Stützle 2003, 10.1007/0-306-48056-5_11) on costs and
prizes with noise, with new starts that are joined to the best tree so far, as Canuto, Resende
and Ribeiro 2001 (10.1002/net.1023) do for this problem.
"""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.exchanges import Move, make_move, replace_path, take_out
from i2r.kernels.pcst.insertions import Journal, gather_prizes, make_journal, put_in
from i2r.kernels.pcst.moats import grow_moats
from i2r.kernels.pcst.rooted_tree import Network, Tree, hang_tree, make_tree
from i2r.kernels.pcst.trees import prune_strongly, span_cheaply

# Searches at least; after them the edges looked at decide, about 25 ns for each.
FEWEST_SEARCHES = 2
# Relative noise on costs and prizes: in turn less and more.
NOISE = (0.1, 0.2, 0.4)
# Every so many searches one starts from moats grown anew, for prizes raised by these in turn.
RENEW = 4
RAISED = (1.0, 1.25, 2.0, 1.5)
# A long search returns to the best tree after so many searches without a better one.
PATIENCE = 100
# Gains below this part of all prizes are rounding.
LEAST = 1e-10


def improve_tree(
    net: Network,
    by_cost: npt.NDArray[np.int64],
    vertices: npt.NDArray[np.int32],
    edges: npt.NDArray[np.int64],
    *,
    root: int,
    seed: int,
    searches: int,
    looks_most: int,
    worse: float = 0.0,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Search for a tree of more worth: prizes of its vertices less costs of its edges.

    Parameters
    ----------
    net, by_cost
        The network, and its edges in the order of their costs.
    vertices, edges
        A tree in it.
    root
        Vertex that every tree has to hold (its prize must exceed all costs), or -1.
    seed
        Of the noise; the same seed gives the same tree.
    searches, looks_most
        How many searches, and edges looked at, are enough.
    worse
        A search goes on from a tree that is worse than the best by so many of its mean edges:
        pays where there is time to come back.

    Returns
    -------
    vertices, edges
        The best tree found, not worse than the one given.
    """
    random = np.random.default_rng(seed)
    n, m = len(net.prizes), len(net.costs)
    least = LEAST * float(net.prizes[np.arange(n) != root].sum())
    looks = np.zeros(1, np.int64)
    here = search_locally(net, by_cost, edges, _top(net, vertices, root), least, looks)
    best, most = here, _worth(net, *here)
    reached, since_better = most, 0
    for number in range(1, searches):
        if number > FEWEST_SEARCHES and looks[0] > looks_most:
            break
        noise = NOISE[number % len(NOISE)]
        noisy = net._replace(
            costs=net.costs * (1 + noise * random.random(m)),
            prizes=net.prizes * (1 + noise * random.random(n)),
        )
        order = np.argsort(noisy.costs, kind="stable")
        if number % RENEW:
            found = search_locally(noisy, order, here[1], _top(net, here[0], root), least, looks)
        else:
            raised = noisy.prizes * RAISED[number // RENEW % len(RAISED)]
            forest, _ = grow_moats(net.ends, noisy.costs, raised, order, root)
            found = prune_strongly(net.ends, noisy.costs, raised, forest)
            inside = np.zeros(n, np.bool_)
            inside[found[0]] = inside[best[0]] = True
            forest = span_cheaply(net.ends, by_cost, inside)
            found = prune_strongly(net.ends, net.costs, raised, forest)
            if len(best[0]) == 1:
                # Nothing to join: come down from the raised prizes step by step.
                between = net._replace(prizes=np.sqrt(net.prizes * raised))
                found = search_locally(
                    between, by_cost, found[1], _top(net, found[0], root), least, looks
                )
        found = search_locally(net, by_cost, found[1], _top(net, found[0], root), least, looks)
        worth, since_better = _worth(net, *found), since_better + 1
        if worth > most + least:
            best, most, since_better = found, worth, 0
        if since_better >= PATIENCE:
            here, since_better, reached = best, 0, most
        elif worth >= (most - worse * _measure_edge(net, best[1]) if worse else reached) - least:
            here, reached = found, worth
    return best


def _top(net: Network, vertices: npt.NDArray[np.int32], root: int) -> int:
    """Choose the vertex that a tree hangs from: the root, or that of the highest prize."""
    return root if root >= 0 else int(vertices[np.argmax(net.prizes[vertices])])


def _worth(net: Network, vertices: npt.NDArray[np.int32], edges: npt.NDArray[np.int64]) -> float:
    return float(net.prizes[vertices].sum() - net.costs[edges].sum())


def _measure_edge(net: Network, edges: npt.NDArray[np.int64]) -> float:
    """Give the mean cost of a tree's edges; 0 for a single vertex."""
    return float(net.costs[edges].mean()) if len(edges) else 0.0


@numba.njit(cache=True, nogil=True)
def search_locally(
    net: Network,
    by_cost: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
    root: int,
    least: float,
    looks: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Make moves until none helps: vertices in, paths replaced, vertices out, all joined anew.

    Parameters
    ----------
    net, by_cost
        The network, and its edges in the order of their costs.
    edges, root
        A tree and the vertex that it hangs from.
    least
        The smallest gain that counts.
    looks : (1,) int64
        Counts the edges looked at.

    Returns
    -------
    vertices, edges
        As from `i2r.kernels.pcst.trees.prune_strongly`.
    """
    n = len(net.prizes)
    tree, move, journal = make_tree(n), make_move(n), make_journal(n)
    hang_tree(net, tree, edges, root)
    while True:
        gained = _put_vertices_in(net, tree, journal, least, looks)
        gained += _exchange(net, tree, move, least)
        forest = span_cheaply(net.ends, by_cost, tree.label == 0)
        vertices, edges = prune_strongly(net.ends, net.costs, net.prizes, forest)
        if gained <= 0:
            looks[0] += move.counts[6] + len(net.costs)
            return vertices, edges
        root = vertices[0]
        for v in vertices:
            if v == tree.counts[1] or (root != tree.counts[1] and net.prizes[v] > net.prizes[root]):
                root = v
        hang_tree(net, tree, edges, root)


@numba.njit(cache=True, nogil=True)
def _put_vertices_in(
    net: Network, tree: Tree, journal: Journal, least: float, looks: npt.NDArray[np.int64]
) -> float:
    """Put in single vertices and paths while that helps, and hang the tree anew."""
    gained = 0.0
    while True:
        now = 0.0
        for v in range(len(net.prizes)):
            if tree.label[v] < 0:
                now += put_in(net, tree, journal, v, least)
        path = 1.0
        while path > 0:
            path = gather_prizes(net, tree, least)
            now += path
            # In time, an edge of a search of the whole network is worth some looks.
            looks[0] += 10 * len(net.costs)
        gained += now
        if now <= 0:
            break
    edges = tree.up_edge[tree.label == 0]
    hang_tree(net, tree, edges[edges >= 0], tree.counts[1])
    return gained


@numba.njit(cache=True, nogil=True)
def _exchange(net: Network, tree: Tree, move: Move, least: float) -> float:
    """Replace paths and take vertices out while that helps, once around the tree."""
    gained = 0.0
    for v in range(len(net.prizes)):
        while tree.label[v] == 0 and v != tree.counts[1]:
            now = replace_path(net, tree, move, v, least)
            if now <= 0:
                break
            gained += now
    for v in range(len(net.prizes)):
        if tree.label[v] == 0:
            gained += take_out(net, tree, move, v, least)
    return gained
