"""Trees in an interactome: over the weight of prizes, with noise, and of nearly the same value."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from i2r.kernels.pcst import PCSTResult, bound_between, solve_pcst

# Every so many values of beta have a bound of their own; the best value is concave in between.
BOUND_EVERY = 4
# Communities of larger networks would take longer than all trees.
MOST_FOR_COMMUNITIES = 500
# Costs of near-optimal trees are drawn with this much noise.
NEAR = 0.05


class Problem(NamedTuple):
    """A pruned interactome with prizes.

    Attributes
    ----------
    edges : (m, 2) int64
    costs : (m,) float64
    prizes : (n,) float64
    terminal : (n,) bool
        The targets.
    screened : (n,) bool or None
        The genes of the screen, targets or not; None where there is none.
    """

    edges: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    prizes: npt.NDArray[np.float64]
    terminal: npt.NDArray[np.bool_]
    screened: npt.NDArray[np.bool_] | None = None


def sweep_betas(
    problem: Problem, betas: list[float]
) -> tuple[pd.DataFrame, list[npt.NDArray[np.int64]]]:
    """Grow and prune a tree for every beta; one row each, with a bound on what is possible.

    Returns
    -------
    table : DataFrame
        beta; genes, edges, targets, screened (NaN without a screen), leaves, components and
        communities (Louvain, Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008; of up to
        500 genes), mean_degree and
        degree_sd of the network among the tree's genes; value, lower_bound, gap; and overlap, the
        genes shared with the network of the beta before, of all in either.
    members : list of (k,) int64
        The genes of every tree.
    """
    columns = ["beta", "genes", "edges", "targets", "screened", "leaves", "components",
               "communities", "mean_degree", "degree_sd", "overlap", "value",
               "lower_bound"]  # fmt: skip
    rows: list[tuple[float, ...]] = []
    members: list[npt.NDArray[np.int64]] = []
    before = np.zeros(len(problem.prizes), dtype=bool)
    for number, beta in enumerate(betas):
        has_bound = number % BOUND_EVERY == 0 or number == len(betas) - 1
        result = solve_pcst(
            problem.edges, problem.costs, beta * problem.prizes, improve=False, bound=has_bound
        )
        inside = mark_inside(problem, result)
        members.append(np.flatnonzero(inside))
        both = inside[problem.edges].all(axis=1)
        screened = np.nan if problem.screened is None else (inside & problem.screened).sum()
        degrees = np.bincount(problem.edges[both].ravel(), minlength=len(inside))
        own = degrees[inside]
        either = (inside | before).sum()
        counts = (
            inside.sum(), both.sum(), (inside & problem.terminal).sum(), screened,
            (degrees == 1).sum(),
            *count_parts(problem.edges[both], inside), own.mean() if len(own) else 0,
            own.std(ddof=1) if len(own) > 1 else 0,
            (inside & before).sum() / either if either and rows else np.nan,
        )  # fmt: skip
        rows.append((beta, *map(float, counts), result.value, result.lower_bound))
        before = inside
    swept = pd.DataFrame(rows, columns=columns, dtype=float)
    bounds = bound_between(swept["beta"], swept["lower_bound"])
    swept["lower_bound"] = np.minimum(bounds, swept["value"])
    gaps = swept["value"] - swept["lower_bound"]
    swept["gap"] = np.divide(
        gaps, swept["value"], where=swept["value"] > 0, out=np.zeros(len(gaps))
    )
    return swept, members


def count_parts(edges: npt.NDArray[np.int64], inside: npt.NDArray[np.bool_]) -> tuple[int, float]:
    """Count the components and the communities of a network; NaN communities of a large one."""
    n = len(inside)
    joined = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    n_components = int(connected_components(joined, directed=False)[0] - (~inside).sum())
    if inside.sum() > MOST_FOR_COMMUNITIES:
        return n_components, float("nan")
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(np.flatnonzero(inside).tolist())
    graph.add_edges_from(edges.tolist())
    return n_components, len(nx.community.louvain_communities(graph, seed=0)) if graph else 0


def mark_inside(problem: Problem, result: PCSTResult) -> npt.NDArray[np.bool_]:
    """Mark the genes of a tree."""
    inside = np.zeros(len(problem.prizes), dtype=bool)
    inside[result.vertices] = True
    return inside


def measure_frequencies(
    problem: Problem, *, runs: int, noise: float, improve: bool, seed: np.random.SeedSequence
) -> dict[str, npt.NDArray[np.float64]]:
    """Count how often every gene is in the tree, with noise on costs, and for random targets.

    After Tuncbag et al. 2016 (10.1371/journal.pcbi.1004879). A gene that is as frequent for
    random targets as for these is there for its place in the network, not for the targets.
    """
    if not runs:
        return {}
    random = np.random.default_rng(seed)
    noisy, shuffled = np.zeros(len(problem.prizes)), np.zeros(len(problem.prizes))
    for _ in range(runs):
        costs = problem.costs + noise * random.normal(size=len(problem.costs))
        costs = np.maximum(0, costs)
        found = solve_pcst(problem.edges, costs, problem.prizes, improve=improve)
        noisy[found.vertices] += 1
        prizes = random.permutation(problem.prizes)
        found = solve_pcst(problem.edges, problem.costs, prizes, improve=improve)
        shuffled[found.vertices] += 1
    return {"frequency": noisy / runs, "frequency_random": shuffled / runs}


def draw_near_trees(
    problem: Problem,
    result: PCSTResult,
    plain: PCSTResult,
    *,
    runs: int,
    improve: bool,
    seed: np.random.SeedSequence,
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.float64]]]:
    """Put other trees of nearly the same value beside the network's.

    Each is the best tree for costs with a little noise, valued by the true costs.

    Returns
    -------
    trees
        A row per tree: what it is, its genes and targets, value, how much of it is more than the
        bound at most, and how many genes it shares with the network's tree (of all in either).
    columns
        ``stability`` of every gene: the part of the near-optimal trees that hold it.
    """
    random = np.random.default_rng(seed)
    own = mark_inside(problem, result)
    listed, counts = [("network", own, result.value)], np.zeros(len(own))
    if improve:
        listed.append(("plain", mark_inside(problem, plain), plain.value))
    for number in range(runs):
        costs = problem.costs * (1 + NEAR * (2 * random.random(len(problem.costs)) - 1))
        found = solve_pcst(problem.edges, costs, problem.prizes, improve=improve, seed=number)
        inside = mark_inside(problem, found)
        counts += inside
        value = float(problem.costs[found.edges].sum() + problem.prizes[~inside].sum())
        listed.append((f"near {number + 1}", inside, value))
    rows = [
        {
            "tree": name, "genes": int(inside.sum()),
            "targets": int(problem.terminal[inside].sum()),
            "value": value,
            "gap": 1 - result.lower_bound / value if value > 0 else 0.0,
            "overlap": float((inside & own).sum() / (inside | own).sum()),
        }
        for name, inside, value in listed
    ]  # fmt: skip
    return pd.DataFrame(rows), {"stability": counts / runs} if runs else {}
