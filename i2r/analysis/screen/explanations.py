"""What a change may be owed to: the number of nuclei, the focus, the DNA content, or itself."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels.conditions import Changes, Wells, compare_conditions, explain_by
from i2r.kernels.statistics import adjust_pvalues
from i2r.store import files, tables

Floats = npt.NDArray[np.float64]

EXPLANATIONS = ("count", "focus", "dna")
"""What may explain a change, in the order in which they are believed: fewer nuclei change focus and
DNA content along with them, and a blurred field changes what is measured of DNA."""

NOT_CALLED = 0.05
"""False discovery rate, or p-value of a measure, above which nothing is called."""

STILL_CALLED = 0.02
"""A profile's call whose false discovery rate is above this without a measure is owed to it: what
a measure explains is known with an error, and a little of it is left."""

STRICT = 0.01
"""Without places taken out a p-value below this would have been taken seriously."""

# Names of channels that show nuclei.
_NUCLEAR = re.compile(r"dna|dapi|hoechst|draq|nuc|h2b|chromatin|h33342", re.IGNORECASE)
# Integrated intensities as i2r ("sum_DNA") and CellProfiler name them.
_INTEGRATED = re.compile(r"^sum_|(^|_)integratedintensity_", re.IGNORECASE)
# Focus as CellProfiler's MeasureImageQuality names it, the most telling first.
_SHARPNESS = ("imagequality_powerloglogslope_", "imagequality_focusscore_")


class Measure(NamedTuple):
    """A number per well that may explain what its profile changes by.

    Attributes
    ----------
    values : (well,) float64
        NaN where it is not known.
    variances : (well,) float64
        Of the well's nuclei, 0 where it is no mean of nuclei.
    """

    values: Floats
    variances: Floats


class Explanation(NamedTuple):
    """What one measure says of every condition.

    Attributes
    ----------
    left : (condition,) float64
        p-value of the change with what the measure explains taken out.
    alone : Changes
        Of the measure itself.
    """

    left: Floats
    alone: Changes


def find_dna_channel(channels: Sequence[str]) -> str:
    """Name the channel that shows nuclei: by its name, or the only one; else empty."""
    found = [name for name in channels if _NUCLEAR.search(name)]
    return found[0] if found else channels[0] if len(channels) == 1 else ""


def find_dna_content(names: Sequence[str]) -> int:
    """Give the number of the feature that is the integrated intensity of DNA; -1 for none.

    Of nuclei where the table also measures other objects.
    """
    found = [
        (not name.lower().startswith(("nuc", "sum_")), number)
        for number, name in enumerate(names)
        if (is_sum := _INTEGRATED.search(name)) and _NUCLEAR.search(name[is_sum.end() :])
    ]
    return min(found)[1] if found else -1


def find_focus(names: Sequence[str]) -> int:
    """Give the number of the feature that tells the focus of a well's DNA images; -1 for none."""
    for word in _SHARPNESS:
        for number, name in enumerate(names):
            before, is_there, channel = name.lower().partition(word)
            if is_there and before in ("", "image_") and _NUCLEAR.search(channel):
                return number
    return -1


def explain_changes(
    wells: Wells, measures: Mapping[str, Measure], *, tests_left: bool = True, borrows: bool,
    n_draws: int, seed: int | np.random.SeedSequence,
) -> dict[str, Explanation]:  # fmt: skip
    """Test all changes with each measure taken out, and the measures themselves.

    Parameters
    ----------
    wells
        All wells.
    measures
        By word: any of `EXPLANATIONS`. What the number of nuclei explains of the focus is taken
        out of it first: fields with few nuclei look blurred.
    tests_left
        Whether `wells` have profiles to test; else ``left`` is NaN.
    borrows, n_draws, seed
        See `compare_conditions`.
    """
    found = {}
    none = np.full(wells.n_conditions, np.nan)
    known = {w: _fill(m, wells) for w, m in measures.items() if np.isfinite(m.values).any()}
    for word in EXPLANATIONS:
        if word not in known:
            continue
        own = known[word]
        alone = wells._replace(means=own.values[:, None], variances=own.variances[:, None])
        if word == "focus" and "count" in known:
            means = alone.means - explain_by(alone, known["count"].values, seed=seed)
            alone = alone._replace(means=means)
        changes = compare_conditions(alone, borrows=borrows, n_draws=n_draws, seed=seed)
        left = none
        if tests_left:
            explained = explain_by(wells, alone.means[:, 0], seed=seed)
            rest = wells._replace(means=wells.means - explained)
            left = compare_conditions(rest, borrows=borrows, n_draws=n_draws, seed=seed).p_value
        found[word] = Explanation(left, changes)
    return found


