"""Rankings as the report shows them: scores, their null, and how the screen was set up."""

import math
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
    compared: str
    crop: StageRecord | None
    ranking: pd.DataFrame
    folds: Mapping[str, list[float]]
    null: pd.Series
    statistics: Mapping[str, Any]
    left_out: pd.DataFrame

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
        shown = self.conditions
        is_one_row = bool((shown["n_nuclei"] == shown["n_wells"]).all())
        if is_one_row and shown["p_value"].notna().any() and not shown["score"].notna().any():
            return "Wells have one row each: their profiles are tested, and nothing has a score."
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
    def p_value_words(self) -> str:
        """Describe how p-values came about, and what was called, in sentences."""
        how = self.statistics
        called = int(self.conditions["impactful"].sum())
        known = self.conditions["p_value"].notna()
        n, rule = len(self.conditions), how["impactful"]
        words = f"{called} of {n} conditions are impactful ({rule}). "
        if not known.any():
            return words + "There are no p-values; the notes in the table say why."
        apart = (
            ", of positive controls apart"
            if {"treated", "positive_control"} <= set(self.conditions["kind"])
            else ""
        )
        single = (
            f"A single finding among {how['n_tests']} needs {how['needed']:.2g}. FDR: "
            f"{'Benjamini-Hochberg' if how['method'] == 'fast' else 'Benjamini-Yekutieli'}{apart}."
        )
        if how["method"] == "fast":
            freedom = how.get("freedom", math.nan)
            return (
                f"{words}p-values test the mean profiles of a condition's wells against the "
                f"controls of their plates. The null is {how['n_draws']} draws of noise: what "
                "replicates and control wells differ by, put together as the condition's wells "
                f"are ({freedom:.0f} degrees of freedom). They do not depend on the scores, so a "
                "condition can be called for a change that few single nuclei show. 'owed to' says "
                "what a call comes from: 'count', 'focus' or 'dna' where the number of nuclei, the "
                "focus of the fields or the DNA content alone explains it, 'own' where none does. "
                f"{single}"
            )
        known = how.get("freedom", math.nan)
        freedom = "" if math.isnan(known) else f": {known:.0f} degrees of freedom"
        shapes = (
            f"Conditions lie on their plates in {how['n_shapes']} ways (by positions and wells), "
            "each with sets of its own; numbers are those of the commonest. "
            if how["n_shapes"] > 1
            else ""
        )
        return words + (
            f"{shapes}p-values are those of the score. The null is {how['n_draws']} sets of "
            "control wells that sit on the plates like the conditions (of which "
            f"{how['n_independent']} could have no well in common) and the conditions that score "
            f"below chance{freedom}. 'owed to' says what a call comes from: 'count' or 'focus' "
            "where other conditions with as few nuclei, or as blurred, score as high, 'own' where "
            f"they do not. {single}"
        )

    @property
    def cautions(self) -> list[str]:
        """What readers have to know of the splits."""
        found = []
        if teacher := self.statistics.get("teacher"):
            found.append(
                f"LEAKING EMBEDDINGS: '{teacher}' trained the encoder on wells of this screen and "
                "what is in them. Scores are too high and p-values too small."
            )
        if self.statistics["is_leaking"] and (not teacher or self.statistics["group"] == "field"):
            found.append(
                "LEAKING SPLIT: fields are held out, as published, so every well is in training "
                "and in test. Scores are too high; p-values compare them with sets that leak alike."
            )
        if self.statistics["layout_repeats"]:
            how = (
                "p-values allow for what control positions, and those of other conditions, do on "
                "all plates."
                if self.statistics["method"] == "fast"
                else "Sets of control wells repeat their positions too, so p-values allow for it "
                "as far as controls lie where conditions do."
            )
            found.append(
                "The plates repeat one layout: a condition can't be told from its position by its "
                f"score. {how}"
            )
        if warning := self.statistics.get("warning"):
            found.append(str(warning))
        return found

    @property
    def setup(self) -> str:
        """Describe the screen's input in a line."""
        options: Mapping[str, Any] = self.stage.options
        method = options.get("method")
        words = {
            "fast": f"linear heads on {self.compared}",
            "published": f"the published ResNets on {options.get('view')}",
        }
        parts = [words.get(str(method), "networks on crops")]
        if options.get("split_by", "well") != "well":
            parts.append(f"split by {options['split_by']}")
        if method == "fast":
            return "; ".join(parts)
        if options.get("channels"):
            parts.append("channels " + ", ".join(map(str, options["channels"])))
        if self.crop is not None:
            mask = {True: ", masked", False: ", not masked"}.get(
                self.crop.options.get("mask", ""), ""
            )
            parts.append(f"crops of '{self.crop.title}'{mask}")
        if options.get("scale"):
            scale = "nucleus" if method == "published" else options["scale"]
            parts.append(f"scaled per {scale}")
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
        statistics = source.reduced_table(stage.title, f"{stage.title}-statistics")
        left_out = source.reduced_table(stage.title, f"{stage.title}-left-out")
        if statistics is None or left_out is None:
            continue
        verbs = {other.title: other.verb for other in source.stages}
        compared = [name for name in stage.needs if verbs.get(name) != "quality"][-1:]
        found.append(
            ScreenResult(
                stage, ", ".join(compared), source.upstream(stage, "crop"), ranking, folds, null,
                statistics.iloc[0].to_dict(), left_out,
            )
        )  # fmt: skip
    return found
