"""Prize-collecting Steiner trees: the part of a network that connects what is worth it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.closing import bound_value, close_gap
from i2r.kernels.pcst.moats import grow_moats
from i2r.kernels.pcst.rooted_tree import Network
from i2r.kernels.pcst.trees import list_neighbours, prune_strongly


class PCSTResult(NamedTuple):
    """A tree and its certificate.

    Attributes
    ----------
    vertices : (j,) int64
        Sorted; at least one where the network has any.
    edges : (j - 1,) int64
        Numbers of the tree's edges, sorted.
    value
        Cost of the tree and prizes of all vertices left out.
    lower_bound
        No tree's value is less, but for the 9th digit; ``value <= 2 * lower_bound``.
    """

    vertices: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    value: float
    lower_bound: float

    @property
    def gap(self) -> float:
        """How much of the value may be too much at most: 0 is proven best, 0.5 the worst."""
        return 1 - self.lower_bound / self.value if self.value > 0 else 0.0


def solve_pcst(
    edges: npt.ArrayLike,
    costs: npt.ArrayLike,
    prizes: npt.ArrayLike,
    *,
    root: int | None = None,
    improve: bool = True,
    bound: bool = False,
    seed: int = 0,
) -> PCSTResult:
    """Find a tree with low cost and few prizes left out, and how far from the best it may be.

    Moats are grown and the forest is pruned: at most twice the best value, some 4 % above it in
    practice (see `i2r.kernels.pcst.moats.grow_moats`). Then a search and bounds by dual ascent
    make each other's network smaller, and what is left is solved to the optimum where it is
    small (`i2r.kernels.pcst.closing`): of 100 instances with known optima it proves 9 in 10.

    Parameters
    ----------
    edges : (m, 2) int
        Vertices, 0 to n - 1. Self-loops are never used; of parallel edges the cheapest is.
    costs : (m,) float
        0 or more.
    prizes : (n,) float
        0 or more. The network need not be connected.
    root
        A vertex that has to be in the tree; None for any tree.
    improve
        Whether to go on from the pruned forest: takes seconds instead of milliseconds. Without,
        the tree is what ``pcst_fast`` calls strong pruning, and the bound that of the moats.
    bound
        Whether to bound a tree that is not improved by dual ascent: a fraction of a second.
    seed
        Of the search; the same seed gives the same tree.

    Returns
    -------
    PCSTResult
        For a network without vertices: no vertex, value 0.

    Raises
    ------
    ValueError
        If shapes do not fit, a vertex is out of range, or a cost or prize is negative or not
        finite.
    """
    ends, cost, prize = _check(edges, costs, prizes, root)
    n, given = len(prize), np.arange(len(ends))
    loops = ends[:, 0] == ends[:, 1]
    ends, cost, given = ends[~loops], cost[~loops], given[~loops]
    start = -1 if root is None else int(root)
    by_cost = np.argsort(cost, kind="stable")
    forest, lower = grow_moats(ends, cost, prize, by_cost, start)
    worth = prize
    if start >= 0:
        # Worth more than everything else, so that no pruning lets it go; on the scale of the
        # problem, so that adding it to small numbers does not round them away.
        worth = prize.copy()
        worth[start] = 2 * (prize.sum() + cost.sum()) or 1.0
    vertices, tree = prune_strongly(ends, cost, worth, forest)
    if (improve or bound) and n > 1 and len(cost) and prize.any():
        first, near, edge_of = list_neighbours(ends, n, np.arange(len(cost)))
        net = Network(ends, cost, prize, first, near, edge_of)
        if improve:
            found = close_gap(net, vertices, tree, lower, root=start, seed=seed)
            vertices, tree, lower = found.vertices.astype(np.int32), found.edges, found.bound
        else:
            lower = max(lower, bound_value(net, vertices, tree, root=start))
    left_out = np.ones(n, dtype=bool)
    left_out[vertices] = False
    value = float(cost[tree].sum() + prize[left_out].sum())
    return PCSTResult(
        np.sort(vertices).astype(np.int64), np.sort(given[tree]), value, min(float(lower), value)
    )


def bound_between(weights: npt.ArrayLike, bounds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Raise bounds for several weights of the prizes by each other.

    Every tree's value is a straight line over the weight, so the best value is the least of
    straight lines, which is concave: it lies above the line between any two bounds.

    Parameters
    ----------
    weights : (k,) float
        Ascending; the prizes are multiplied by them.
    bounds : (k,) float
        A lower bound for each.

    Returns
    -------
    (k,) float64
        At least the bounds: their upper hull.
    """
    x, y = np.asarray(weights, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    return np.maximum(y, np.interp(x, x[hull], y[hull])) if hull else y


def _check(
    edges: npt.ArrayLike, costs: npt.ArrayLike, prizes: npt.ArrayLike, root: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Check the problem and give its arrays the types that compiled code takes."""
    given = np.asarray(edges)
    if given.size == 0:
        given = given.reshape(0, 2).astype(np.int32)
    cost = np.ascontiguousarray(costs, dtype=np.float64)
    prize = np.ascontiguousarray(prizes, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise ValueError(f"edges: shape {given.shape} of {given.dtype}, expected (m, 2) integers")
    if cost.shape != (len(given),) or prize.ndim != 1:
        raise ValueError(
            f"costs and prizes: shapes {cost.shape} and {prize.shape}, expected "
            f"({len(given)},) and one per vertex"
        )
    if len(given) and not (given.min() >= 0 and given.max() < len(prize)):
        raise ValueError(
            f"edges: vertices {given.min()} to {given.max()}, expected 0 to {len(prize) - 1}"
        )
    for name, values in (("costs", cost), ("prizes", prize)):
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise ValueError(f"{name}: entry {at} is {values[at]}, expected 0 or more")
    if root is not None and not (root == int(root) and 0 <= root < len(prize)):
        raise ValueError(f"root: {root}, expected a vertex, 0 to {len(prize) - 1}")
    return np.ascontiguousarray(given, dtype=np.int32), cost, prize
