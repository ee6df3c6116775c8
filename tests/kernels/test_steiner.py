"""Trees against the best of all subsets of vertices, and against proven optima of instances."""

import csv
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.pcst import PCSTResult, bound_between, solve_pcst
from i2r.kernels.pcst.annealing import anneal_tree
from i2r.kernels.pcst.rooted_tree import Network
from i2r.kernels.pcst.trees import list_neighbours, span_cheaply
from tests.kernels.steiner_oracle import solve_exactly

EXACT = 1 + 1e-9


def best_value(
    edges: np.ndarray, costs: np.ndarray, prizes: np.ndarray, root: int | None = None
) -> float:
    """Try every set of vertices that its edges connect, with the cheapest tree on it."""
    n, best = len(prizes), float("inf")
    order = np.argsort(costs, kind="stable")
    for chosen in range(1, 1 << n):
        if root is not None and not chosen >> root & 1:
            continue
        group = list(range(n))
        value, parts = (
            float(sum(prizes[v] for v in range(n) if not chosen >> v & 1)),
            chosen.bit_count(),
        )
        for e in order:
            u, v = edges[e]
            if chosen >> int(u) & 1 and chosen >> int(v) & 1 and group[u] != group[v]:
                old, new = group[v], group[u]
                group = [new if g == old else g for g in group]
                value += costs[e]
                parts -= 1
        if parts == 1:
            best = min(best, value)
    return best


def check_result(
    result: PCSTResult,
    edges: np.ndarray,
    costs: np.ndarray,
    prizes: np.ndarray,
    root: int | None = None,
) -> None:
    """Check that it is a tree, of the value that it says, and not far above its bound."""
    inside = set(result.vertices.tolist())
    assert len(result.edges) == len(inside) - 1
    reached = {int(result.vertices[0] if root is None else root)}
    for _ in inside:
        reached |= {
            int(v) for e in result.edges for v in edges[e] if set(edges[e].tolist()) & reached
        }
    assert reached == inside
    left_out = [v for v in range(len(prizes)) if v not in inside]
    assert result.value == pytest.approx(
        costs[result.edges].sum() + prizes[left_out].sum(), rel=1e-12, abs=1e-12
    )
    assert result.lower_bound <= result.value <= 2 * result.lower_bound * EXACT + 1e-12


def test_all_connected_graphs_to_five_vertices() -> None:
    random = np.random.default_rng(1)
    seen = 0
    for n in (2, 3, 4, 5):
        pairs = np.array(list(itertools.combinations(range(n), 2)))
        for mask in range(1, 1 << len(pairs)):
            edges = pairs[[mask >> i & 1 == 1 for i in range(len(pairs))]]
            if len(edges) < n - 1 or (n == 5 and mask % 3):
                continue
            costs, prizes = random.integers(0, 6, len(edges)) * 1.0, random.integers(0, 6, n) * 1.0
            root = None if mask % 2 else int(random.integers(n))
            result = solve_pcst(edges, costs, prizes, root=root, improve=False)
            check_result(result, edges, costs, prizes, root)
            best = best_value(edges, costs, prizes, root)
            assert result.lower_bound <= best * EXACT + 1e-12
            assert result.value >= best / EXACT - 1e-12
            seen += 1
    assert seen > 300


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_random_graphs_to_seven_vertices(n: int, seed: int, rooted: bool, whole: bool) -> None:
    random = np.random.default_rng(seed)
    m = int(random.integers(0, 3 * n))
    edges = random.integers(0, n, (m, 2))  # with self-loops and parallel edges, often in pieces
    costs, prizes = random.random(m) * 3, random.random(n) * (random.random(n) < 0.7) * 2
    if whole:
        costs, prizes = np.round(costs), np.round(prizes)
    root = int(random.integers(n)) if rooted else None
    best = best_value(edges, costs, prizes, root)
    grown = solve_pcst(edges, costs, prizes, root=root, improve=False)
    improved = solve_pcst(edges, costs, prizes, root=root)
    for result in (grown, improved):
        check_result(result, edges, costs, prizes, root)
        assert best / EXACT - 1e-12 <= result.value
    assert grown.lower_bound <= improved.lower_bound * EXACT + 1e-12
    assert improved.lower_bound <= best * EXACT + 1e-12
    assert improved.value <= grown.value * EXACT
    assert improved.value == pytest.approx(
        best, rel=1e-9, abs=1e-12
    )  # so small, the search finds it
    assert improved.gap <= 1e-9 + 1e-12 / max(best, 1e-12)  # and the bound proves it


