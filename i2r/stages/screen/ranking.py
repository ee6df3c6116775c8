"""What the last unit of a screen writes: its ranking, and all that it came from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import I2RError
from i2r.lazy.condition_tests import TestedWells, is_displaced, run_count_tests
from i2r.lazy.contrasts import Group, ScreenPlan
from i2r.lazy.gene_tests import rank_genes
from i2r.lazy.ranking import CallRule, describe_statistics, rank_conditions, sum_calls
from i2r.store import files, tables

COUNT_DRAWS = 2000
"""Of the null of the numbers of nuclei in screens by networks."""


def write_ranking(
    parts: Mapping[str, Sequence[str]],
    *,
    described: pd.DataFrame,
    folds: pd.DataFrame,
    plan: ScreenPlan,
    unused: Sequence[tuple[str, str, str]],
    teacher: str,
    counted: TestedWells | None,
    count_seed: np.random.SeedSequence,
    rule: CallRule,
    method: str,
    split_by: Group,
    title: str,
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """Write the ranking, and all it came from.

    Networks see no profiles: counts and places are asked for beside their scores, of `counted`.
    """
    read = {
        name: tables.concatenate([tables.read_table(url) for url in given if files.exists(url)])
        for name, given in parts.items()
    }
    scores, tests, lies = read["-scores"], read["-tests"], read["-layout"]
    is_tested = len(tests) > 0 and tests["p_value"].notna().any()
    if not scores["balanced_accuracy"].notna().any() and not is_tested:
        raise I2RError(
            "no perturbation could be scored: there are too few nuclei everywhere. Look at the "
            "table 'crop'."
        )
    calls = sum_calls(read["-calls"])
    if counted is not None:
        tests, lies = run_count_tests(counted, n_draws=COUNT_DRAWS, seed=count_seed)
    ranking = rank_conditions(
        scores, described, calls, tests, rule=rule, n_independent=plan.n_independent,
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
        "": ranking, "-folds": folds, "-scores": scores, "-calls": calls,
        "-statistics": statistics,
        **{name: read[name] for name in ("-features", "-wells") if len(read[name])},
        "-genes": rank_genes(ranking, read["-features"]),
        "-left-out": tables.concatenate([left_out, noted]).drop_duplicates(ignore_index=True),
    }  # fmt: skip
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
