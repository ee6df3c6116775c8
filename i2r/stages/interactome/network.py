"""The network of an interactome stage: the sweep, the tree that is chosen, and their tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from i2r.analysis.regulation.interactome_inputs import import_network, prepare_interactome
from i2r.analysis.regulation.interactome_trees import (
    Problem,
    draw_near_trees,
    mark_inside,
    measure_frequencies,
    sweep_betas,
)
from i2r.analysis.regulation.pruned_network import PREPARED, Pruned
from i2r.formats.losses import note_losses, note_size, note_translations
from i2r.kernels.pcst import PCSTResult, solve_pcst
from i2r.store import tables
from i2r.store.networks import write_network
from i2r.store.vocabulary import Vocabulary, translate, write_vocabulary

if TYPE_CHECKING:
    import networkx as nx


def write_sweep(
    options: Mapping[str, Any], betas: Sequence[float], urls: Mapping[str, str]
) -> dict[str, Any]:
    """Write the pruned network's tables, and a row for every beta."""
    if not betas:
        return {"bytes_out": 0}
    pruned = prepare_interactome(options)
    found = pruned.to_tables()
    written = [tables.write_table(urls[name], table) for name, table in found.items()]
    screened = None
    if options["screened"]:
        known = {translate(name, pruned.symbols) or name for name in options["screened"]}
        screened = np.array([gene in known for gene in pruned.genes])
    swept, members = sweep_betas(_pose(pruned)._replace(screened=screened), list(betas))
    trees = pd.DataFrame({
        "beta": np.repeat(np.array(betas, dtype=float), [len(own) for own in members]),
        "gene": np.array(pruned.genes, dtype=object)[np.concatenate(members)],
    })  # fmt: skip
    written.append(tables.write_table(urls["-members"], trees))
    notes = {"notes": list(pruned.notes)}
    written.append(tables.write_table(urls["-sweep"], swept, metadata=notes))
    return {"bytes_out": sum(written)}


def _pose(pruned: Pruned) -> Problem:
    return Problem(pruned.edges, pruned.costs, pruned.prizes, pruned.terminal)


def choose_beta(sweep: pd.DataFrame) -> float:
    """Choose the smallest beta whose network covers the most targets."""
    return float(sweep.loc[sweep["targets"] == sweep["targets"].max(), "beta"].min())


def write_network_of(
    options: Mapping[str, Any],
    *,
    parts: Mapping[str, str],
    seed: np.random.SeedSequence,
    network_url: str,
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Write the network for the chosen beta, and the tables."""
    if options["method"] == "import":
        graph, dropped, translated, symbols = import_network(options)
        write_network(network_url, graph)
        _write_graph_tables(graph, urls)
        tables.write_table(urls["-dropped"], dropped)
        _write_symbols(translated, symbols, urls)
        counts = {"genes": len(graph), "edges": graph.number_of_edges()}
        notes = note_losses(dropped, len(set(options["targets"])))
        return {**counts, "notes": [*notes, *note_translations(translated)]}
    prepared = {name: tables.read_table(url) for name, url in parts.items()}
    told = tables.read_table_with_metadata(parts["-sweep"])[1]["notes"]
    pruned, sweep = Pruned.from_tables(prepared), prepared["-sweep"].sort_values("beta")
    beta = choose_beta(sweep)
    prizes = beta * pruned.prizes
    problem = _pose(pruned)._replace(prizes=prizes)
    plain = solve_pcst(pruned.edges, pruned.costs, prizes, improve=False, bound=True)
    result = plain
    if options["search"] == "best":
        better = solve_pcst(pruned.edges, pruned.costs, prizes, seed=options["seed"])
        # The search may save more than a target's prize is worth; the choice of beta was for
        # targets.
        if pruned.terminal[better.vertices].sum() >= pruned.terminal[plain.vertices].sum():
            result = better
        else:
            result = plain._replace(lower_bound=min(better.lower_bound, plain.value))
    graph = _induce(pruned, result, prizes)
    is_searched = options["search"] == "best"
    trees, stability = draw_near_trees(
        problem, result, plain, runs=options["near_trees"], improve=is_searched,
        seed=seed.spawn(1)[0],
    )  # fmt: skip
    frequencies = measure_frequencies(
        problem, runs=options["noise_runs"], noise=options["noise"], improve=is_searched, seed=seed
    )
    columns = {**stability, **frequencies}
    for name, values in columns.items():
        for gene, value in zip(pruned.genes, values.tolist(), strict=True):
            if gene in graph:
                graph.nodes[gene][name] = value
    write_network(network_url, graph)
    _write_graph_tables(graph, urls)
    sweep["chosen"] = sweep["beta"] == beta
    solved = {"value": result.value, "lower_bound": result.lower_bound, "gap": result.gap}
    tables.write_table(urls["-sweep"], sweep.reset_index(drop=True), metadata=solved)
    tables.write_table(urls["-trees"], trees)
    for name in set(PREPARED) - {"-sweep", "-dropped"}:
        tables.write_table(urls[name], prepared[name])
    ends = zip(pruned.genes, pruned.terminal, strict=True)
    lost = [(g, "target: not in the tree") for g, yes in ends if yes and g not in graph]
    left = pd.DataFrame(lost, columns=["symbol", "reason"], dtype=str)
    dropped = tables.concatenate([pruned.dropped, left])
    tables.write_table(urls["-dropped"], dropped)
    notes = [
        *told,
        *note_losses(dropped, len(options["targets"])),
        *note_translations(pruned.translated),
        *note_size(len(graph), sweep, beta),
    ]
    counts = {"genes": len(graph), "edges": graph.number_of_edges()}
    return {"beta": beta, **solved, **counts, "notes": notes}


def _write_symbols(
    translated: pd.DataFrame, symbols: Vocabulary | None, urls: Mapping[str, str]
) -> None:
    """Write what was translated, and the vocabulary for the stages that come after."""
    tables.write_table(urls["-symbols"], translated)
    write_vocabulary(urls["-vocabulary"], symbols or Vocabulary({}))


def _induce(pruned: Pruned, result: PCSTResult, prizes: np.ndarray) -> "nx.Graph":
    """Make the network of all interactions among the genes of a tree."""
    import networkx as nx

    graph = nx.Graph()
    inside, in_tree = mark_inside(_pose(pruned), result), np.zeros(len(pruned.edges), dtype=bool)
    in_tree[result.edges] = True
    for v in np.flatnonzero(inside):
        values = {"prize": float(prizes[v]), "terminal": bool(pruned.terminal[v])}
        if np.isfinite(pruned.change[v]):
            values["change"] = float(pruned.change[v])
        graph.add_node(pruned.genes[v], **values)
    for e in np.flatnonzero(inside[pruned.edges].all(axis=1)):
        first, second = (pruned.genes[v] for v in pruned.edges[e])
        graph.add_edge(first, second, cost=float(pruned.costs[e]), in_tree=bool(in_tree[e]))
    return graph


def _write_graph_tables(graph: "nx.Graph", urls: Mapping[str, str]) -> None:
    """Write the genes and the edges of a network."""
    genes = [{"gene": g, "degree": graph.degree[g], **graph.nodes[g]} for g in sorted(graph)]
    edges = [
        {"gene1": u, "gene2": v, **graph.edges[u, v]}
        for u, v in sorted(tuple(sorted(edge)) for edge in graph.edges)
    ]
    tables.write_table(urls[""], pd.DataFrame(genes))
    tables.write_table(urls["-edges"], pd.DataFrame(edges))
