"""Infer the network of genes that connects the targets: a prize-collecting Steiner tree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field
from pydantic.config import JsonDict

from i2r.errors import I2RError
from i2r.kernels.pcst import PCSTResult, solve_pcst
from i2r.lazy.interactome_trees import (
    Problem,
    draw_near_trees,
    mark_inside,
    measure_frequencies,
    sweep_betas,
)
from i2r.stages.base import Stage, seed_sequence
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.gene_inputs import list_impactful_genes
from i2r.store.gene_tables import digest_files
from i2r.store.interactome_inputs import (
    import_network,
    prepare_interactome,
    read_cells,
    read_network_table,
    translate_targets,
)
from i2r.store.losses import note_losses, note_size, note_translations
from i2r.store.networks import write_network
from i2r.store.panels import choose_line, read_panel
from i2r.store.pruned_network import PREPARED, Pruned
from i2r.store.scales import check_logarithms
from i2r.store.vocabulary import Vocabulary, write_vocabulary

if TYPE_CHECKING:
    import networkx as nx

PATH: JsonDict = {"path": True}


class Interactome(Stage):
    """Interactome: the part of a protein network that connects the target genes.

    Interactions are pruned (expressed genes, confidence, hubs, largest part). Every gene has a
    prize, how differently the line expresses it from other lines; targets have the highest. A
    prize-collecting Steiner tree trades prizes for edge costs; of a sweep over the weight beta of
    the prizes the smallest that covers most targets is taken, and all interactions among its
    genes make the network. Every tree comes with a lower bound of what is possible at all.
    """

    stage: Literal["interactome"] = "interactome"
    method: Literal["steiner", "import"] = Field(
        "steiner", description="'import' takes a network of yours as it is"
    )
    network: str = Field(
        "", description="Network to import: GraphML, or a table as for 'interactions'",
        json_schema_extra=PATH,
    )  # fmt: skip
    interactions: str = Field(
        "", description="Protein interactions: protein1, protein2, cost; STRING, HIPPIE, BioGRID, "
        "OmniPath, HuRI, Reactome FI, SIF",
        json_schema_extra=PATH,
    )  # fmt: skip
    score_column: str = Field(
        "", description="Column of 'interactions' with confidences (0 to 1, or 0 to 1000), where "
        "it is not called cost or combined_score",
    )  # fmt: skip
    unscored_cost: float | None = Field(
        None, ge=0, description="Cost of every interaction, for tables without a confidence"
    )
    expression: str = Field(
        "", description="Expression of many lines, for prizes: DepMap's lines by genes, genes by "
        "lines with a column 'symbol', GCT, or the Human Protein Atlas's list",
        json_schema_extra=PATH,
    )  # fmt: skip
    line: str = Field("U2OS", description="The line of the screen in 'expression'")
    logarithm: bool = Field(
        False, description="Take log2(1 + x) of 'expression', for values that are not logarithmic"
    )
    expressed_above: float | None = Field(
        None, description="Keep only genes that the line expresses above this, before logarithms"
    )
    cells: str = Field(
        "", description="Counts of single cells, for 'spearman' and 'pearson': table, 10x folder, "
        ".mtx, .h5, .h5ad, AnnData's .zarr",
        json_schema_extra=PATH,
    )  # fmt: skip
    cells_layer: str = Field("", description="Of AnnData, 'raw' or the layer that has the counts")
    cells_names: str = Field("", description="Of AnnData, the column of 'var' that has symbols")
    cells_scale: Literal["counts", "logarithms"] = Field(
        "counts", description="What 'cells' holds: counts, or logarithms of scaled counts"
    )
    check_scale: bool = Field(
        True, description="Refuse counts and expression whose values are not what they should be"
    )
    min_genes: int = Field(8000, ge=0, description="Fewest genes of a cell that counts")
    min_cells: int = Field(10, ge=0, description="Fewest cells of a gene that counts")
    symbols: str = Field(
        "", description="What genes are called, for tables with identifiers, aliases, old symbols: "
        "HGNC's or BioMart's table, STRING's protein.info, or name and symbol",
        json_schema_extra=PATH,
    )  # fmt: skip
    targets: tuple[str, ...] = Field(
        (),
        description="Genes to connect, which get the top prize (default: those that the screen "
        "calls impactful)",
    )
    max_cost: float = Field(
        0.594, gt=0, description="Interactions of this cost (1 - confidence) or more are left out"
    )
    hub_quantile: float = Field(
        0.999, gt=0, le=1, description="Genes with a degree at this quantile or above are left out"
    )
    edge_cost: Literal["mi_score", "spearman", "pearson"] = Field(
        "mi_score", description="Cost of an edge: the table's, or 1 - |correlation| over cells"
    )
    beta_step: float = Field(0.1, gt=0, description="First value of beta, and the step")
    beta_last: float = Field(9.9, gt=0, description="Last value of beta")
    search: Literal["best", "none"] = Field(
        "best", description="'best' searches for a provably good tree; 'none' is the plain "
        "published tree, as pcst_fast gives it, for the network and its frequencies",
    )  # fmt: skip
    near_trees: int = Field(
        10, ge=0, description="Near-optimal trees beside the network's, for how stable genes are"
    )
    noise_runs: int = Field(
        10, ge=0, description="Runs with noisy costs, and with random targets, for frequencies"
    )
    noise: float = Field(0.1, ge=0, description="Standard deviation of the noise on costs")
    seed: int = Field(0, ge=0, description="Seed of noise and search (default: the pipeline's)")

    reads: ClassVar[Mapping[str, bool]] = {}
    version: ClassVar[int] = 5
    uses_layout: ClassVar[bool] = False

    @property
    def wanted(self) -> Mapping[str, bool]:
        """A screen, where it is what names the targets."""
        named = bool(self.targets) or self.method == "import"
        return self.reads if named else {"screen": False}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse options that lack their table, tables that can't be read, unknown targets."""
        where = f"stage {self.title!r}"
        needed = {"network": self.network} if self.method == "import" else {
            "interactions": self.interactions, "targets": self.targets or self.needed("screen"),
            **({"cells": self.cells} if self.edge_cost != "mi_score" else {}),
        }  # fmt: skip
        problems = [
            f"{where}: {name!r} is not given, expected it for {self.method!r}. Set it."
            for name, value in needed.items()
            if not value
        ]
        if problems:
            return problems
        try:
            symbols: Mapping[str, str] | None
            if self.method == "import":
                network = import_network(self.model_dump())
                known, symbols = set(network.graph), network.symbols
            else:
                found = read_network_table(self.model_dump(), self.interactions)
                known, symbols = set(found.genes), found.symbols
                if self.expression:
                    panel = read_panel(self.expression, symbols, known=known)
                    choose_line(panel, self.line, url=self.expression)
                    if self.check_scale:
                        check_logarithms(
                            panel.values, logarithm=self.logarithm,
                            where=f"expression {self.expression}",
                        )  # fmt: skip
                    if not known & set(panel.genes):
                        return [f"{where}: {_find_no_symbol(self.expression)}"]
                if self.edge_cost != "mi_score":
                    genes, _, _ = read_cells(self.model_dump(), found)
                    if not known & set(genes):
                        return [f"{where}: {_find_no_symbol(self.cells)}"]
        except I2RError as error:
            return [f"{where}: {error}"]
        targets = translate_targets(self.targets, symbols, [])
        if self.targets and not known & set(targets):
            first = ", ".join(self.targets[:3])
            problems.append(
                f"{where}: none of the {len(self.targets)} targets ({first}, ...) is in the "
                f"network, which has {', '.join(sorted(known)[:3])}, ... Give gene symbols, or "
                "'symbols' that list these names."
            )
        return problems

    @property
    def betas(self) -> list[float]:
        """The weights of the sweep."""
        # A hair more: 0.3 / 0.1 is less than three.
        count = max(1, int(self.beta_last / self.beta_step + 1e-9))
        return [round(self.beta_step * (i + 1), 10) for i in range(count)]

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit: the tables are read and pruned once, the sweep after that takes seconds."""
        return ["import" if self.method == "import" else "sweep"]

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the tables by their content."""
        return self.outside(experiment)

    def outside(self, experiment: Experiment) -> object:
        """Give the content of the tables."""
        return digest_files(
            self.network, self.interactions, self.expression, self.cells, self.symbols
        )

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Prune the network and solve for all values of beta."""
        urls = {name: experiment.part_url(f"{self.title}{name}", key) for name in PREPARED}
        betas = self.betas if self.method == "steiner" else []
        return delayed(write_sweep)(self._resolve(experiment), betas, urls)

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Choose beta and write the network, its tables and what was left out."""
        names = ("", "-edges", "-trees", *PREPARED)
        parts = {name: experiment.part_url(f"{self.title}{name}", keys[0]) for name in PREPARED}
        return delayed(write_network_of)(
            self._resolve(experiment),
            parts=parts,
            seed=seed_sequence(self.seed, self.title, "noise"),
            network_url=experiment.network_url(self.title),
            urls={name: experiment.table_url(f"{self.title}{name}") for name in names},
        )

    def _resolve(self, experiment: Experiment) -> dict[str, Any]:
        """Give the options with the targets, from the screen where none are listed."""
        targets = self.targets
        if self.method == "steiner" and not targets:
            screen = self.needed("screen")
            targets = tuple(list_impactful_genes(experiment, screen))
            if not targets:
                raise I2RError(
                    f"stage {self.title!r}: {screen!r} calls no gene impactful, so there is "
                    "nothing to connect. List 'targets', or look at the screen's ranking."
                )
        return {**self.model_dump(), "targets": targets}

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A million interactions and their tables; cells by genes in double precision."""
        return 2**30 if self.edge_cost == "mi_score" else 2**31


def write_sweep(
    options: Mapping[str, Any], betas: Sequence[float], urls: Mapping[str, str]
) -> dict[str, Any]:
    """Write the pruned network's tables, and a row for every beta."""
    if not betas:
        return {"bytes_out": 0}
    pruned = prepare_interactome(options)
    found = pruned.to_tables()
    written = [tables.write_table(urls[name], table) for name, table in found.items()]
    swept = sweep_betas(_pose(pruned), list(betas))
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


def _find_no_symbol(url: str) -> str:
    return (
        f"no symbol of {url} is one of the network's. Give the same kind of names in both, or "
        "'symbols' that list them."
    )


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
