"""Embed the genes of a network: regulatory gene embeddings, their clusters and their stability."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.regulation import signatures
from i2r.analysis.regulation.gene_inputs import (
    Naming,
)
from i2r.errors import I2RError
from i2r.formats.gene_tables import (
    digest_files,
    read_gene_sets,
    read_labels,
    read_spaces,
    read_vectors,
)
from i2r.stages.base import FINISH, Stage
from i2r.stages.genes.embeddings import PARTS, TABLES, embed_seed, write_genes
from i2r.stages.outputs import Output
from i2r.stages.written.regulation import GENES
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.networks import count_nodes, read_network
from i2r.store.vocabulary import read_symbols

# The process, and for clusters the distances of every two genes once, which SciPy copies.
BASE_BYTES, PER_PAIR = 2**29, 8

PATH: dict[str, Any] = {"path": True}
Labels = Literal["none", "file", "clusters"]


class Genes(Stage):
    """Embed the genes of a network, so that genes that act alike are near each other.

    A graph autoencoder learns from the links of the interactome, and optionally from features and
    labels of its genes; several seeds train and are joined, and their agreement is reported beside
    baselines that need no training. With labels, one more embedding is made for every labelled
    gene without its label, for predictions that leave the gene out. 'settings: published' with
    'seeds: 1' is the training of Image2Reg (Paysan et al., Cell Systems 2025).
    """

    stage: Literal["genes"] = "genes"
    method: Literal["autoencoder", "spectral", "node2vec", "import"] = Field(
        "autoencoder",
        description="Train, or take a baseline of the links alone, or 'import' 'embeddings'",
    )
    network: str = Field(
        "",
        description="GraphML file of the network (default: that of the stage before)",
        json_schema_extra=PATH,
    )
    embeddings: str = Field(
        "", description="Table with gene and numbers, for 'import'", json_schema_extra=PATH
    )
    features: str = Field(
        "",
        description="Table of features: gene and numbers, such as expression per cell",
        json_schema_extra=PATH,
    )
    feature_sets: str = Field(
        "",
        description="GMT file whose gene sets are features, such as Hallmark",
        json_schema_extra=PATH,
    )
    feature_components: int = Field(
        64, ge=1, description="Principal components of the features that are used"
    )
    settings: Literal["compact", "published"] = Field(
        "compact", description="Widths and training of the autoencoder"
    )
    edge_weight: float = Field(1.0, ge=0, description="Weight of the loss of links")
    feature_weight: float = Field(0.0, ge=0, description="Weight of the loss of features")
    class_weight: float = Field(1.0, ge=0, description="Weight of the loss of labels")
    labels: Labels = Field(
        "none",
        description="Labels to learn: none, those of a 'file', or 'clusters' of perturbation "
        "vectors, made without the gene that is held out",
    )
    label_source: str = Field(
        "",
        description="Table: gene and label for 'file', gene and numbers for 'clusters' (default "
        "there: the embeddings of the embed stage)",
        json_schema_extra=PATH,
    )
    label_stage: str = Field(
        "",
        description="Name of the embed stage whose embeddings are clustered where there is no "
        "'label_source' (default: the one in 'needs')",
    )
    held_out_labels: Literal["masked", "published"] = Field(
        "masked",
        description="Whether a gene that is held out keeps its label: 'masked' makes an embedding "
        "without it for every labelled gene; 'published' leaves it, as the publication does with "
        "labels of the Connectivity Map, which leaks: 'map' then gives no p-values",
    )
    label_clusters: int = Field(10, ge=2, description="Clusters that labels are made of")
    label_distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Distance of the vectors that 'clusters' are made of: as "
        "published 'euclidean' for embeddings of images, 'cosine' for expression signatures",
    )  # fmt: skip
    seeds: int = Field(5, ge=1, le=50, description="Trainings from different starts")
    clusters: int = Field(
        0, ge=0, description="Clusters of genes to report; 0 takes the best silhouette"
    )
    gene_sets: tuple[str, ...] = Field(
        (), description="GMT files to look for in clusters", json_schema_extra=PATH
    )
    seed: int = Field(0, ge=0, description="First seed (default: the pipeline's)")
    symbols: str = Field(
        "", description="What genes of a 'network' or 'embeddings' of your own are called, a table "
        "as for 'interactome'", json_schema_extra=PATH,
    )  # fmt: skip

    outputs: ClassVar[tuple[Output, ...]] = GENES
    added_later: ClassVar[tuple[str, ...]] = ("symbols", "label_distance")
    version: ClassVar[int] = 5
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"interactome": False}
    layout_columns: ClassVar[tuple[str, ...]] = ("gene", "role")

    # ------------------------------------------------------------------ inputs

    @property
    def _clusters_wells(self) -> bool:
        """Whether labels are clusters of an embed stage's perturbations."""
        return self.labels == "clusters" and not self.label_source

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """The network where none is given, and the embeddings that are clustered."""
        network = {} if self.network or self.method == "import" else {"interactome": False}
        return {**network, **({"embed": False} if self._clusters_wells else {})}

    @property
    def embed_stage(self) -> str:
        """The name of the embed stage whose clusters are labels; empty for none."""
        return (self.label_stage or self.upstream_title("embed")) if self._clusters_wells else ""

    @property
    def network_stage(self) -> str:
        """The name of the stage that made the network; empty where a file is given."""
        return "" if self.network else self.upstream_title("interactome")

    @property
    def needs_torch(self) -> bool:
        """Whether it trains a network; the other methods are algebra."""
        return self.method == "autoencoder"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse options that lack their file, and files that can't be read."""
        where = f"stage {self.title!r}"
        problems = []
        if self.method == "import" and not self.embeddings:
            problems.append(f"{where}: method 'import' without a file. Set 'embeddings'.")
        if self.method != "import" and not self.network and not self.network_stage:
            problems.append(
                f"{where}: no network. Add a stage 'interactome' before it, or set 'network'."
            )
        if self.symbols and self.method != "import" and self.network_stage:
            problems.append(
                f"{where}: 'symbols' with the network of {self.network_stage!r}. Set them there."
            )
        if self.labels != "none" and not self.label_source and not self.embed_stage:
            problems.append(
                f"{where}: labels {self.labels!r} without a source. Set 'label_source'"
                + (", or put a stage 'embed' before it." if self.labels == "clusters" else ".")
            )
        if self.label_stage and self.label_stage not in self.needs:
            problems.append(
                f"{where}: 'label_stage' is {self.label_stage!r}, expected one of 'needs' "
                f"({', '.join(self.needs) or 'none'}). Add it there."
            )
        checks = [(read_network, self.network), (read_spaces, self.embeddings)]
        checks += [(read_vectors, self.features), (read_gene_sets, self.feature_sets)]
        checks += [(read_gene_sets, url) for url in self.gene_sets] + [(read_symbols, self.symbols)]
        reader = read_labels if self.labels == "file" else read_spaces
        checks.append((reader, self.label_source if self.labels != "none" else ""))
        for read, url in checks:
            if url:
                try:
                    read(url)
                except I2RError as error:
                    problems.append(f"{where}: {error}")
        return problems

    def whole_layout(self, experiment: Experiment) -> object:
        """Wells matter only where labels are clusters of their embeddings."""
        return super().whole_layout(experiment) if self.embed_stage else []

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the files."""
        given = (self.network, self.embeddings, self.features, self.feature_sets)
        more = [self.symbols] if self.symbols else []
        return digest_files(*given, self.label_source, *self.gene_sets, *more)

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per seed; one in all where nothing is random.

        With published settings also one per gene that is left out, for these trainings are long
        and gain nothing from each other.
        """
        count = self.seeds if self.method == "autoencoder" else 1
        seeds = [f"seed-{self.seed + i}" for i in range(count)]
        if not self._trains_apart:
            return seeds
        genes = self._list_labelled(experiment)
        return [*seeds, *(f"{seed}/without-{gene}" for seed in seeds for gene in genes)]

    @property
    def _trains_apart(self) -> bool:
        """Whether every gene that is left out is a unit of its own."""
        return (
            self.method == "autoencoder" and self.settings == "published"
            and self.labels != "none" and self.held_out_labels == "masked"
        )  # fmt: skip

    def _list_labelled(self, experiment: Experiment) -> list[str]:
        """List the genes that may have a label, by the names that their source has."""
        if self.labels == "file":
            return sorted(read_labels(self.label_source)) if self.label_source else []
        if self.label_source:
            spaces = read_spaces(self.label_source)
            return next(iter(spaces.values())).genes
        return sorted(set(signatures.name_treated_wells(experiment).values()))

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
        """Everything of the stages before."""
        return

    # ------------------------------------------------------------------ units

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train or compute the embeddings of one seed, or of one without a gene."""
        stage, before = self.embed_stage, self.network_stage
        wells = signatures.list_treated_wells(experiment, stage) if stage else None
        seed, _, without = key.partition("/without-")
        return delayed(embed_seed)(
            self.model_dump(exclude={"needs", "name", "stage"}),
            network_url=self.network or (experiment.network_url(before) if before else ""),
            naming=self._find_names(experiment),
            wells=wells,
            seed=int(seed.removeprefix("seed-")),
            without=without if without or self._trains_apart else None,
            urls={name: experiment.part_url(self.title + name, key) for name in PARTS},
        )

    def _find_names(self, experiment: Experiment) -> Naming:
        """Say where what the network's genes are called is from."""
        stage = self.network_stage
        vocabulary = experiment.table_url(f"{stage}-vocabulary") if stage else ""
        return Naming(vocabulary, self.symbols, self.network, self.embeddings)

    def _find_pruned(self, experiment: Experiment) -> str:
        """Say where the genes are that the network was chosen from; '' where none was chosen."""
        stage = self.network_stage if self.method != "import" else ""
        url = experiment.table_url(f"{stage}-pruned") if stage else ""
        return url if url and files.exists(url) else ""

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Join the seeds, cluster the genes, look for gene sets, and compare the seeds."""
        lost = sorted(set(self.keys(experiment)) - set(keys))
        if lost:
            raise I2RError(
                f"stage {self.title!r}: {len(lost)} of {len(lost) + len(keys)} embeddings are not "
                f"done, such as {lost[0]}: maps would judge its gene with its label. See "
                "'i2r errors'."
            )
        seeds = sorted({int(key.partition("/")[0].removeprefix("seed-")) for key in keys})
        by_seed = [[k for k in self.keys(experiment) if k.partition("/")[0] == f"seed-{s}"]
                   for s in seeds]  # fmt: skip
        return delayed(write_genes)(
            {n: [[experiment.part_url(self.title + n, k) for k in own] for own in by_seed]
             for n in PARTS},
            seeds=seeds,
            number=self.clusters,
            leaks=self.held_out_labels == "published",
            gene_sets=list(self.gene_sets),
            naming=self._find_names(experiment),
            pruned=self._find_pruned(experiment),
            urls={name: experiment.table_url(self.title + name) for name in TABLES},
        )  # fmt: skip

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """As the estimate of a unit, which holds the distances of every two genes."""
        return self.peak_bytes(experiment, FINISH)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Torch with the stacked models, or at the end the distances of every two genes."""
        trained = 2**31 if self.settings == "published" else 2**30
        return max(trained, BASE_BYTES + PER_PAIR * self._count_genes(experiment) ** 2)

    def _count_genes(self, experiment: Experiment) -> int:
        """Count the genes of the network, as far as it is there; of embeddings of the user's."""
        if self.method == "import":
            spaces = read_spaces(self.embeddings) if self.embeddings else {}
            return max((len(space.genes) for space in spaces.values()), default=0)
        stage = self.network_stage
        url = self.network or (experiment.network_url(stage) if stage else "")
        return count_nodes(url) if url else 0
