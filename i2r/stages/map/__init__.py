"""Map perturbation embeddings to regulatory embeddings, and judge that by genes left out."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.regulation import signatures
from i2r.analysis.regulation.feature_profiles import list_feature_wells
from i2r.errors import I2RError
from i2r.formats.gene_tables import digest_files
from i2r.formats.scales import check_signatures
from i2r.kernels import mapping
from i2r.stages.base import FINISH, Stage, seed_sequence
from i2r.stages.map.judgement import (
    Inputs,
    read_problem,
    write_left_out,
    write_map,
    write_null,
)
from i2r.stages.outputs import Output
from i2r.stages.written.regulation import MAP
from i2r.store.experiment import Experiment

LEFT_OUT = "left-out"
# Shuffled links of one unit: more units than that would spend their time on starting.
_DRAWS_PER_UNIT = 50
TABLES = ("", "-curves", "-scores", "-grid", "-nearest", "-hubs", "-places", "-coclustering",
          "-null", "-inputs", "-dropped")  # fmt: skip


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
        "signatures, or a .gctx file of the Connectivity Map (default: the embed stage's). A "
        "column 'held_out' names the gene that the encoder of a row never saw",
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
    published_inputs: Literal["raw", "unit"] = Field(
        "raw", description="Whether the published grid divides inputs by their length ('unit'), as "
        "it does for JUMP; predictions need none, since candidates have unit length",
    )  # fmt: skip
    hubs: Literal["keep", "correct"] = Field(
        "keep", description="Lower the scores of candidates that are near to every prediction"
    )
    permutations: int = Field(
        199, ge=0, description="Shuffled links for the null, at most: fewer where ten of them have "
        "reached what was found"
    )  # fmt: skip
    k_max: int = Field(50, ge=1, description="Largest k of the top-k curves")
    seed: int = Field(0, ge=0, description="Seed of shuffled links (default: the pipeline's)")

    # The table's content is looked at instead; a check changes no result.
    outputs: ClassVar[tuple[Output, ...]] = MAP
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"signature_info", "check_scale"})
    added_later: ClassVar[tuple[str, ...]] = ("published_inputs",)
    version: ClassVar[int] = 8
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"genes": True, "embed": False}
    layout_columns: ClassVar[tuple[str, ...]] = ("gene", "role")

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """The stage that its profiles are of."""
        return {"genes": True, self.profiles: False}

    @property
    def configurations(self) -> tuple[mapping.Configuration, ...]:
        """The configurations to choose from."""
        return mapping.GRID if self.grid == "chosen" else (mapping.PUBLISHED,)

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without perturbation embeddings, or with a table that can't be read."""
        if self.signatures or self.upstream_title(self.profiles):
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
            seen = signatures.read_seen(self.signatures, info=self.signature_info)
            if self.check_scale:
                check_signatures(seen.vectors.values, where=self.signatures)
        except I2RError as error:
            return [f"stage {self.title!r}: {error}"]
        return []

    def whole_layout(self, experiment: Experiment) -> object:
        """Wells matter only where their embeddings are used."""
        return [] if self.signatures else super().whole_layout(experiment)

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the table."""
        return digest_files(self.signatures, *filter(None, [self.signature_info]))

    def keys(self, experiment: Experiment) -> list[str]:
        """Genes left out, and blocks of shuffled links."""
        blocks = -(-self.permutations // _DRAWS_PER_UNIT)
        return [LEFT_OUT, *(f"shuffled-{block}" for block in range(blocks))]

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
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
                published_inputs=self.published_inputs,
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
        stage = self.upstream_title(self.profiles)
        return {"profiles": self.profiles, "stage": stage, "encoders": encoders}

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Compare with the null and write all tables."""
        shuffled = sorted((k for k in keys if k != LEFT_OUT), key=lambda k: int(k.split("-")[1]))
        return delayed(write_map)(
            {n: experiment.part_url(self.title + n, LEFT_OUT) for n in _PARTS},
            nulls=[experiment.part_url(f"{self.title}-null", key) for key in shuffled],
            k_max=self.k_max,
            seed=self.seed,
            regulatory=experiment.table_url(self.upstream_title("genes")),
            urls={name: experiment.table_url(self.title + name) for name in TABLES},
            complete=LEFT_OUT in keys,
        )

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """As its units: inner products of all held-out genes."""
        return self.peak_bytes(experiment, FINISH)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Regulatory embeddings of a few hundred held-out genes, and their inner products."""
        return 2**30


_PARTS = ("", "-methods", "-grid", "-nearest", "-hubs", "-places", "-coclustering", "-inputs",
          "-dropped")  # fmt: skip


def locate_inputs(experiment: Experiment, stage: Map) -> Inputs:
    """Say where the embeddings of both sides are."""
    genes, profiles = stage.upstream_title("genes"), stage.upstream_title(stage.profiles)
    urls = experiment.table_url(genes), experiment.table_url(f"{genes}-heldout"), stage.signatures
    more = experiment.table_url(f"{genes}-vocabulary"), stage.signature_info
    if stage.signatures:
        return Inputs(*urls, None, *more)
    if stage.profiles == "embed":
        return Inputs(*urls, signatures.list_treated_wells(experiment, profiles), *more)
    named = signatures.name_treated_wells(experiment)
    return Inputs(*urls, list_feature_wells(experiment, profiles, named), *more)
