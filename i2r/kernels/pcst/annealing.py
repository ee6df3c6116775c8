"""Annealing: a search that accepts worse trees, fewer of them with time, in small networks.

Kirkpatrick, Gelatt and Vecchi 1983 (10.1126/science.220.4598.671). A state is a set of vertices; it
is worth the cheapest tree on them. Where many vertices without a prize can stand for each other,
as in hypercubes, local moves end in one of very many trees that are a little worse than the best.
"""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.rooted_tree import Network
from i2r.kernels.pcst.trees import join_groups, prune_strongly, span_cheaply

# Every so many steps a vertex changes places with one near it; else one comes in or goes.
SWAP = 0.5
# The first and the last temperature, in mean costs of the edges of the tree.
HOT, COLD = 0.2, 0.06
# Steps for every vertex that are enough.
STEPS = 2500


def anneal_tree(
    net: Network,
    by_cost: npt.NDArray[np.int64],
    vertices: npt.NDArray[np.int32],
    edges: npt.NDArray[np.int64],
    *,
    seed: int,
    looks: int,
) -> tuple[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]], int]:
    """Search for a tree of more worth: prizes of its vertices less costs of its edges.

    Parameters
    ----------
    net, by_cost
        The network, and its edges in the order of their costs.
    vertices, edges
        A tree in it.
    seed
        Of the steps.
    looks
        How many edges may be looked at.

    Returns
    -------
    tree
        Vertices and edges of the best tree found, as from
        `i2r.kernels.pcst.trees.prune_strongly`: it may be worse than the one given.
    looked
        How many edges were looked at, at most.
    """
    steps = max(1, min(looks // len(net.costs), STEPS * len(net.prizes)))
    inside = np.zeros(len(net.prizes), dtype=np.bool_)
    inside[vertices] = True
    mean = float(net.costs[edges].mean()) if len(edges) else float(net.costs.mean())
    best = _anneal(
        net, by_cost, inside, np.random.default_rng(seed), steps, HOT * mean, COLD * mean
    )  # fmt: skip
    forest = span_cheaply(net.ends, by_cost, best)
    return prune_strongly(net.ends, net.costs, net.prizes, forest), steps * len(net.costs)


@numba.njit(cache=True, nogil=True)
def _anneal(
    net: Network,
    by_cost: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    random: np.random.Generator,
    steps: int,
    hot: float,
    cold: float,
) -> npt.NDArray[np.bool_]:
    """Give the best set of vertices on the way; `inside`, which has to be connected, changes."""
    n, count, left = len(inside), 0, 0.0
    for v in range(n):
        count += inside[v]
        left += 0.0 if inside[v] else net.prizes[v]
    group = np.empty(n, np.int32)
    value = left + _span(net, by_cost, inside, count, group, np.inf)
    least, best = value, inside.copy()
    for step in range(steps):
        temperature = hot * (cold / hot) ** (step / steps)
        limit = value - temperature * np.log(1 - random.random())
        v, w = int(random.random() * n), -1
        if random.random() < SWAP:
            w = _walk(net, random, _walk(net, random, v))
            if inside[w] == inside[v]:
                continue
        now, lost = count, left
        for x in (v, w):
            if x >= 0:
                now += -1 if inside[x] else 1
                lost += net.prizes[x] if inside[x] else -net.prizes[x]
                inside[x] = not inside[x]
        found = np.inf
        if now and lost <= limit:
            found = lost + _span(net, by_cost, inside, now, group, limit - lost)
        if found <= limit:
            value, count, left = found, now, lost
            if value < least:
                least = value
                best[:] = inside
            continue
        for x in (v, w):
            if x >= 0:
                inside[x] = not inside[x]
    return best


@numba.njit(cache=True, nogil=True)
def _walk(net: Network, random: np.random.Generator, v: int) -> int:
    """Choose one of a vertex's neighbours; itself, if it has none."""
    near = net.first[v + 1] - net.first[v]
    return net.near[net.first[v] + int(random.random() * near)] if near else v


@numba.njit(cache=True, nogil=True)
def _span(
    net: Network,
    by_cost: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    count: int,
    group: npt.NDArray[np.int32],
    limit: float,
) -> float:
    """Give the cost of the cheapest tree on some vertices; infinite if it exceeds a limit."""
    for v in range(len(inside)):
        group[v] = v
    joins, cost = count - 1, 0.0
    for e in by_cost:
        if joins == 0 or cost > limit:
            break
        u, v = net.ends[e, 0], net.ends[e, 1]
        if not (inside[u] and inside[v]):
            continue
        if join_groups(group, u, v):
            cost += net.costs[e]
            joins -= 1
    return cost if joins == 0 and cost <= limit else np.inf
