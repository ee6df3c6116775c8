"""Search and bound in turn: each makes the other's network smaller, until they meet.

A bound says which edges no better tree has; what is left, or what the bound paid for in full, is
where a better tree is searched for; a better tree makes the bound rule out more.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.annealing import anneal_tree
from i2r.kernels.pcst.ascent import Arcs, ascend, pair_arcs
from i2r.kernels.pcst.cuts import solve_exactly
from i2r.kernels.pcst.reduced_costs import rule_out
from i2r.kernels.pcst.rooted_tree import Network
from i2r.kernels.pcst.searches import improve_tree
from i2r.kernels.pcst.trees import list_neighbours

# Roots that bounds are grown from, how many where the gap stays wide, and times that a bound is
# grown from one while it rules out this part of the edges or more.
ROOTS, MORE_ROOTS, PASSES, WORTHWHILE = 4, 12, 4, 0.02
# Networks of this many edges at most are solved to the optimum.
FEW_EDGES, SHRUNK = 3000, 0.7
# Searches from one root, and edges looked at in them: a second at most.
SEARCHES, LOOKS = 30, 10**7
# Where the gap stays wider, a longer search follows, and more roots: some seconds.
LONG_GAP, LONG_EDGES, LONG_SEARCHES, LONG_LOOKS, WORSE = 0.999, 30_000, 3000, 8 * 10**7, 1.0
# In networks of this many edges at most it is annealing: so often, and with so many looks at edges
# in one and in all, about 1.5 ns each.
ANNEALED_EDGES, ANNEALINGS, ANNEALING_LOOKS, ALL_LOOKS = 6000, 12, 5 * 10**9, 15 * 10**9
# A better tree is better by this part of its value, or by 1 where all numbers are whole.
BETTER, WHOLE, MOST_WHOLE = 1e-9, 1e-6, 1e9


class Found(NamedTuple):
    """A tree and a bound.

    Attributes
    ----------
    vertices, edges
        As from `i2r.kernels.pcst.trees.prune_strongly`.
    bound
        No tree's value is less.
    """

    vertices: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    bound: float


class _Problem:
    """A network, the best tree so far, and what is known of all that are better."""

    def __init__(self, net: Network, vertices: npt.NDArray[np.integer],
                 edges: npt.NDArray[np.integer], bound: float, root: int) -> None:  # fmt: skip
        n, m = len(net.prizes), len(net.costs)
        self.net = net
        self.arcs = Arcs(net.first, net.near, net.edge_of, pair_arcs(net.first, net.edge_of, m))
        self.arc_costs = net.costs[net.edge_of]
        self.alive, self.forced = np.ones(m, dtype=bool), np.zeros(n, dtype=bool)
        if root >= 0:
            self.forced[root] = True
        # Where a step of 1 is far above rounding.
        self.is_whole = bool(
            net.costs.sum() + net.prizes.sum() < MOST_WHOLE
            and (net.costs == np.rint(net.costs)).all()
            and (net.prizes == np.rint(net.prizes)).all()
        )
        self.bound = bound
        self.vertices = np.asarray(vertices, dtype=np.int64)
        self.edges = np.asarray(edges, dtype=np.int64)
        self.value = self.measure(self.vertices, self.edges)
        self.is_proven = False

    def measure(self, vertices: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> float:
        """Give a tree's value: its costs, and the prizes that it leaves out."""
        left_out = np.ones(len(self.net.prizes), dtype=bool)
        left_out[vertices] = False
        return float(self.net.costs[edges].sum() + self.net.prizes[left_out].sum())

    @property
    def goal(self) -> float:
        """Trees of this value or more are not better."""
        return self.value - 1 + WHOLE if self.is_whole else self.value * (1 - BETTER)

    def raise_bound(self, bound: float) -> None:
        """Take a bound on better trees; where there can be none, the best one is proven."""
        self.is_proven |= bound >= self.goal
        if self.is_whole and np.isfinite(bound):
            bound = float(np.ceil(bound - WHOLE))
        bound = self.value if self.is_proven else min(bound, self.value)
        self.bound = max(self.bound, bound)

    def take(self, vertices: npt.NDArray[np.integer], edges: npt.NDArray[np.integer]) -> None:
        """Take a tree if it is better."""
        value = self.measure(np.asarray(vertices), np.asarray(edges))
        if value <= self.goal:
            self.value = value
            self.vertices = np.asarray(vertices, dtype=np.int64)
            self.edges = np.asarray(edges, dtype=np.int64)

    def price_starts(self, root: int) -> npt.NDArray[np.float64]:
        """Price the vertices that trees without the root may start at: at its prize.

        A tree starts at its first vertex in the order of prizes, all before it are left out:
        where these are worth more than the best tree, none starts there.
        """
        prizes, enter = self.net.prizes, np.full(len(self.net.prizes), np.inf)
        if self.forced[root]:
            return enter
        order = np.argsort(-prizes, kind="stable")
        before = np.cumsum(prizes[order]) - prizes[order]
        starts = order[(before <= self.value) & (prizes[order] > 0)]
        enter[starts] = prizes[root]
        enter[root] = np.inf
        return enter


