"""From tables to a pruned network with prizes and costs, to look for a Steiner tree in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from i2r.analysis.regulation.pruned_network import Pruned
from i2r.errors import I2RError
from i2r.formats.cells import read_counts
from i2r.formats.interactions import Interactions, read_interactions
from i2r.formats.panels import Panel, choose_line, read_line_names, read_panel
from i2r.formats.scales import check_logarithms
from i2r.kernels.edge_costs import correlate_edges, measure_information
from i2r.kernels.interactome import (
    CellChoice,
    choose_cells,
    compare_line,
    count_degrees,
    find_hubs,
    find_largest_part,
    scale_genes,
    take_cells,
)
from i2r.store.networks import read_network
from i2r.store.vocabulary import (
    Vocabulary,
    read_symbols,
    tabulate_translations,
    translate,
)

if TYPE_CHECKING:
    import networkx as nx


class ImportedNetwork(NamedTuple):
    """A network of the user's: see `import_network`."""

    graph: "nx.Graph"
    dropped: pd.DataFrame
    translated: pd.DataFrame
    symbols: Vocabulary | None


_EXPRESSION = ("gene", "log_fold_change", "t", "p_value", "fdr", "prize")
# From one gene in twenty to none, evenly on a logarithmic scale.
_QUANTILES = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 1.0)


class _Pruning:
    """A network that gets smaller, and the account of it."""

    def __init__(self, genes: list[str], edges: Any, costs: Any, targets: list[str]) -> None:
        self.genes = np.array(genes, dtype=str)
        self.edges, self.costs, self.targets = edges, costs, targets
        self.steps: list[dict[str, Any]] = []
        self.dropped: list[tuple[str, str]] = []

    def keep_genes(self, keep: npt.NDArray[np.bool_], reason: str) -> None:
        """Keep some genes and the edges among them; list targets that go."""
        gone = set(self.genes[~keep].tolist())
        self.dropped += [(name, f"target: {reason}") for name in self.targets if name in gone]
        both = keep[self.edges[:, 0]] & keep[self.edges[:, 1]]
        self.edges, self.costs = self.edges[both], self.costs[both]
        number = np.cumsum(keep) - 1
        self.edges, self.genes = number[self.edges], self.genes[keep]

    def keep_linked(self, reason: str) -> None:
        """Drop genes without an edge."""
        self.keep_genes(count_degrees(self.edges, len(self.genes)) > 0, reason)

    def note(self, step: str, text: str = "") -> None:
        """Write down what is left."""
        targets = len(set(self.targets) & set(self.genes.tolist()))
        row = {"step": step, "genes": len(self.genes), "edges": len(self.edges)}
        self.steps.append({**row, "targets": targets, "note": text})


