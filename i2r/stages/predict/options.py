"""What all methods of 'predict' share: a map, candidates, and how queries are answered."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field, model_validator

from i2r.errors import I2RError
from i2r.formats.gene_tables import digest_files, read_vectors
from i2r.stages.base import FINISH, WHOLE, Stage, seed_sequence
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.predict.references import Reference
from i2r.stages.predict.worker import write_predictions
from i2r.stages.written.regulation import PREDICT
from i2r.store.experiment import Experiment

# Options that only the last unit uses: changing them embeds no picture anew.
OF_FINISH = ("candidates", "uncalled", "level", "alpha", "permutations", "top", "seed")
CONTROLS = "controls"


class Predict(ByMethod):
    """Predict which gene was perturbed, from new images or from embeddings.

    New images are a folder: pictures directly in it are one query, and so are those of every
    folder in it. They are segmented (or come with 'masks'), cropped and embedded, or measured,
    with the options that the map's own images were. Name images of untreated cells of the same
    plate in 'controls': without them a difference between plates looks like an effect. Other
    queries are the rows of the file 'queries' (columns 'query', optionally 'gene', and numbers as
    the map learned from), or else the perturbations of the experiment.

    Each query gets its genes ranked, with the calibrated probability that the true one is at a
    place or before it and the set that holds it with the probability 'level', or no answer: where
    the map finds left-out genes no better than shuffled links do, the genes that a query resembles
    do not agree, or the experiment's screen does not call the perturbation. A query of a gene that
    the map learned from, such as a folder with the name of one, is answered by a map without that
    gene.

    Example: i2r predict EXPERIMENT --images new/ --controls new-controls/, then i2r table
    EXPERIMENT predict, and predict-queries for one row per query.
    """

    stage: Literal["predict"] = "predict"
    method: Literal["experiment", "images", "queries"] = Field(
        "experiment",
        description="What is asked about: the experiment's perturbations, new images, or a table "
        "(default: by 'images' or 'queries', where one is given)",
    )
    candidates: str = Field(
        "",
        description="Table of features (gene and numbers) of genes of the network and of others: "
        "the others become candidates too",
        json_schema_extra={"path": True},
    )
    level: float = Field(0.9, gt=0, lt=1, description="Probability that a set holds the gene")
    alpha: float = Field(0.05, gt=0, lt=1, description="Abstain where a p-value is above this")
    permutations: int = Field(199, ge=19, description="Shuffled links for each query")
    top: int = Field(50, ge=1, description="Candidates listed per query")
    seed: int = Field(0, ge=0, description="Seed of shuffled links (default: the pipeline's)")

    outputs: ClassVar[tuple[Output, ...]] = PREDICT
    version: ClassVar[int] = 5
    upstream_verbs: ClassVar[Mapping[str, bool]] = {
        "map": True,
        "genes": True,
        "embed": False,
        "features": False,
    }
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "role", "dose")
    deciding: ClassVar[tuple[str, ...]] = ("method", "images", "queries")
    # Options say what is asked about, as they did before there were methods.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"method"})
    settled: ClassVar[dict[str, object]] = {
        "stage": "predict", "threads": 1, "images": "", "masks": "", "controls": "", "pages": {},
        "pixel_size_um": None, "illumination": "experiment", "queries": "", "by": "perturbation",
        "uncalled": "abstain", "candidates": "", "level": 0.9, "alpha": 0.05, "permutations": 199,
        "top": 50, "seed": 0,
    }  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        # Where no method is named, 'images' or 'queries' may be '' to say that they aren't meant.
        given = dict(values)
        for name in ("images", "queries") if "method" not in given else ():
            if not given.get(name) and name not in cls.model_fields:
                given.pop(name, None)
        return given

    @classmethod
    def choose(cls, values: Mapping[str, Any]) -> type[Stage]:
        """Give the class of the method; of none that is named, by what is asked about."""
        asked = [name for name in ("images", "queries") if values.get(name)]
        return super().choose({"method": (*asked, "experiment")[0], **values})

    @property
    def where(self) -> str:
        """What holds the queries."""
        return "the experiment"

    # ------------------------------------------------------------------ before a run

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without a map, or with candidates that can't be used."""
        problems = self.list_lacking("map", "genes")
        try:
            if self.candidates:
                read_vectors(self.candidates)
        except I2RError as error:
            problems.append(f"stage {self.title!r}: {error}")
        return problems

    def whole_layout(self, experiment: Experiment) -> object:
        """Give the content of the candidates, which matter to the last unit."""
        return [[], digest_files(self.candidates)]

    def describe_wells(self, experiment: Experiment) -> object:
        """Give the layout, for queries that are wells."""
        return super().whole_layout(experiment)

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the tables."""
        return [digest_files("", self.candidates), []]

    def fingerprint(self, experiment: Experiment, key: str, upstream: Mapping[str, str]) -> str:
        """Identify a unit's inputs; profiles don't depend on how they are answered."""
        if key == FINISH:
            return super().fingerprint(experiment, key, upstream)
        kind = type(self)
        defaults = {
            name: kind.model_fields[name].default for name in OF_FINISH if name in kind.model_fields
        }
        return Stage.fingerprint(self.model_copy(update=defaults), experiment, key, upstream)

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit for all queries."""
        return [WHOLE]

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
        """Everything of the stages before."""
        return

    # ------------------------------------------------------------------ units

    def has_controls(self) -> bool:
        """Tell whether there are control images."""
        return False

    def find_reference(self, experiment: Experiment) -> Reference | None:
        """Give what queries are compared with; None where that was done before."""
        return None

    def read_calls(self, experiment: Experiment) -> dict[str, bool]:
        """Read by query whether the screen calls its perturbation; empty without a screen."""
        return {}

    def list_silent(self, calls: Mapping[str, bool]) -> list[str]:
        """List the queries without an answer: their perturbations are not called."""
        return []

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Answer all queries."""
        map_stage, genes = self.upstream_title("map"), self.upstream_title("genes")
        parts = {key: experiment.part_url(f"{self.title}-profiles", key) for key in keys}
        controls = parts.pop(CONTROLS, "")
        if self.has_controls() and not controls:
            raise I2RError(f"{self.title}: the control images could not be used. See 'i2r errors'.")
        calls = self.read_calls(experiment)
        return delayed(write_predictions)(
            self.model_dump(include={"candidates", "level", "alpha", "permutations", "top"}),
            where=self.where,
            profiles=list(parts.values()),
            controls=controls,
            reference=self.find_reference(experiment),
            calls=calls,
            silent=self.list_silent(calls),
            sources={
                "inputs": experiment.table_url(f"{map_stage}-inputs"),
                "scores": experiment.table_url(f"{map_stage}-scores"),
                "regulatory": experiment.table_url(genes),
                "held_out": experiment.table_url(f"{genes}-heldout"),
                "vocabulary": experiment.table_url(f"{genes}-vocabulary"),
            },
            seed=seed_sequence(self.seed, "predict", WHOLE),
            urls=(
                experiment.table_url(self.title),
                experiment.table_url(f"{self.title}-queries"),
                experiment.table_url(f"{self.title}-curves"),
            ),
        )

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """All queries, and the inner products of the map."""
        return self.peak_bytes(experiment, FINISH)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """As the map, and the embeddings of one well or picture at a time."""
        return 2**30
