"""Infer the network of genes that connects the targets: a prize-collecting Steiner tree."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field
from pydantic.config import JsonDict

from i2r.analysis.regulation.gene_inputs import list_impactful_genes, list_screened_genes
from i2r.analysis.regulation.interactome_inputs import (
    find_line,
    import_network,
    read_cells,
    read_network_table,
    translate_targets,
)
from i2r.analysis.regulation.interactome_sizes import estimate_interactome
from i2r.analysis.regulation.pruned_network import PREPARED
from i2r.errors import I2RError
from i2r.formats.gene_tables import digest_files
from i2r.formats.panels import read_panel
from i2r.formats.scales import check_logarithms
from i2r.stages.base import FINISH, Stage, seed_sequence
from i2r.stages.interactome.network import write_network_of, write_sweep
from i2r.stages.outputs import Output
from i2r.stages.written.regulation import INTERACTOME
from i2r.store.experiment import Experiment

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
    line_names: str = Field(
        "", description="What the lines of 'expression' are called, where it has identifiers: "
        "DepMap's sample_info or Model table",
        json_schema_extra=PATH,
    )  # fmt: skip
    logarithm: bool = Field(
        False, description="Take log2(1 + x) of 'expression', for values that are not logarithmic"
    )
    expressed_above: float | None = Field(
        None, description="Keep only genes that the line expresses above this, before logarithms"
    )
    cells: str = Field(
        "", description="Counts of single cells, for an 'edge_cost' other than the table's: table, "
        "10x folder, .mtx, .h5, .h5ad, AnnData's .zarr; or signatures, also as .gctx",
        json_schema_extra=PATH,
    )  # fmt: skip
    cells_layer: str = Field("", description="Of AnnData, 'raw' or the layer that has the counts")
    cells_names: str = Field("", description="Of AnnData, the column of 'var' that has symbols")
    cells_scale: Literal["counts", "logarithms", "signatures"] = Field(
        "counts", description="What 'cells' holds: counts, logarithms of scaled counts, or "
        "signatures (differences, such as the Connectivity Map's), which all count as they are"
    )  # fmt: skip
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
    edge_cost: Literal["mi_score", "spearman", "pearson", "mutual_information"] = Field(
        "mi_score", description="Cost of an edge: the table's, or over cells 1 - |correlation|, or "
        "1 - mutual information (normalised, of a histogram of 100 by 100 bins)"
    )  # fmt: skip
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

    outputs: ClassVar[tuple[Output, ...]] = INTERACTOME
    upstream_verbs: ClassVar[Mapping[str, bool]] = {}
    version: ClassVar[int] = 8
    uses_layout: ClassVar[bool] = False

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """A screen, where it is what names the targets."""
        named = bool(self.targets) or self.method == "import"
        return self.upstream_verbs if named else {"screen": False}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse options that lack their table, tables that can't be read, unknown targets."""
        where = f"stage {self.title!r}"
        needed = {"network": self.network} if self.method == "import" else {
            "interactions": self.interactions,
            "targets": self.targets or self.upstream_title("screen"),
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
                    find_line(panel, self.model_dump())
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

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the tables by their content."""
        return self.external_files(experiment)

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the tables."""
        return digest_files(
            self.network,
            self.interactions,
            self.expression,
            self.line_names,
            self.cells,
            self.symbols,
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
        targets, screened = self.targets, list[str]()
        if self.method == "steiner" and not targets:
            screen = self.upstream_title("screen")
            targets = tuple(list_impactful_genes(experiment, screen))
            screened = list_screened_genes(experiment, screen)
            if not targets:
                raise I2RError(
                    f"stage {self.title!r}: {screen!r} calls no gene impactful, so there is "
                    "nothing to connect. List 'targets', or look at the screen's ranking."
                )
        return {**self.model_dump(), "targets": targets, "screened": screened}

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """The tables once more, and a network of each choice of options."""
        return self.peak_bytes(experiment, FINISH)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Tables as they are read, by the sizes of their files."""
        return max(2**29, estimate_interactome(self.model_dump()))


def _find_no_symbol(url: str) -> str:
    return (
        f"no symbol of {url} is one of the network's. Give the same kind of names in both, or "
        "'symbols' that list them."
    )
