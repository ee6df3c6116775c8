"""Prize-collecting Steiner trees to the proven optimum, by directed cuts: for small networks.

Ljubic et al. 2006 (10.1007/s10107-005-0660-x): arcs leave an artificial root along one of its arcs
and enter every vertex that is taken; a set that holds a taken vertex is entered. Sets that are not
entered are found by maximum flows and added to the linear program until there are none. Programs
are solved by HiGHS (Huangfu and Hall 2018, 10.1007/s12532-017-0130-5).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix, vstack
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

# Flows are of whole numbers.
UNIT = 100_000
# What HiGHS says of programs without a solution.
INFEASIBLE = 2
# Rounds of cuts; integer programs among them, and the nodes of one. Networks that take more stay
# as they are: their bound is then that of the last round.
ROUNDS, PROGRAMS, NODES = 100, 3, 100
# Cuts with more slack than this are dropped; flows that lack less than this count as enough.
SLACK, LACKING = 0.5, 0.02
# Sets added in one round, and sets nested in each other for one vertex.
SETS, NESTED = 60, 4


class Cut(NamedTuple):
    """What the cuts proved.

    Attributes
    ----------
    bound
        No tree of the network that is looked for has less value.
    edges : (k,) int64 or None
        Edges of a better tree than the given value, where one was found.
    start
        A vertex of that tree; -1 for none.
    touched : (m,) bool
        Edges that the last linear program uses in part: good trees are often among them.
    """

    bound: float
    edges: npt.NDArray[np.int64] | None
    start: int
    touched: npt.NDArray[np.bool_]


def solve_exactly(
    ends: npt.NDArray[np.int32],
    costs: npt.NDArray[np.float64],
    prizes: npt.NDArray[np.float64],
    forced: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.bool_],
    goal: float,
) -> Cut:
    """Look for the best tree, or prove that none is of less than a value.

    Parameters
    ----------
    ends, costs, prizes
        The network; see `i2r.kernels.pcst.moats.grow_moats`.
    forced : (n,) bool
        Vertices that the tree has to hold.
    starts : (n,) bool
        Vertices that a tree may hang from: it hangs from its first one in the order of prizes.
    goal
        Trees of this value or more are not looked for.

    Returns
    -------
    Cut
        The bound is at most the goal.
    """
    order = np.flatnonzero(starts)
    order = order[np.argsort(-prizes[order], kind="stable")]
    # HiGHS' tolerances are absolute; a power of two keeps all numbers as they are.
    unit = 2.0 ** np.round(np.log2(max(costs.max(), prizes.max())))
    goal = goal / unit
    if forced.any():
        # Where a vertex is sure to be in, the tree hangs from it.
        order = np.flatnonzero(forced)[:1]
    model = _build_model(ends, costs / unit, prizes / unit, forced, order)
    cuts, upper = csr_matrix((0, len(model.tail))), np.ones(len(model.tail))
    bound, programs = -np.inf, 0
    touched = np.zeros(len(costs), dtype=bool)
    for _ in range(ROUNDS):
        rows = vstack([model.rows, cuts]).tocsr()
        limits = np.concatenate([model.limits, np.zeros(cuts.shape[0])])
        found, least = _solve(model, rows, limits, upper, whole=programs > 0)
        if found.status == INFEASIBLE:
            return Cut(goal * unit, None, -1, touched)
        if least is not None and np.isfinite(least):
            bound = max(bound, float(least) + model.apart)
        if bound >= goal or found.status != 0:
            break
        x = found.x
        if programs:
            x = np.rint(x)
        else:
            touched = (x[: 2 * len(costs)].reshape(2, -1) > 1e-6).any(axis=0)
            # An arc whose use would raise the bound to the goal is in no better tree.
            spare = goal - bound + 1e-9 * abs(goal)
            upper[(found.lower.marginals > spare) & (x < 1e-7)] = 0
            cuts = cuts[(-(cuts @ x) < SLACK)]
        fresh = _find_cuts(model, x)
        if fresh is not None:
            cuts = vstack([cuts, fresh]).tocsr()
        elif np.abs(x - np.rint(x)).max() < 1e-6:
            used = np.flatnonzero(x[: 2 * len(costs)] > 0.5) % len(costs)
            top = int(order[np.argmax(x[2 * len(costs) :])])
            return Cut(min(goal, bound) * unit, used, top, touched)
        if fresh is None or programs:
            programs += 1
            if programs > PROGRAMS:
                break
    return Cut(min(goal, bound) * unit, None, -1, touched)


def _solve(
    model: "_Model",
    rows: csr_matrix,
    limits: npt.NDArray[np.float64],
    upper: npt.NDArray[np.float64],
    *,
    whole: bool,
) -> tuple[Any, float | None]:
    """Solve the program, with whole numbers or without: HiGHS' answer, and a bound."""
    if not whole:
        found = linprog(
            model.price, A_ub=rows, b_ub=limits, A_eq=model.start, b_eq=[1.0],
            bounds=np.stack([np.zeros(len(upper)), upper], axis=1), method="highs",
        )  # fmt: skip
        return found, found.fun
    constraints = [
        LinearConstraint(rows, -np.inf, limits),
        LinearConstraint(model.start, 1, 1),
    ]
    options = {"node_limit": NODES, "mip_rel_gap": 0}
    found = milp(
        model.price, constraints=constraints, bounds=Bounds(0, upper),
        integrality=np.ones(len(upper)), options=options,
    )  # fmt: skip
    return found, found.mip_dual_bound