def draw_family(kind: str, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw edges, costs and prizes as the families of the instances in common use are made."""
    n, seed = int(random.integers(16, 26)), int(random.integers(1 << 30))
    graphs = {
        "random (P)": lambda: nx.gnm_random_graph(n, 2 * n, seed=seed),
        "plane (K)": lambda: nx.random_geometric_graph(n, 1.6 / np.sqrt(n), seed=seed),
        "cube (hc)": lambda: nx.hypercube_graph(5),
        "grid": lambda: nx.grid_2d_graph(5, 6),
        "cover (cc)": lambda: nx.bipartite.gnmk_random_graph(6, 12, 28, seed=seed),
        "interactome": lambda: nx.barabasi_albert_graph(n, 3, seed=seed),
    }
    graph = nx.convert_node_labels_to_integers(graphs[kind]())
    edges = np.array(graph.edges())
    costs = {
        "plane (K)": lambda: random.random(len(edges)),
        "random (P)": lambda: random.random(len(edges)) + 0.05,
        "grid": lambda: random.integers(1, 11, len(edges)).astype(float),
        # Full of equal ones, as confidences are.
        "interactome": lambda: random.choice([0.3, 0.5, 0.6, 0.85], len(edges)),
    }.get(kind, lambda: np.ones(len(edges)))()
    prizes = random.random(len(graph)) * costs.mean() * random.choice([1, 2, 4, 8])
    prizes[random.random(len(graph)) > random.choice([0.2, 0.5, 1])] = 0
    return edges, costs, prizes


@pytest.mark.parametrize(
    "kind", ["random (P)", "plane (K)", "cube (hc)", "grid", "cover (cc)", "interactome"]
)
def test_some_dozens_of_vertices_against_the_optimum(kind: str) -> None:
    ratios, gaps = [], []
    for seed in range(5):
        problem = draw_family(kind, np.random.default_rng(seed))
        if seed % 2:
            # Bounds of whole numbers are rounded up.
            problem = (problem[0], np.ceil(10 * problem[1]), np.ceil(10 * problem[2]))
        best, found = solve_exactly(*problem), solve_pcst(*problem)
        check_result(found, *problem, None)
        assert found.lower_bound <= best * EXACT + 1e-6
        assert best <= found.value * EXACT + 1e-6
        ratios.append(found.value / best if best > 1e-9 else 1.0)
        gaps.append(found.gap)
    assert max(ratios) <= 1 + 1e-6
    assert max(gaps) <= 1e-6


def test_annealing_finds_the_best_tree_of_a_cube_from_a_bad_one() -> None:
    """Half of the corners are to be joined by the others, which can stand for each other."""
    random = np.random.default_rng(1)
    graph = nx.convert_node_labels_to_integers(nx.hypercube_graph(4))
    edges = np.array(graph.edges(), dtype=np.int32)
    costs = random.integers(90, 111, len(edges)).astype(float)
    is_wanted = np.array([nx.bipartite.color(graph)[v] == 1 for v in range(16)])
    prizes = 1000.0 * is_wanted
    net = Network(edges, costs, prizes, *list_neighbours(edges, len(prizes), np.arange(len(edges))))
    order = np.argsort(costs, kind="stable")
    start = span_cheaply(edges, order, np.ones(len(prizes), dtype=bool))
    everything = np.arange(len(prizes), dtype=np.int32)
    first, second = (
        anneal_tree(net, order, everything, start, seed=3, looks=4 * 10**6) for _ in range(2)
    )
    (vertices, tree), looked = first
    assert looked <= 4 * 10**6
    spanned = []
    for chosen in itertools.product([False, True], repeat=8):
        inside = is_wanted.copy()
        inside[~is_wanted] = chosen
        forest = span_cheaply(edges, order, inside)
        if len(forest) == inside.sum() - 1:
            spanned.append(costs[forest].sum())
    assert is_wanted[vertices].sum() == 8
    assert costs[tree].sum() == min(spanned) < costs[start].sum()
    np.testing.assert_array_equal(tree, second[0][1])


def test_closed_forms() -> None:
    # Two vertices: buy the edge, or leave the smaller prize out; moats meet half-way.
    pair = solve_pcst([[0, 1]], [2.0], [5.0, 3.0])
    assert (pair.value, pair.lower_bound, pair.vertices.tolist()) == (2.0, 2.0, [0, 1])
    grown = solve_pcst([[0, 1]], [2.0], [5.0, 3.0], improve=False)
    assert (grown.value, grown.lower_bound, grown.gap) == (2.0, 1.0, 0.5)
    apart = solve_pcst([[0, 1]], [9.0], [5.0, 3.0])
    assert (apart.value, apart.lower_bound, apart.vertices.tolist()) == (3.0, 3.0, [0])
    # A star whose hub has no prize is worth its rays, but not two of them.
    star = solve_pcst([[0, i] for i in range(1, 7)], [1.0] * 6, [0.0] + [1.5] * 6)
    assert star.vertices.tolist() == list(range(7))
    assert star.value == 6.0
    alone = solve_pcst([[0, 1], [0, 2]], [1.0, 1.0], [0.0, 1.5, 1.5])
    assert alone.value == 1.5
    # With a root that nothing is worth going to.
    rooted = solve_pcst([[0, 1]], [9.0], [5.0, 3.0], root=1)
    assert (rooted.value, rooted.lower_bound, rooted.vertices.tolist()) == (5.0, 5.0, [1])


@pytest.mark.parametrize("improve", [True, False])
def test_networks_without_edges_prizes_or_vertices(improve: bool) -> None:
    assert solve_pcst(np.empty((0, 2), int), [], [], improve=improve).value == 0
    single = solve_pcst([], [], [3.0, 4.0], improve=improve)
    assert (single.value, single.lower_bound, single.vertices.tolist()) == (3.0, 3.0, [1])
    nothing = solve_pcst([[0, 1]], [1.0], [0.0, 0.0], improve=improve)
    assert (nothing.value, len(nothing.vertices), nothing.gap) == (0.0, 1, 0.0)


@pytest.mark.parametrize("rooted", [False, True])
def test_a_tree_does_not_depend_on_the_unit_of_costs(rooted: bool) -> None:
    """Exactly: costs and prizes are multiplied by powers of two."""
    random = np.random.default_rng(0)
    for _ in range(10):
        edges, costs = random.integers(0, 40, (120, 2)), random.random(120)
        prizes = 2 * random.random(40) * (random.random(40) < 0.4)
        root = int(random.integers(40)) if rooted else None
        expected = solve_pcst(edges, costs, prizes, root=root)
        for unit in (2.0**-60, 2.0**60):
            found = solve_pcst(edges, costs * unit, prizes * unit, root=root)
            assert found.vertices.tolist() == expected.vertices.tolist()
            assert found.value == expected.value * unit
            assert found.lower_bound == expected.lower_bound * unit


def test_the_same_seed_gives_the_same_tree() -> None:
    random = np.random.default_rng(3)
    edges = random.integers(0, 60, (300, 2))
    problem = (edges, random.random(300), random.random(60))
    first, second = solve_pcst(*problem, seed=4), solve_pcst(*problem, seed=4)
    assert np.array_equal(first.edges, second.edges)
    assert first.value == second.value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"costs": [-1.0, 1.0]}, "costs: entry 0 is -1.0, expected 0 or more"),
        ({"costs": [1.0, np.nan]}, "costs: entry 1 is nan"),
        ({"prizes": [1.0, np.inf, 0.0]}, "prizes: entry 1 is inf"),
        ({"edges": [[0, 1], [1, 3]]}, "vertices 0 to 3, expected 0 to 2"),
        ({"costs": [1.0]}, "costs and prizes: shapes"),
        ({"edges": [[0.5, 1], [1, 2]]}, "expected \\(m, 2\\) integers"),
        ({"root": 3}, "root: 3, expected a vertex, 0 to 2"),
        ({"root": 0.5}, "root: 0.5, expected a vertex"),
    ],
)
def test_what_is_no_problem_is_refused(change: dict[str, object], message: str) -> None:
    given = {"edges": [[0, 1], [1, 2]], "costs": [1.0, 1.0], "prizes": [1.0, 1.0, 1.0]} | change
    with pytest.raises(ValueError, match=message):
        solve_pcst(given["edges"], given["costs"], given["prizes"], root=given.get("root"))  # type: ignore[arg-type]


# ------------------------------------------------------------------------- proven optima


def read_stp(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a SteinLib file: edges, costs, prizes."""
    edges, costs, prizes, n = [], [], {}, 0
    for words in map(str.split, path.read_text().splitlines()):
        if words[:1] == ["Nodes"]:
            n = int(words[1])
        elif words[:1] in (["E"], ["A"]):
            edges.append((int(words[1]) - 1, int(words[2]) - 1))
            costs.append(float(words[3]))
        elif words[:1] in (["TP"], ["T"]) and len(words) == 3:
            prizes[int(words[1]) - 1] = float(words[2])
    return np.array(edges), np.array(costs), np.array([prizes.get(v, 0.0) for v in range(n)])


def list_instances() -> Iterator[tuple[str, str, float, Path]]:
    """List set, name, optimum and file of the instances with proven optima."""
    folder = Path(os.environ["I2R_DATA"]) / "pcst_instances"
    with (folder / "optima.csv").open() as file:
        for row in csv.DictReader(file):
            path = folder / row["set"] / f"{row['name']}.stp"
            if path.exists():
                yield row["set"], row["name"], float(row["optimum"]), path


@pytest.mark.parametrize("seed", [7, 21])
def test_programs_prove_whole_numbers(seed: int) -> None:
    """Their bound is a hair above the last whole number: rounding it must not lose the proof."""
    random, n = np.random.default_rng(seed), 120
    first = np.r_[np.arange(1, n), random.integers(0, n, 360)]
    second = np.r_[[random.integers(0, i) for i in range(1, n)], random.integers(0, n, 360)]
    edges = np.stack([first, second], 1)
    edges = edges[edges[:, 0] != edges[:, 1]]
    costs = random.integers(1, 10, len(edges)).astype(float)
    prizes = np.where(random.random(n) < 0.35, random.integers(1, 16, n), 0).astype(float)
    result = solve_pcst(edges, costs, prizes)
    assert result.gap == 0
    assert result.value == result.lower_bound


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two to three minutes on a quiet core
@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="needs the instances (I2R_DATA)")
def test_instances_with_proven_optima() -> None:
    ratios, proven = {}, 0
    for kind, name, optimum, path in list_instances():
        result = solve_pcst(*(problem := read_stp(path)))
        assert len(result.edges) == len(result.vertices) - 1
        assert problem[1][result.edges].sum() <= result.value * EXACT
        assert optimum / EXACT <= result.value <= 2 * result.lower_bound * EXACT, name
        assert result.lower_bound <= optimum * EXACT, name
        ratios[kind, name] = result.value / optimum
        proven += result.gap <= 1e-9
    assert len(ratios) == 100
    assert np.mean(list(ratios.values())) <= 1.0001
    assert max(ratios.values()) <= 1.002
    assert proven >= 90


def test_bounds_for_some_weights_bound_those_between() -> None:
    """The best value is concave in the weight of the prizes; so is the hull, and never above it."""
    random = np.random.default_rng(5)
    edges, costs = random.integers(0, 30, (90, 2)), random.random(90)
    prizes = random.random(30)
    weights = np.arange(1, 12) / 4
    best = [solve_pcst(edges, costs, w * prizes).value for w in weights]
    known = [solve_pcst(edges, costs, w * prizes, improve=False, bound=True) for w in weights]
    given = [r.lower_bound if i % 5 == 0 else 0.0 for i, r in enumerate(known)]
    raised = bound_between(weights, given)
    assert (raised <= np.array(best) * EXACT).all()
    assert (raised >= given).all()
    assert raised[3] > 0.5 * best[3]
    assert (np.diff(raised, 2) <= 1e-9).all()
    assert bound_between([], []).size == 0
