"""Rankings as the report shows them: scores, their null, and how the screen was set up."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from i2r.report.html import score
from i2r.report.source import ReportSource, StageRecord

# From this many draws on the null range is 2.5 % to 97.5 %, below it is lowest to highest.
DRAWS_FOR_PERCENTILES = 40
# With fewer draws their range says little.
FEW_DRAWS = 20


class ScreenResult(NamedTuple):
    """What one screen found."""

    stage: StageRecord
    crop: StageRecord | None
    ranking: pd.DataFrame
    folds: Mapping[str, list[float]]
    null: pd.Series

    @property
    def conditions(self) -> pd.DataFrame:
        """The ranking without draws of control wells, best first, those without score last."""
        return self.ranking[self.ranking["kind"] != "control_draw"]

    @property
    def null_range(self) -> tuple[float, float] | None:
        """The range of scores of draws of control wells; None for fewer than two."""
        if len(self.null) < 2:
            return None
        tail = 0.025 if len(self.null) >= DRAWS_FOR_PERCENTILES else 0.0
        return float(self.null.quantile(tail)), float(self.null.quantile(1 - tail))

    @property
    def null_words(self) -> str:
        """Describe the null in a sentence."""
        found = self.null_range
        if found is None:
            return "There are too few draws of control wells to say which scores mean nothing."
        tail = "2.5 to 97.5 %" if len(self.null) >= DRAWS_FOR_PERCENTILES else "lowest to highest"
        caution = " So few draws give a rough range only." if len(self.null) < FEW_DRAWS else ""
        return (
            f"{len(self.null)} draws of negative-control wells, scored alike against the other "
            f"negative controls, give {score(found[0])} to {score(found[1])} ({tail}; mean "
            f"{score(float(self.null.mean()))}).{caution}"
        )

    @property
    def setup(self) -> str:
        """Describe the screen's input in a line."""
        options: Mapping[str, Any] = self.stage.options
        parts = []
        if options.get("channels"):
            parts.append("channels " + ", ".join(map(str, options["channels"])))
        if self.crop is not None:
            mask = {True: ", masked", False: ", not masked"}.get(
                self.crop.options.get("mask", ""), ""
            )
            parts.append(f"crops of '{self.crop.title}'{mask}")
        if options.get("scale"):
            parts.append(f"scaled per {options['scale']}")
        return "; ".join(parts)


def list_screens(source: ReportSource) -> list[ScreenResult]:
    """Read the rankings of all screens that are complete, in the order of the pipeline."""
    found = []
    for stage in source.stages_of("screen"):
        ranking = source.reduced_table(stage.title, stage.title)
        if ranking is None:
            continue
        scores = source.reduced_table(stage.title, f"{stage.title}-scores")
        folds: dict[str, list[float]] = {}
        if scores is not None:
            known = scores.dropna(subset=["balanced_accuracy"])
            for condition, values in known.groupby("condition")["balanced_accuracy"]:
                folds[str(condition)] = values.tolist()
        null = ranking.loc[ranking["kind"] == "control_draw", "score"].dropna()
        found.append(ScreenResult(stage, source.upstream(stage, "crop"), ranking, folds, null))
    return found