def prepare_interactome(options: Mapping[str, Any]) -> Pruned:  # noqa: PLR0915
    """Read the tables and prune the network; see the options of the stage `interactome`.

    The order is the published one: expressed genes and their largest part; the confidence cut
    and the largest part of what it leaves; hubs, and the largest part again.

    Raises
    ------
    I2RError
        If nothing is left after a step, or no target is.
    """
    log: list[pd.DataFrame] = []
    found = read_network_table(options, options["interactions"], log=log)
    symbols = found.symbols
    targets = translate_targets(options["targets"], symbols, log)
    notes: tuple[str, ...] = ()
    work = _Pruning(found.genes, found.edges, found.costs, targets)
    work.note("read", f"{found.n_rows:,} rows")
    absent = sorted(set(targets) - set(found.genes))
    work.dropped += [(name, "target: not in the interactions") for name in absent]
    tables = [found.dropped]
    expression, usable_genes = pd.DataFrame({name: [] for name in _EXPRESSION}), set(found.genes)
    if options["expression"]:
        panel = read_panel(options["expression"], symbols, known=found.genes, log=log)
        notes += panel.notes
        line = find_line(panel, options)
        tables.append(panel.dropped)
        if options["logarithm"] and (panel.values < 0).any():
            raise I2RError(
                f"expression {options['expression']}: found {panel.values.min():g}, expected 0 or "
                "more where 'logarithm' is set. Leave it out: the values are logarithms already."
            )
        if options["check_scale"]:
            check_logarithms(
                panel.values, logarithm=options["logarithm"],
                where=f"expression {options['expression']}",
            )  # fmt: skip
        values = np.log2(1 + panel.values) if options["logarithm"] else panel.values
        compared = compare_line(values, line)
        expression = pd.DataFrame(dict(zip(_EXPRESSION, (panel.genes, *compared), strict=False)))
        if options["expressed_above"] is not None:
            above = panel.values[line] > options["expressed_above"]
            expressed = {n for n, yes in zip(panel.genes, above, strict=True) if yes}
            _restrict(work, expressed, "expressed")
            usable_genes &= expressed
    cells: _Cells | None = None
    if options["edge_cost"] != "mi_score":
        cells = _read_cells(options, tables, found, log)
        _restrict(work, set(cells.columns), "in cells")
        usable_genes &= set(cells.columns)
    curve = trace_cut(work)
    keep = work.costs < options["max_cost"]
    work.edges, work.costs = work.edges[keep], work.costs[keep]
    work.keep_linked("no interaction below the cost cut")
    work.note("confidence", f"cost below {options['max_cost']:g}")
    _keep_largest(work)
    by_quantile = trace_hubs(work)
    hubs, limit = find_hubs(work.edges, len(work.genes), quantile=options["hub_quantile"])
    degrees = count_degrees(work.edges, len(work.genes))
    order = np.flatnonzero(hubs)[np.argsort(-degrees[hubs], kind="stable")]
    text = ", ".join(f"{work.genes[i]} {degrees[i]}" for i in order)
    work.keep_genes(~hubs, f"hub (degree {limit:g} or more)")
    work.note("hubs", f"degree {limit:g} or more: {text}" if text else "none")
    _keep_largest(work)
    genes = [str(name) for name in work.genes]
    if not set(genes) & set(targets):
        raise I2RError(
            f"interactome: none of the {len(targets)} targets is left after pruning. Raise "
            "'max_cost' or 'hub_quantile', or lower 'expressed_above'."
        )
    costs = work.costs
    if cells is not None:
        # Of the network's genes alone: values and ranks take more memory than the counts.
        values = cells.take(genes)
        del cells
        if options["edge_cost"] == "mutual_information":
            costs = 1 - measure_information(values, work.edges)
        else:
            ranked = options["edge_cost"] == "spearman"
            costs = 1 - np.abs(correlate_edges(values, work.edges, ranked=ranked))
        del values
    changes = expression.set_index("gene")["log_fold_change"].astype(float)
    # Prizes are on the scale of the genes that all tables have, as published; others have none.
    usable = changes[changes.index.isin(list(usable_genes))].abs()
    largest = max(float(usable.max()) if usable.notna().any() else 1.0, 1e-300)
    expression["prize"] = np.nan_to_num(changes.abs().to_numpy()) / largest
    expression.loc[~expression["gene"].isin(list(usable_genes)), "prize"] = 0.0
    expression.loc[expression["gene"].isin(targets), "prize"] = 1.0
    change = changes.reindex(genes).to_numpy()
    prizes = np.nan_to_num(np.abs(change)) / largest
    terminal = np.isin(genes, targets)
    prizes[terminal] = 1.0
    listed = pd.DataFrame(work.dropped, columns=["symbol", "reason"], dtype=str)
    dropped = pd.concat([listed, *tables], ignore_index=True)
    steps = pd.DataFrame(work.steps)
    return Pruned(
        genes, work.edges, costs, prizes, terminal, change, steps, curve, by_quantile, dropped,
        expression, pd.concat(log, ignore_index=True),
        symbols if isinstance(symbols, Vocabulary) else None, notes,
    )  # fmt: skip


