"""Map perturbation embeddings to regulatory embeddings, and judge that by genes left out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError
from i2r.kernels import mapping
from i2r.kernels import selection as selecting
from i2r.lazy import gene_mapping as judging
from i2r.lazy import map_scores as scoring
from i2r.stages.base import Stage, seed_sequence
from i2r.store import signatures, tables
from i2r.store.experiment import Experiment
from i2r.store.feature_profiles import FeatureWells, average_features, list_feature_wells
from i2r.store.gene_inputs import translate_vectors
from i2r.store.gene_tables import digest_files, read_vectors
from i2r.store.scales import check_signatures
from i2r.store.vocabulary import read_vocabulary, translate

LEFT_OUT = "left-out"
# Shuffled links of one unit: more units than that would spend their time on starting.
_DRAWS_PER_UNIT = 50
TABLES = ("", "-curves", "-scores", "-grid", "-nearest", "-hubs", "-null", "-inputs", "-dropped")


class Inputs(NamedTuple):
    """Where the embeddings of both sides are.

    Attributes
    ----------
    regulatory, held_out
        Tables of regulatory embeddings.
    signatures
        The user's table of perturbation embeddings; empty for none.
    wells
        Wells with embeddings or features; None for the user's table.
    vocabulary
        Table of what genes are called, see `i2r.store.vocabulary`.
    signature_info
        The table of the signatures of a GCTX file; empty for none.
    """

    regulatory: str
    held_out: str
    signatures: str
    wells: signatures.TreatedWells | FeatureWells | None
    vocabulary: str
    signature_info: str


class Map(Stage):
    """Map perturbation embeddings to regulatory genes, and judge the map by genes left out.

    Kernel regression with the tangent kernel of a one-hidden-layer network and others learns from
    all genes but one where that one lies among the regulatory embeddings; every gene is left out
    in turn, and all genes of the network are ranked. Options are chosen without the gene (nested);
    results whose options were chosen on what is reported, as published, stand beside it and say so.
    Baselines and shuffled links show what ranks mean nothing. Where regulatory embeddings were
    made with labels, p-values are of ranks among the genes without one: labels may come from the
    same images, and would find themselves again.
    """

    stage: Literal["map"] = "map"
    signatures: str = Field(
        "",
        description="Table of perturbation embeddings, gene and numbers, such as expression "
        "signatures, or a .gctx file of the Connectivity Map (default: the embed stage's)",
        json_schema_extra={"path": True},
    )
    signature_info: str = Field(
        "",
        description="Of a .gctx file, the table of its signatures (sig_info), where the file "
        "itself does not name the perturbed genes",
        json_schema_extra={"path": True},
    )
    check_scale: bool = Field(
        True, description="Refuse 'signatures' that are counts or raw values, or number their rows"
    )
    profiles: Literal["embed", "features"] = Field(
        "embed",
        description="What perturbation embeddings are where there is no table: profiles of an "
        "embed stage, corrected if that stage corrects them, or means of chromatin features "
        "relative to the plate's controls",
    )
    grid: Literal["chosen", "plain"] = Field(
        "chosen",
        description="Choose kernel, scale and penalty for every gene without it, or take the "
        "published tangent kernel with penalty 1",
    )
    published_grid: bool | Literal["nested"] = Field(
        False,
        description="Also search the published configurations (1,440): true, chosen as published; "
        "nested, for every gene without it as well, which takes about as many times longer as "
        "there are genes",
    )
    published_neighbours: tuple[int, ...] = Field(
        (0, 10),
        min_length=1,
        description="Numbers of neighbours in the published grid, 720 configurations each; the "
        "publication's extension adds 38",
    )
    hubs: Literal["keep", "correct"] = Field(
        "keep", description="Lower the scores of candidates that are near to every prediction"
    )
    permutations: int = Field(199, ge=0, description="Shuffled links for the null")
    k_max: int = Field(50, ge=1, description="Largest k of the top-k curves")
    seed: int = Field(0, ge=0, description="Seed of shuffled links (default: the pipeline's)")

    # The table's content is looked at instead; a check changes no result.
    execution_only: ClassVar[frozenset[str]] = frozenset({"signature_info", "check_scale"})
    version: ClassVar[int] = 6
    reads: ClassVar[Mapping[str, bool]] = {"genes": True, "embed": False}
    layout_columns: ClassVar[tuple[str, ...]] = ("gene", "role")

    @property
    def wanted(self) -> Mapping[str, bool]:
        """The stage that its profiles are of."""
        return {"genes": True, self.profiles: False}

    @property
    def configurations(self) -> tuple[mapping.Configuration, ...]:
        """The configurations to choose from."""
        return mapping.GRID if self.grid == "chosen" else (mapping.PUBLISHED,)

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without perturbation embeddings, or with a table that can't be read."""
        if self.signatures or self.needed(self.profiles):
            return self.list_lacking("genes") + self._check_signatures()
        return [
            f"stage {self.title!r}: no perturbation embeddings. Add a stage {self.profiles!r} "
            "before it, or set 'signatures'."
        ]

    def _check_signatures(self) -> list[str]:
        """List what is wrong with the table of perturbation embeddings, if there is one."""
        if not self.signatures:
            return []
        try:
            vectors = read_vectors(self.signatures, info=self.signature_info)
            if self.check_scale:
                check_signatures(vectors.values, where=self.signatures)
        except I2RError as error:
            return [f"stage {self.title!r}: {error}"]
        return []

    def whole_layout(self, experiment: Experiment) -> object:
        """Wells matter only where their embeddings are used."""
        return [] if self.signatures else super().whole_layout(experiment)

    def outside(self, experiment: Experiment) -> object:
        """Give the content of the table."""
        return digest_files(self.signatures, *filter(None, [self.signature_info]))

    def keys(self, experiment: Experiment) -> list[str]:
        """Genes left out, and blocks of shuffled links."""
        blocks = -(-self.permutations // _DRAWS_PER_UNIT)
        return [LEFT_OUT, *(f"shuffled-{block}" for block in range(blocks))]

    def used_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
        """Everything of the stages before."""
        return

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Leave every gene out, or do so with shuffled links."""
        inputs = locate_inputs(experiment, self)
        problem = delayed(read_problem)(inputs)
        if key == LEFT_OUT:
            return delayed(write_left_out)(
                problem,
                configurations=self.configurations,
                correct=self.hubs == "correct",
                published_grid=self.published_grid,
                neighbours=self.published_neighbours,
                seed=self.seed,
                urls={n: experiment.part_url(self.title + n, key) for n in _PARTS},
                made_by=self._describe_inputs(inputs),
            )
        done = int(key.removeprefix("shuffled-")) * _DRAWS_PER_UNIT
        return delayed(write_null)(
            problem,
            configurations=self.configurations,
            correct=self.hubs == "correct",
            draws=min(_DRAWS_PER_UNIT, self.permutations - done),
            seed=seed_sequence(self.seed, "map", key),
            url=experiment.part_url(f"{self.title}-null", key),
        )

    def _describe_inputs(self, inputs: Inputs) -> dict[str, Any]:
        """Say what the map learns from, so that others can make the same of new images."""
        if inputs.wells is None:
            return {"profiles": "table", "stage": "", "encoders": {}}
        encoders = {}
        if isinstance(inputs.wells, signatures.TreatedWells):
            encoders = {"": next(iter(inputs.wells.encoders), ""), **inputs.wells.left_out}
        stage = self.needed(self.profiles)
        return {"profiles": self.profiles, "stage": stage, "encoders": encoders}

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Compare with the null and write all tables."""
        shuffled = sorted((k for k in keys if k != LEFT_OUT), key=lambda k: int(k.split("-")[1]))
        return delayed(write_map)(
            {n: experiment.part_url(self.title + n, LEFT_OUT) for n in _PARTS},
            nulls=[experiment.part_url(f"{self.title}-null", key) for key in shuffled],
            k_max=self.k_max,
            seed=self.seed,
            urls={name: experiment.table_url(self.title + name) for name in TABLES},
            complete=LEFT_OUT in keys,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Regulatory embeddings of a few hundred held-out genes, and their inner products."""
        return 2**30


_PARTS = ("", "-methods", "-grid", "-nearest", "-hubs", "-inputs", "-dropped")


def locate_inputs(experiment: Experiment, stage: Map) -> Inputs:
    """Say where the embeddings of both sides are."""
    genes, profiles = stage.needed("genes"), stage.needed(stage.profiles)
    urls = experiment.table_url(genes), experiment.table_url(f"{genes}-heldout"), stage.signatures
    more = experiment.table_url(f"{genes}-vocabulary"), stage.signature_info
    if stage.signatures:
        return Inputs(*urls, None, *more)
    if stage.profiles == "embed":
        return Inputs(*urls, signatures.list_treated_wells(experiment, profiles), *more)
    named = signatures.name_treated_wells(experiment)
    return Inputs(*urls, list_feature_wells(experiment, profiles, named), *more)


def read_problem(inputs: Inputs) -> judging.Problem:
    """Read both sides and match them by gene."""
    symbols = read_vocabulary(inputs.vocabulary)
    if inputs.wells is None:
        vectors = read_vectors(inputs.signatures, info=inputs.signature_info)
        seen = signatures.SeenVectors(translate_vectors(vectors, symbols))
    elif isinstance(inputs.wells, FeatureWells):
        names = tuple(translate(name, symbols) or name for name in inputs.wells.names)
        seen = signatures.SeenVectors(average_features(inputs.wells._replace(names=names)))
    else:
        seen = signatures.average_genes(signatures.translate_wells(inputs.wells, symbols))
    return judging.pose_problem(
        seen.vectors.genes,
        seen.vectors.values if seen.without is None else seen.without,
        tables.read_table(inputs.regulatory),
        tables.read_table(inputs.held_out),
        names=seen.vectors.names,
    )


def write_left_out(
    problem: judging.Problem,
    *,
    configurations: Sequence[mapping.Configuration],
    correct: bool,
    published_grid: judging.PublishedGrid,
    neighbours: Sequence[int],
    seed: int,
    urls: Mapping[str, str],
    made_by: Mapping[str, Any],
) -> dict[str, Any]:
    """Leave every gene out and write what became of it."""
    left_out = judging.leave_genes_out(
        problem, configurations, correct=correct, published_grid=published_grid,
        neighbours=neighbours, seed=seed,
    )  # fmt: skip
    methods = pd.DataFrame(
        [(name, selection) for name, (_, selection) in left_out.ranks.items()],
        columns=["method", "selection"],
    )
    hubs, found = judging.tabulate_hubs(problem, left_out.scores)
    tables.write_table(urls[""], judging.tabulate_genes(problem, left_out))
    tables.write_table(
        urls["-methods"],
        methods.assign(hub_skewness=found.skewness, hub_top_share=found.top_share),
    )
    tables.write_table(urls["-grid"], left_out.grid)
    tables.write_table(urls["-nearest"], judging.tabulate_nearest(problem, left_out.scores))
    tables.write_table(urls["-hubs"], hubs)
    dropped = pd.DataFrame(problem.dropped, columns=["gene", "reason"], dtype=str)
    tables.write_table(urls["-dropped"], dropped)
    rows = problem.x.reshape(-1, len(problem.names))
    inputs = pd.DataFrame(rows, columns=problem.names)
    # With an encoder for every gene, the inputs by each of them under each other.
    inputs.insert(0, "gene", problem.genes * (len(rows) // len(problem.genes)))
    # All that a prediction needs besides the regulatory embeddings.
    metadata = {"configurations": configurations, "correct": correct, **made_by}
    tables.write_table(urls["-inputs"], inputs, metadata=metadata)
    return {"genes": len(problem.genes)}


def write_null(
    problem: judging.Problem,
    *,
    configurations: Sequence[mapping.Configuration],
    correct: bool,
    draws: int,
    seed: np.random.SeedSequence,
    url: str,
) -> dict[str, Any]:
    """Write the ranks under shuffled links: draw, gene, rank."""
    arguments = configurations, mapping.invert_kernels(configurations, problem.x), problem.link
    options: dict[str, Any] = {"seed": seed, "draws": draws, "correct": correct}
    ranks = selecting.shuffle_links(*arguments, **options)
    draw, gene = (index.ravel() for index in np.indices(ranks.shape))
    table = pd.DataFrame(
        {"draw": draw, "gene": np.array(problem.genes)[gene], "rank": ranks.ravel()}
    )
    if problem.hidden is not None:
        fair = selecting.shuffle_links(*arguments, **options, hidden=problem.hidden)
        table["rank_unlabelled"] = fair.ravel()
    tables.write_table(url, table)
    return {"draws": draws}


def write_map(
    parts: Mapping[str, str],
    *,
    nulls: Sequence[str],
    k_max: int,
    seed: int,
    urls: Mapping[str, str],
    complete: bool,
) -> dict[str, Any]:
    """Write the tables of the stage."""
    if not complete:
        raise I2RError("map: the genes left out are not done. See 'i2r errors'.")
    genes, methods = tables.read_table(parts[""]), tables.read_table(parts["-methods"])
    drawn = [tables.read_table(url) for url in nulls]
    for before, block in pairwise(drawn):
        block["draw"] += int(before["draw"].max()) + 1
    null = tables.concatenate(drawn) if drawn else pd.DataFrame({"draw": [], "rank": []})
    shuffled = null["rank"].to_numpy(dtype=float).reshape(-1, len(genes))
    columns = ["rank", *(f"rank_{m.replace(' ', '_')}" for m in methods["method"][1:])]
    ranks = {
        str(method): (genes[column].to_numpy(dtype=float), str(selection))
        for column, method, selection in zip(
            columns, methods["method"], methods["selection"], strict=True
        )
    }
    n_candidates = int(genes["candidates"].iloc[0])
    unlabelled = None
    if "rank_unlabelled" in genes and drawn:
        unlabelled = scoring.Unlabelled(
            genes["rank_unlabelled"].to_numpy(dtype=float),
            null["rank_unlabelled"].to_numpy(dtype=float).reshape(-1, len(genes)),
            int(genes["candidates_unlabelled"].iloc[0]),
        )
    scores = scoring.tabulate_scores(
        ranks, shuffled, n_candidates, seed=seed, unlabelled=unlabelled
    )
    scores["hub_skewness"] = methods["hub_skewness"].where(methods["method"] == "map")
    tables.write_table(urls[""], genes)
    tables.write_table(
        urls["-curves"], scoring.tabulate_curves(ranks, shuffled, n_candidates, k_max)
    )
    tables.write_table(urls["-scores"], scores)
    tables.write_table(urls["-null"], null)
    for name in ("-grid", "-nearest", "-hubs", "-dropped"):
        tables.write_table(urls[name], tables.read_table(parts[name]))
    inputs, metadata = tables.read_table_with_metadata(parts["-inputs"])
    tables.write_table(urls["-inputs"], inputs, metadata=metadata)
    return {
        "genes": len(genes),
        "p": float(scores["p_permutation"].iloc[0]),
        "notes": note_losses(tables.read_table(parts["-dropped"])),
    }


def note_losses(dropped: pd.DataFrame) -> list[str]:
    """Say in a line for each reason which genes (gene, reason) have no part in the map."""
    return [
        f"genes left out, {reason} ({len(rows)}): {', '.join(rows['gene'].head(5))}"
        + (f" and {len(rows) - 5} others" if len(rows) > 5 else "")
        for reason, rows in dropped.groupby("reason", sort=False)
    ]