def _fill(measure: Measure, wells: Wells) -> Measure:
    """Give wells without a value what the known ones of their plate have: they say nothing."""
    values = pd.Series(measure.values)
    typical = values.groupby(wells.plates).transform("median").fillna(values.median())
    variances = np.nan_to_num(measure.variances)
    return Measure(values.fillna(typical).to_numpy(dtype=np.float64), variances)


def describe_explanations(
    explained: Mapping[str, Explanation], n_conditions: int
) -> dict[str, Floats]:
    """Give the columns that tables have of explanations; NaN for what was not measured.

    Returns
    -------
    dict
        ``p_<word>``, ``<word>_change`` (of the count in doublings, else in standard deviations of
        control wells) and ``<word>_p`` for each of `EXPLANATIONS`.
    """
    columns = {}
    none = np.full(n_conditions, np.nan)
    for word in EXPLANATIONS:
        own = explained.get(word)
        columns[f"p_{word}"] = own.left if own else none
        columns[f"{word}_change"] = columns[f"{word}_p"] = none
        if own:
            deviation = float(own.alone.deviation[0])
            unit = np.log(2) if word == "count" else deviation if deviation > 0 else np.nan
            columns[f"{word}_change"] = own.alone.change[:, 0] / unit
            columns[f"{word}_p"] = own.alone.p_value
    return columns


def explain_conditions(
    tests: pd.DataFrame, *, depend: bool = False, strict: float = STRICT
) -> list[str]:
    """Say of every tested condition what its change may be owed to; empty for what is not called.

    A measure explains a change only where it has changed itself.

    Parameters
    ----------
    tests
        p_value, p_place, and what `describe_explanations` gives; measures may be lacking.
    depend
        Whether false discoveries are counted as Benjamini and Yekutieli do.
    strict
        p-value with places left in that would have been taken seriously.

    Returns
    -------
    list of str
        One of `EXPLANATIONS`, ``own``, or ``position`` for what would be called if places were not
        taken out.
    """
    p_value = tests["p_value"].to_numpy(dtype=np.float64)
    called = adjust_pvalues(p_value, depend=depend) < NOT_CALLED
    at_places = (tests["p_place"] < strict).to_numpy() & (p_value > NOT_CALLED)
    # What is taken off the scores of networks is widened by its error already.
    still = NOT_CALLED if depend else STILL_CALLED
    words = np.where(called, "own", np.where(at_places, "position", "")).astype(object)
    for word in reversed(EXPLANATIONS):
        if f"p_{word}" in tests:
            left = adjust_pvalues(tests[f"p_{word}"].to_numpy(dtype=np.float64), depend=depend)
            moved = (tests[f"{word}_p"] < NOT_CALLED).to_numpy()
            words[called & (left >= still) & moved] = word
    return [str(word) for word in words]


def read_focus(urls: Sequence[str]) -> npt.NDArray[np.float64]:
    """Give the focus of wells in the channel that shows nuclei.

    Other channels look sharper or blurred for what they stain.

    Parameters
    ----------
    urls
        Of each well's table of 'quality'.

    Returns
    -------
    ndarray, shape (well,)
        Mean logarithm over the fields that were not excluded; NaN where there is none.
    """
    found = np.full(len(urls), np.nan)
    for number, url in enumerate(urls):
        if not files.exists(url):
            continue
        table = tables.read_table(url, columns=["field", "channel", "focus", "reason"])
        left_out = table.loc[table["reason"] != "", "field"]
        channel = find_dna_channel(table["channel"].unique().tolist())
        used = (table["channel"] == channel) & ~table["field"].isin(left_out) & (table["focus"] > 0)
        if used.any():
            found[number] = np.log(table.loc[used, "focus"].to_numpy(dtype=np.float64)).mean()
    return found