def read_network_table(
    options: Mapping[str, Any], url: str, *, log: list[pd.DataFrame] | None = None
) -> Interactions:
    """Read a table of interactions with the options of the stage `interactome`."""
    symbols = read_symbols(options["symbols"]) if options["symbols"] else None
    return read_interactions(
        url, symbols, score_column=options["score_column"],
        unscored_cost=options["unscored_cost"], log=log,
    )  # fmt: skip


def find_line(panel: Panel, options: Mapping[str, Any]) -> int:
    """Find the line of the screen with the options of the stage `interactome`."""
    known = read_line_names(options["line_names"]) if options["line_names"] else []
    return choose_line(panel, options["line"], url=options["expression"], known_names=known)


def translate_targets(
    given: Sequence[str], symbols: Mapping[str, str] | None, log: list[pd.DataFrame]
) -> list[str]:
    """Give the symbols of targets, each once; one without a symbol stays as it is written."""
    names = [name.strip().upper() for name in given]
    log.append(tabulate_translations(names, symbols, table="targets"))
    return list(dict.fromkeys(translate(name, symbols) or name for name in names))


def import_network(options: Mapping[str, Any]) -> ImportedNetwork:
    """Read a network of the user's as it is; see the options of the stage `interactome`.

    Returns
    -------
    graph : networkx.Graph
        Named by symbols in upper case; targets are terminals. Where two names are one symbol their
        interactions join, and of parallel ones the cheapest stays.
    dropped : DataFrame
        What was left out: symbol, reason.
    translated, symbols
        As of `Pruned`.

    Raises
    ------
    InputError
        If it can't be read.
    """
    import networkx as nx

    symbols: Mapping[str, str] | None = None
    log: list[pd.DataFrame] = []
    dropped: list[tuple[str, str]] = []
    tables = []
    graph = nx.Graph()
    if options["network"].lower().endswith((".graphml", ".xml")):
        given = read_network(options["network"])
        if options["symbols"]:
            symbols = read_symbols(options["symbols"]).keep_apart(str(n).upper() for n in given)
        log.append(tabulate_translations(map(str, given), symbols, table="network"))
        names = {node: translate(str(node), symbols) for node in given}
        dropped += [(str(node), "no symbol") for node in given if not names[node]]
        for node, values in given.nodes(data=True):
            if names[node] and names[node] not in graph:
                graph.add_node(names[node], **values)
        for first, second, values in given.edges(data=True):
            ends = names[first], names[second]
            known = graph.edges[ends]["cost"] if graph.has_edge(*ends) else np.inf
            if all(ends) and ends[0] != ends[1] and values["cost"] < known:
                graph.add_edge(*ends, **values)
    else:
        found = read_network_table(options, options["network"], log=log)
        symbols = found.symbols
        tables.append(found.dropped)
        graph.add_nodes_from(found.genes, prize=0.0, terminal=False)
        for (first, second), cost in zip(found.edges, found.costs, strict=True):
            graph.add_edge(found.genes[first], found.genes[second], cost=float(cost))
    for name in translate_targets(options["targets"], symbols, log):
        if name in graph:
            graph.nodes[name].update(terminal=True, prize=1.0)
        else:
            dropped.append((name, "target: not in the network"))
    listed = pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str)
    return ImportedNetwork(
        graph, pd.concat([listed, *tables], ignore_index=True), pd.concat(log, ignore_index=True),
        symbols if isinstance(symbols, Vocabulary) else None,
    )  # fmt: skip


def _restrict(work: _Pruning, names: set[str], step: str) -> None:
    """Keep the genes of a table."""
    keep = np.array([name in names for name in work.genes.tolist()], dtype=bool)
    if not keep.any():
        raise I2RError(
            f"interactome: no gene of the interactions is {step}. Check that both tables have "
            "gene symbols."
        )
    work.keep_genes(keep, f"not {step}")
    work.keep_linked("no interaction left")
    work.note(step)
    _keep_largest(work)


def _keep_largest(work: _Pruning) -> None:
    if not len(work.genes):
        raise I2RError("interactome: no interaction is left. Raise 'max_cost' or 'hub_quantile'.")
    work.keep_genes(find_largest_part(work.edges, len(work.genes)), "not in the largest part")
    work.note("largest part")


