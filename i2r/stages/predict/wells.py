"""Queries that are the experiment's own perturbations, or wells."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.regulation import feature_profiles
from i2r.analysis.regulation.query_wells import QueryWells
from i2r.formats.gene_tables import digest_files
from i2r.stages.predict.options import Predict
from i2r.stages.predict.query_images import list_encoders
from i2r.stages.predict.worker import read_origin, write_profiles
from i2r.store.experiment import Experiment


class PredictWells(Predict):
    """Answer the experiment's perturbations, or its wells."""

    method: Literal["experiment"] = "experiment"
    by: Literal["perturbation", "well"] = Field(
        "perturbation", description="A query of the experiment is a perturbation, or a well"
    )
    uncalled: Literal["abstain", "answer"] = Field(
        "abstain",
        description="What to say of a perturbation that the experiment's screen does not call",
    )

    upstream_verbs: ClassVar[Mapping[str, bool]] = {**Predict.upstream_verbs, "screen": False}

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without profiles of the experiment."""
        problems = super().check(experiment)
        if not self.upstream_title("embed", "features"):
            problems.append(
                f"stage {self.title!r}: nothing to predict. Set 'images' or 'queries', or add a "
                "stage 'embed'."
            )
        return problems

    def whole_layout(self, experiment: Experiment) -> object:
        """Give the layout, and the content of the candidates."""
        return [self.describe_wells(experiment), digest_files(self.candidates)]

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the wells."""
        return [self.describe_wells(experiment), digest_files("")]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Take the profiles of all queries."""
        url = experiment.part_url(f"{self.title}-profiles", key)
        wells = self._list_wells(experiment, read_origin(experiment, self.upstream_title("map")))
        return delayed(write_profiles)("", wells, url=url)

    def read_calls(self, experiment: Experiment) -> dict[str, bool]:
        """Read by query whether the screen calls its perturbation; empty without a screen."""
        screen = self.upstream_title("screen")
        if not experiment.ledger.is_merged(screen):
            return {}
        ranking = experiment.table(screen).query("kind != 'control_draw'")
        called = dict(zip(ranking["condition"], ranking["impactful"].astype(bool), strict=True))
        layout = experiment.layout_by_key
        conditions = layout["condition"]
        return {
            name: called[conditions[key]]
            for key, name in self._name_wells(layout).items()
            if conditions[key] in called
        }

    def list_silent(self, calls: Mapping[str, bool]) -> list[str]:
        """List the queries without an answer: their perturbations are not called."""
        return [] if self.uncalled == "answer" else [q for q, called in calls.items() if not called]

    def _list_wells(self, experiment: Experiment, made_by: Mapping[str, Any]) -> QueryWells:
        """List the wells of the experiment that are asked about."""
        stage = made_by["stage"] or self.upstream_title("embed")
        layout = experiment.layout_by_key
        done = layout.index.isin(list(experiment.ledger.done_keys(stage)))
        asked = layout[layout["role"].isin(["treated", "positive_control"]) & done]
        by_key = self._name_wells(asked)
        genes = asked["gene"].fillna("").astype(str).str.upper()
        features = None
        if made_by["profiles"] == "features":
            features = feature_profiles.list_feature_wells(experiment, stage, by_key)
        return QueryWells(
            by_key,
            dict(zip(by_key.values(), genes, strict=True)),
            "" if features else experiment.table_url(stage),
            tuple(list_encoders(made_by)),
            features,
        )

    def _name_wells(self, wells: pd.DataFrame) -> dict[str, str]:
        """Name the query of every well, by unit key."""
        names = wells.index if self.by == "well" else wells["condition"]
        return {str(key): str(name) for key, name in zip(wells.index, names, strict=True)}
