"""What the last unit of a screen writes: its ranking, and all that it came from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.analysis.screen.condition_blocks import TestedBlock, merge_blocks
from i2r.analysis.screen.condition_tests import TestedWells, run_measure_tests
from i2r.analysis.screen.contrasts import ScreenPlan
from i2r.analysis.screen.explanations import read_focus
from i2r.analysis.screen.gene_tests import rank_genes
from i2r.analysis.screen.held_out import Contrast, SplitBy
from i2r.analysis.screen.layouts import is_displaced
from i2r.analysis.screen.ranking import (
    CallRule,
    describe_statistics,
    rank_conditions,
    sum_calls,
    summarise_calls,
)
from i2r.errors import I2RError
from i2r.store import files, tables

COUNT_DRAWS = 2000
"""Of the null of the numbers of nuclei in screens by networks."""


AT_ONCE = 4000
"""Comparisons whose folds are listed at once: about a million rows."""

TESTED = ("-tests", "-features", "-wells", "-layout")
"""Tables of tests, one of each block of plates."""


def _read_tests(parts: Mapping[str, Sequence[str]]) -> TestedBlock:
    """Read what the units tested, and put it together."""
    blocks = []
    for urls in zip(*(parts[name] for name in TESTED), strict=True):
        if files.exists(urls[0]):
            blocks.append(TestedBlock(*map(tables.read_table, urls)))
    nothing = pd.DataFrame()
    return merge_blocks(blocks or [TestedBlock(nothing, nothing, nothing, nothing)])


def _read_calls(urls: Sequence[str], *, whole: bool) -> Iterator[pd.DataFrame]:
    """Read the calls of parts, each with `whole` conditions; else of all parts at once."""
    found = (tables.read_table(url) for url in urls if files.exists(url))
    if not whole:
        yield sum_calls(tables.concatenate(list(found)))
        return
    empty = True
    for part in found:
        if len(part) or empty:
            empty = False
            yield sum_calls(part)


def _list_folds(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """List what is held out in which fold."""
    return pd.DataFrame(
        [
            (c.condition, c.kind, *well.rsplit("/", 1), field, treated, fold)
            for c in contrasts
            for well, field, treated, fold in zip(
                c.keys, c.fields, c.is_treated, c.folds, strict=True
            )
        ],
        columns=["condition", "kind", "plate", "well", "field", "is_treated", "fold"],
    )


def write_ranking(
    parts: Mapping[str, Sequence[str]],
    *,
    described: pd.DataFrame,
    contrasts: Sequence[Contrast],
    plan: ScreenPlan,
    unused: Sequence[tuple[str, str, str]],
    teacher: str,
    counted: TestedWells | None,
    qualities: Sequence[str],
    count_seed: np.random.SeedSequence,
    rule: CallRule,
    method: str,
    split_by: SplitBy,
    title: str,
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Write the ranking, and all it came from.

    Networks see no profiles: counts, places and focus (of the tables `qualities`) are asked for
    beside their scores, of `counted`.
    """
    read = {
        name: tables.concatenate([tables.read_table(url) for url in given if files.exists(url)])
        for name, given in parts.items()
        if name != "-calls" and name not in TESTED
    }
    tested = _read_tests(parts)
    scores, tests, lies = read["-scores"], tested.tests, tested.layout
    is_tested = len(tests) > 0 and tests["p_value"].notna().any()
    if not scores["balanced_accuracy"].notna().any() and not is_tested:
        raise I2RError(
            "no perturbation could be scored: there are too few nuclei everywhere. Look at the "
            "table 'crop'."
        )
    summaries = []
    with tables.Parts(urls["-calls"]) as called:
        for part in _read_calls(parts["-calls"], whole=method == "fast"):
            summaries.append(summarise_calls(part))
            called.add(part)
    if counted is not None:
        counted = counted._replace(focus=read_focus(qualities) if qualities else None)
        tests, lies = run_measure_tests(counted, n_draws=COUNT_DRAWS, seed=count_seed)
    ranking = rank_conditions(
        scores, described, tables.concatenate(summaries), tests, rule=rule,
        n_independent=plan.n_independent,
        displaced=counted is not None and is_displaced(lies),
    )  # fmt: skip
    statistics = describe_statistics(
        ranking, lies, rule=rule, method=method, group=split_by,
        repeats=plan.repeats, n_independent=plan.n_independent, teacher=teacher,
    )  # fmt: skip
    lacking = pd.DataFrame(columns=["what", "where", "reason"], dtype=str)
    left_out = read["-left-out"] if len(read["-left-out"]) else lacking
    unscored = ranking[
        ranking["score"].isna() & ranking["p_value"].isna() & (ranking["kind"] != "control_draw")
    ]
    unscored = unscored[~unscored["condition"].isin(plan.notes)]
    notes = [
        *unused,
        *(
            ("condition", name, note)
            for name, note in [*plan.notes.items(), *unscored[["condition", "note"]].to_numpy()]
        ),
    ]
    noted = pd.DataFrame(notes, columns=["what", "where", "reason"], dtype=str)
    made = {
        "": ranking, "-scores": scores,
        "-statistics": statistics,
        **({"-features": tested.features} if len(tested.features) else {}),
        **({"-wells": tested.wells} if len(tested.wells) else {}),
        "-genes": rank_genes(ranking, tested.features),
        "-left-out": tables.concatenate([left_out, noted]).drop_duplicates(ignore_index=True),
    }  # fmt: skip
    with tables.Parts(urls["-folds"]) as folds:
        for first in range(0, max(len(contrasts), 1), AT_ONCE):
            folds.add(_list_folds(contrasts[first : first + AT_ONCE]))
    for name, table in made.items():
        tables.write_table(urls[name], table)
    said = []
    if not scores["balanced_accuracy"].notna().any():
        said.append(
            f"stage {title!r}: wells have one row each, so their profiles are tested, and "
            "no nuclei are held out: there are p-values and no scores."
        )
    if teacher:
        said.append(
            f"stage {title!r}: {teacher!r} trained the encoder on wells of this screen and "
            "what is in them, so scores are too high and p-values too small. Screen features, or "
            "embed with an encoder from elsewhere."
        )
    return {"notes": said} if said else {}