class _Cells(NamedTuple):
    """Counts of cells, or signatures, and which of them count.

    Attributes
    ----------
    columns : dict
        By gene that counts, its column.
    counts : (cell, gene) sparse array
        All of them.
    choice
        The cells and genes that count.
    is_scaled
        Whether the values are logarithms already.
    """

    columns: dict[str, int]
    counts: sparse.csc_array
    choice: CellChoice
    is_scaled: bool

    def take(self, genes: Sequence[str]) -> sparse.csc_array:
        """Give the logarithms of some genes in the cells that count."""
        columns = [self.columns[name] for name in genes]
        if self.is_scaled:
            return take_cells(self.counts, columns, self.choice.cells)
        return scale_genes(self.counts, columns, self.choice)


def _read_cells(
    options: Mapping[str, Any],
    tables: list[pd.DataFrame],
    network: Interactions,
    log: list[pd.DataFrame],
) -> _Cells:
    """Read counts of cells and choose among them; signatures all count."""
    genes, counts, dropped = read_cells(options, network, log=log)
    tables.append(dropped)
    n_cells, n_genes = counts.shape
    if options["cells_scale"] == "signatures":
        choice = CellChoice(np.ones(n_cells, bool), np.ones(n_genes, bool), np.ones(n_cells))
    else:
        choice = choose_cells(
            counts, min_genes=options["min_genes"], min_cells=options["min_cells"]
        )
    if len(choice.totals) < 3 or not choice.genes.any():
        raise I2RError(
            f"counts {options['cells']}: {len(choice.totals)} of {n_cells} cells have "
            f"{options['min_genes']} genes, expected 3 cells or more. Lower 'min_genes'."
        )
    few = [(name, "in too few cells") for name, k in zip(genes, choice.genes, strict=True) if not k]
    tables.append(pd.DataFrame(few, columns=["symbol", "reason"], dtype=str))
    columns = {genes[at]: int(at) for at in np.flatnonzero(choice.genes)}
    return _Cells(columns, counts, choice, options["cells_scale"] != "counts")


def read_cells(
    options: Mapping[str, Any], network: Interactions, *, log: list[pd.DataFrame] | None = None
) -> tuple[list[str], sparse.csc_array, pd.DataFrame]:
    """Read counts of cells with the options of the stage `interactome`."""
    scale = options["cells_scale"]
    is_checked = options["check_scale"] and scale == "counts"
    return read_counts(
        options["cells"], network.symbols, layer=options["cells_layer"],
        names=options["cells_names"], known=network.genes,
        scale="counts" if is_checked else "signatures" if scale == "signatures" else "any",
        log=log,
    )  # fmt: skip


def trace_cut(work: _Pruning) -> pd.DataFrame:
    """Count edges, genes and targets by cost cut, in steps of 0.01."""
    rows = []
    is_target = np.isin(work.genes, work.targets)
    for cut in np.round(np.arange(0.01, 1.005, 0.01), 2):
        ends = np.unique(work.edges[work.costs < cut])
        row = {"cut": float(cut), "edges": int((work.costs < cut).sum()), "genes": len(ends)}
        rows.append({**row, "targets": int(is_target[ends].sum())})
    return pd.DataFrame(rows)


def trace_hubs(work: _Pruning) -> pd.DataFrame:
    """Count hubs, and what is left of the largest part without them, by degree quantile."""
    rows = []
    is_target = np.isin(work.genes, work.targets)
    for quantile in _QUANTILES:
        hubs, limit = find_hubs(work.edges, len(work.genes), quantile=quantile)
        edges = work.edges[~hubs[work.edges].any(axis=1)]
        kept = find_largest_part(edges, len(work.genes)) & ~hubs
        row = {"quantile": quantile, "degree": limit, "hubs": int(hubs.sum())}
        counts = {"genes": int(kept.sum()), "edges": int(kept[edges].all(axis=1).sum())}
        rows.append({**row, **counts, "targets": int((kept & is_target).sum())})
    return pd.DataFrame(rows)
