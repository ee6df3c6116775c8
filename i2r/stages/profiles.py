"""Average features or embeddings by well, condition or gene, on the scale of the controls."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.stages.base import WHOLE, Stage
from i2r.stages.counts import count_columns
from i2r.stages.outputs import Output
from i2r.stages.written.images import PROFILES
from i2r.store import tables
from i2r.store.experiment import Experiment, open_experiment


class Profiles(Stage):
    """Average features or embeddings over nuclei, and write one table of profiles.

    Values are relative to the negative-control wells of each plate: less their mean, over their
    standard deviation ('standardise'), by median and median absolute deviation ('robust'), or
    standardised and then turned so that the controls' covariance is the identity ('sphering').
    The same from Python: experiment.profiles(by="condition").
    """

    stage: Literal["profiles"] = "profiles"
    by: Literal["well", "condition", "gene"] = Field("well", description="What a row is")
    aggregate: Literal["mean", "median"] = Field("mean", description="Nuclei to wells")
    normalise: Literal["none", "standardise", "robust", "sphering"] = Field(
        "standardise", description="Scale: that of the control wells of each plate"
    )

    outputs: ClassVar[tuple[Output, ...]] = PROFILES
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"features": False, "embed": False}
    layout_columns: ClassVar[tuple[str, ...]] = (
        "perturbation", "gene", "dose", "replicate", "role",
    )  # fmt: skip

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit: the whole experiment."""
        return [WHOLE]

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a pipeline without features or embeddings."""
        if self.upstream_title("features", "embed"):
            return []
        return [
            f"stage {self.title!r}: needs a stage 'features' or 'embed' before it. Add one, or "
            "name it in 'needs'."
        ]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Average all wells and write the table."""
        return delayed(write_profiles)(
            experiment.url, experiment.part_url(self.title, key),
            source=self.upstream_title("features") or self.upstream_title("embed"),
            by=self.by, aggregate=self.aggregate, normalise=self.normalise,
        )  # fmt: skip

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """One well's nuclei, and a row for each well, in six copies at most."""
        features, wells = self.upstream_title("features"), experiment.well_keys
        columns = 128 if features else 1024
        if features and wells:
            columns = count_columns(experiment, features, wells[0], usual=columns)
        return 2**28 + 6 * 8 * columns * len(wells)


def write_profiles(url: str, part_url: str, *, source: str, **options: Any) -> dict[str, Any]:
    """Write the profiles of an experiment as one table."""
    table = open_experiment(url).profiles(source=source, **options)
    return {"bytes_out": tables.write_table(part_url, table)}