def close_gap(
    net: Network,
    vertices: npt.NDArray[np.integer],
    edges: npt.NDArray[np.integer],
    bound: float,
    *,
    root: int,
    seed: int,
) -> Found:
    """Look for a better tree than the one given, and prove how good it is.

    Parameters
    ----------
    net
        The network, without self-loops; each prize is the vertex's own.
    vertices, edges
        A tree, which holds the root if there is one.
    bound
        A bound that is known.
    root
        A vertex that trees have to hold, or -1.
    seed
        Of the search.

    Returns
    -------
    Found
        A tree that is not worse.
    """
    problem = _Problem(net, vertices, edges, bound, root)
    used: set[int] = set()
    tried = np.inf
    for number in range(MORE_ROOTS):
        if number == ROOTS and not problem.is_proven:
            if problem.bound >= LONG_GAP * problem.value or problem.alive.sum() > LONG_EDGES:
                break
            if problem.alive.sum() <= ANNEALED_EDGES:
                before = problem.value
                _anneal(problem, must=root, seed=seed)
                if problem.value < before:
                    # Programs have less to look for now: they are worth another try.
                    tried = np.inf
            else:
                _search(
                    problem, problem.alive, must=root, seed=seed + MORE_ROOTS,
                    searches=LONG_SEARCHES, looks=LONG_LOOKS, worse=WORSE,
                )  # fmt: skip
                problem.raise_bound(problem.bound)
        if problem.is_proven:
            break
        start = _choose_root(problem, used)
        used.add(start)
        _bound_from(problem, start, must=root, seed=seed + number)
        left = int(problem.alive.sum())
        few = FEW_EDGES >> 2 * max(0, ROOTS - 1 - number)
        # Programs that were given up are not tried again on nearly the same network.
        if not problem.is_proven and left <= min(few, SHRUNK * tried):
            touched = _cut(problem, start)
            tried = left
            if not problem.is_proven:
                _search(
                    problem, touched, must=root, seed=seed + number, searches=LONG_SEARCHES,
                    looks=LOOKS, worse=WORSE,
                )  # fmt: skip
                problem.raise_bound(problem.bound)
    return Found(problem.vertices, problem.edges, min(problem.bound, problem.value))


def bound_value(
    net: Network, vertices: npt.NDArray[np.integer], edges: npt.NDArray[np.integer], *, root: int
) -> float:
    """Bound the value of every tree by one dual ascent from the highest prize of a tree.

    See `close_gap` for the parameters; at most the tree's value.
    """
    problem = _Problem(net, vertices, edges, 0.0, root)
    start = _choose_root(problem, set())
    prizes = np.where(problem.forced, np.inf, net.prizes)
    grown = ascend(problem.arcs, problem.arc_costs, prizes, problem.price_starts(start), start)
    return min(grown.bound, problem.value)


def _choose_root(problem: _Problem, used: set[int]) -> int:
    """Choose the highest prize in the best tree that was not chosen before, sure ones first."""
    vertices = problem.vertices
    ranks = np.lexsort((-problem.net.prizes[vertices], ~problem.forced[vertices]))
    for v in vertices[ranks].tolist():
        if v not in used:
            return int(v)
    return int(vertices[ranks[0]])


def _bound_from(problem: _Problem, start: int, *, must: int, seed: int) -> None:
    """Grow bounds from a root and search where they lead, while they rule much out."""
    net, arcs = problem.net, problem.arcs
    for number in range(PASSES):
        costs = np.where(problem.alive[arcs.edge], problem.arc_costs, np.inf)
        prizes = np.where(problem.forced, np.inf, net.prizes)
        enter = problem.price_starts(start)
        grown = ascend(arcs, costs, prizes, enter, start)
        problem.raise_bound(grown.bound)
        if problem.is_proven:
            return
        if number == 0:
            paid = np.zeros(len(net.costs), dtype=bool)
            paid[arcs.edge[grown.reduced <= BETTER * net.costs.max()]] = True
            _search(problem, paid, must=must, seed=seed)
            problem.raise_bound(grown.bound)
            if problem.is_proven:
                return
        before = problem.alive.sum() - problem.forced.sum()
        slack = BETTER * abs(problem.value)
        rule_out(
            arcs, grown, net.prizes, enter, start, problem.goal + slack, problem.alive,
            problem.forced,
        )  # fmt: skip
        if before - (problem.alive.sum() - problem.forced.sum()) <= WORTHWHILE * before:
            return