class _Model(NamedTuple):
    """Arcs with prices, and the constraints that all trees keep.

    Attributes
    ----------
    tail, head : (a,) int64
        Both arcs of every edge, then those from the artificial root ``n``.
    price : (a,) float64
        Costs less the prizes of the vertices entered.
    apart
        All prizes: what the prices are added to.
    enters : (n, a) csr_matrix
        1 where an arc enters a vertex.
    rows, limits
        Constraints: a row times the arcs is at most its limit.
    start : (1, a) csr_matrix
        1 for the arcs from the artificial root, of which a tree has one.
    """

    tail: npt.NDArray[np.int64]
    head: npt.NDArray[np.int64]
    price: npt.NDArray[np.float64]
    apart: float
    enters: csr_matrix
    rows: csr_matrix
    limits: npt.NDArray[np.float64]
    start: csr_matrix


def _build_model(
    ends: npt.NDArray[np.int32],
    costs: npt.NDArray[np.float64],
    prizes: npt.NDArray[np.float64],
    forced: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64],
) -> _Model:
    """Build the model of trees that hang from the first vertex in an order that they hold."""
    n, m, k = len(prizes), len(ends), len(order)
    tail = np.concatenate([ends[:, 0], ends[:, 1], np.full(k, n)]).astype(np.int64)
    head = np.concatenate([ends[:, 1], ends[:, 0], order]).astype(np.int64)
    price = np.concatenate([costs, costs, np.zeros(k)]) - prizes[head]
    size, both = 2 * m + k, np.arange(2 * m)
    enters = csr_matrix((np.ones(size), (head, np.arange(size))), (n, size))
    leaves = csr_matrix((np.ones(2 * m), (tail[both], both)), (n, size))
    edge = csr_matrix((np.ones(2 * m), (both % m, both)), (m, size))
    plain = prizes <= 0
    # Entered once at most; an edge lies between vertices that are entered, one way at most; who
    # has no prize is left again; who has to be in is entered.
    blocks = [enters, edge - enters[ends[:, 0]], edge - enters[ends[:, 1]],
              (enters - leaves)[plain], -enters[forced]]  # fmt: skip
    limits = [np.ones(n), np.zeros(2 * m), np.zeros(int(plain.sum())), -np.ones(int(forced.sum()))]
    if k > 1:
        # No vertex is in that comes before the one that the tree hangs from.
        later, sooner = np.tril_indices(k)
        ahead = csr_matrix((np.ones(len(later)), (later, 2 * m + sooner)), (k, size))
        blocks.append(enters[order] - ahead)
        limits.append(np.zeros(k))
    start = csr_matrix((np.ones(k), (np.zeros(k, int), 2 * m + np.arange(k))), (1, size))
    rows = vstack(blocks).tocsr()
    apart = float(prizes.sum())
    return _Model(tail, head, price, apart, enters, rows, np.concatenate(limits), start)


def _find_cuts(model: _Model, x: npt.NDArray[np.float64]) -> csr_matrix | None:
    """Find sets that are entered by less than a vertex in them, as rows; None for none."""
    n = model.enters.shape[0]
    capacity = np.rint(np.maximum(x, 0) * UNIT).astype(np.int32)
    taken = model.enters @ x
    rows: list[csr_matrix] = []
    covered = np.zeros(n + 1, dtype=bool)
    for v in np.argsort(-taken, kind="stable").tolist():
        if taken[v] <= 1e-4 or len(rows) >= SETS:
            break
        if covered[v]:
            continue
        more = capacity.copy()
        for _ in range(NESTED):
            graph = csr_matrix((more, (model.tail, model.head)), (n + 1, n + 1))
            flow = maximum_flow(graph, n, v)
            if flow.flow_value > (taken[v] - LACKING) * UNIT:
                break
            rest = (graph - flow.flow).tocsr()
            rest.data = np.maximum(rest.data, 0)
            rest.eliminate_zeros()
            side = np.zeros(n + 1, dtype=bool)
            side[breadth_first_order(rest.T.tocsr(), v, return_predecessors=False)] = True
            crossing = ~side[model.tail] & side[model.head]
            rows.append(model.enters[v] - csr_matrix(crossing.astype(float)[None, :]))
            more[crossing] = UNIT
            covered |= side
    return vstack(rows).tocsr() if rows else None