def _search(
    problem: _Problem,
    among: npt.NDArray[np.bool_],
    *,
    must: int,
    seed: int,
    searches: int = SEARCHES,
    looks: int = LOOKS,
    worse: float = 0.0,
) -> None:
    """Search for a better tree among some edges and those of the best one."""
    part = _take_searched(problem, among, must)
    found = improve_tree(
        part.net, part.by_cost, part.inside, part.places[problem.edges], root=part.root,
        seed=seed, searches=searches, looks_most=looks, worse=worse,
    )  # fmt: skip
    problem.take(part.vertices[found[0]], part.edges[found[1]])


def _anneal(problem: _Problem, *, must: int, seed: int) -> None:
    """Search for a better tree by annealing, from the best one every time."""
    looks = 0
    for number in range(ANNEALINGS):
        part = _take_searched(problem, problem.alive, must)
        found, looked = anneal_tree(
            part.net, part.by_cost, part.inside, part.places[problem.edges], seed=seed + number,
            looks=ANNEALING_LOOKS,
        )  # fmt: skip
        problem.take(part.vertices[found[0]], part.edges[found[1]])
        problem.raise_bound(problem.bound)
        looks += looked
        if problem.is_proven or looks > ALL_LOOKS:
            return


class _Searched(NamedTuple):
    """The part of a network that a better tree is searched for in; see `_take_part`.

    Attributes
    ----------
    net, vertices, edges, places
        The part, the numbers of its vertices and edges, and where every edge is in it.
    by_cost
        Its edges in the order of their costs.
    inside
        The vertices of the best tree in it.
    root
        The vertex that every tree has to hold, by its prize, or -1.
    """

    net: Network
    vertices: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    by_cost: npt.NDArray[np.int64]
    inside: npt.NDArray[np.int32]
    root: int


def _take_searched(problem: _Problem, among: npt.NDArray[np.bool_], must: int) -> _Searched:
    """Take the part of a network with some edges and those of the best tree."""
    among = among.copy()
    among[problem.edges] = True
    chosen = np.flatnonzero(among)
    part, vertices, places = _take_part(problem, chosen)
    prizes = part.prizes.copy()
    root = -1
    if must >= 0:
        # Worth more than everything else, so that no pruning lets it go.
        root = int(np.searchsorted(vertices, must))
        prizes[root] = 2 * (prizes.sum() + part.costs.sum()) or 1.0
    order = np.argsort(part.costs, kind="stable")
    inside = np.searchsorted(vertices, problem.vertices).astype(np.int32)
    part = part._replace(prizes=prizes)
    return _Searched(part, vertices, chosen, places, order, inside, root)


def _take_part(
    problem: _Problem, chosen: npt.NDArray[np.int64]
) -> tuple[Network, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Make a network of some edges: it, its vertices' numbers, and where every edge is in it."""
    net = problem.net
    touched = np.zeros(len(net.prizes), dtype=bool)
    touched[net.ends[chosen].ravel()] = True
    touched[problem.vertices] = True
    touched |= problem.forced
    vertices = np.flatnonzero(touched)
    number = np.cumsum(touched) - 1
    ends = np.ascontiguousarray(number[net.ends[chosen]], dtype=np.int32)
    first, near, edge_of = list_neighbours(ends, len(vertices), np.arange(len(chosen)))
    places = np.full(len(net.costs), -1, dtype=np.int64)
    places[chosen] = np.arange(len(chosen))
    part = Network(ends, net.costs[chosen], net.prizes[vertices], first, near, edge_of)
    return part, vertices, places


def _cut(problem: _Problem, start: int) -> npt.NDArray[np.bool_]:
    """Solve what is left to the optimum; give the edges that the linear program uses in part."""
    chosen = np.flatnonzero(problem.alive)
    part, vertices, _ = _take_part(problem, chosen)
    starts = np.isfinite(problem.price_starts(start))
    starts[start] = True
    apart = float(problem.net.prizes.sum() - part.prizes.sum())
    cut = solve_exactly(
        part.ends, part.costs, part.prizes, problem.forced[vertices], starts[vertices],
        problem.goal - apart,
    )  # fmt: skip
    if cut.edges is not None:
        used = chosen[cut.edges]
        inside = np.unique(np.append(problem.net.ends[used].ravel(), vertices[cut.start]))
        problem.take(inside, used)
    problem.raise_bound(cut.bound + apart)
    touched = np.zeros(len(problem.net.costs), dtype=bool)
    touched[chosen[cut.touched]] = True
    return touched
