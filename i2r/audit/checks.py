"""Questions that profiles are asked: each gives a verdict, a sentence, and what to do."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from i2r.analysis.screen.explanations import find_dna_content, find_focus
from i2r.audit.findings import CERTAIN, LEVEL, Finding, Verdict
from i2r.audit.screen import AuditScreen
from i2r.audit.wells import Wells
from i2r.errors import name_some
from i2r.kernels.leaks import (
    centre_groups,
    find_stray_wells,
    measure_covariate,
    measure_offset,
    measure_place,
)
from i2r.kernels.statistics import adjust_pvalues

Floats = npt.NDArray[np.float64]

# Share of the spread between wells that a leak explains. Less is noted: it is there, and small.
LARGE_SHARE = 0.1
# Standard deviations of a control well that the bulk of conditions may lie off.
LARGE_OFFSET = 0.6
# Spread of the logarithm of the plates' scales: a fifth more or less.
LARGE_SCALE = 0.2
# Share of stray wells.
MANY_STRAY = 0.01
# Times fewer nuclei than controls that make a mean of few.
FEW_NUCLEI = 2.0


def check_places(screen: AuditScreen, called: npt.NDArray[np.bool_]) -> Finding:
    """Ask whether the place on the plate shows in wells that should be alike."""
    own = screen.is_control | ~np.append(called, False)[screen.which]
    groups = screen.plates * 2 + screen.is_control
    values = centre_groups(screen.values[own], groups[own])
    found = measure_place(values, screen.rows[own], screen.columns[own], screen.plates[own])
    title = "Places on the plate"
    if np.isnan(found.p_value):
        words = (
            "No plate has 14 or more wells that should be alike, controls and conditions that are "
            "not called: too few to fit rows, columns and edges to."
        )
        return Finding("places", title, "open", words)
    strongest = [screen.names[i] for i in np.argsort(-found.shares)[:3]]
    numbers = {
        "share": found.share, "p_value": found.p_value,
        "strongest": {screen.names[i]: float(found.shares[i])
                      for i in np.argsort(-found.shares)[:10]},
    }  # fmt: skip
    if found.p_value > CERTAIN:
        words = (
            "Rows, columns and edges explain no more of the spread between wells than places given "
            f"out at random (p = {found.p_value:.2g})."
        )
        return Finding("places", title, "sound", words, numbers=numbers)
    words = (
        f"Rows, columns and edges explain {found.share:.0%} of the spread between wells that "
        f"should be alike (p = {found.p_value:.2g}), most of all {', '.join(strongest)}."
    )
    if found.share < LARGE_SHARE:
        return Finding("places", title, "noted", words, "Small; scattered controls allow for it.",
                       numbers)  # fmt: skip
    advice = (
        "Scatter controls over the plate and shuffle the layout between plates. Replicates at one "
        "place look alike for it: similarities and mAP of such replicates are too high."
    )
    return Finding("places", title, "leak", words, advice, numbers)


def check_controls(screen: AuditScreen) -> Finding:
    """Ask whether controls lie where most conditions do: in space, and in features."""
    title = "Controls beside conditions"
    found = measure_offset(screen.values, screen.which, screen.plates, screen.places)
    columns = _list_columns_of_controls(screen)
    apart = (
        f"Controls sit in columns {', '.join(map(str, columns))} only, where nothing is treated. "
        if columns
        else ""
    )
    if np.isnan(found.p_value):
        words = apart + "There are too few controls or conditions to compare their bulk with."
        return Finding("controls", title, "open", words, numbers={"columns": columns})
    largest = int(np.nanargmax(np.abs(found.offset)))
    size = float(np.abs(found.offset[largest]))
    numbers = {
        "p_value": found.p_value, "largest": size,
        "feature": screen.names[largest], "columns": columns,
        "mean": float(np.abs(found.offset).mean()),
    }  # fmt: skip
    words = (
        f"{apart}Most conditions differ from the controls in one way: by "
        f"{size:.2f} standard deviations of a control well in {numbers['feature']} "
        f"(p = {found.p_value:.2g})."
    )
    if found.p_value < CERTAIN and size >= LARGE_OFFSET:
        advice = (
            "Either place and treatment can't be told apart here, or most conditions share an "
            "effect, such as their solvent's. Compare with untreated wells among the treated ones, "
            "and don't trust p-values from these controls."
        )
        return Finding("controls", title, "leak", words, advice, numbers)
    if apart:
        words = (
            f"{apart}What their places do can't be told from what treatments do; the bulk of the "
            f"conditions gives no sign of it (p = {found.p_value:.2g})."
        )
        return Finding("controls", title, "open", words, "Scatter controls over the plate.",
                       numbers)  # fmt: skip
    if found.p_value < CERTAIN:
        return Finding("controls", title, "noted", words, "Small.", numbers)
    words = f"The bulk of the conditions lies where controls do (p = {found.p_value:.2g})."
    return Finding("controls", title, "sound", words, numbers=numbers)


def _list_columns_of_controls(screen: AuditScreen) -> list[int]:
    """List the columns that controls have to themselves; none where any is shared."""
    own = set(screen.columns[screen.is_control].tolist())
    others = set(screen.columns[~screen.is_control].tolist())
    return sorted(column + 1 for column in own) if others and not own & others else []


def check_plates(screen: AuditScreen, wells: Wells) -> Finding:
    """Ask how plates differ, and whether subtracting their controls removes it."""
    title = "Plates and batches"
    n_plates = len(screen.scales)
    if n_plates < 2:
        return Finding("plates", title, "sound", "There is one plate.")
    varies = (screen.scales > 0).all(axis=0)
    single = np.sqrt((screen.values[screen.is_control] ** 2).mean(axis=0))[varies]
    shifts, scales = screen.shifts[:, varies], screen.scales[:, varies]
    typical = np.exp(np.log(scales).mean(axis=0))
    shift = float(np.median(shifts.std(axis=0, ddof=1) / (typical * np.maximum(single, 1e-9))))
    n_controls = np.bincount(screen.plates[screen.is_control], minlength=n_plates)
    noise = 0.0
    if wells.is_per_well:
        noise = float((0.5 / np.maximum(n_controls - 1, 1)).mean())
    spread = np.log(scales).var(axis=0, ddof=1).mean() - noise
    scale = float(np.sqrt(max(spread, 0.0)))
    names = [str(n) for n in np.unique(wells.table["plate"].astype(str))]
    scatter = np.array(
        [np.sqrt((screen.values[screen.is_control & (screen.plates == p)] ** 2).mean())
         for p in range(n_plates)]
    )  # fmt: skip
    odd = [names[p] for p in np.flatnonzero(scatter > 2.5 * np.median(scatter))]
    typical_count = np.array([np.nanmedian(screen.counts[screen.plates == p])
                              if np.isfinite(screen.counts[screen.plates == p]).any() else np.nan
                              for p in range(n_plates)])  # fmt: skip
    poor = []
    if np.isfinite(typical_count).all():
        poor = [names[p] for p in np.flatnonzero(typical_count < 0.3 * np.median(typical_count))]
    numbers = {"shift": shift, "scale": scale, "noisy": odd, "few_nuclei": poor}
    words = (
        f"Plates' controls differ by {shift:.1f} standard deviations of a control well (median "
        f"over features), and their scales by {np.expm1(scale):.0%}."
    )
    advice = "Compare wells with controls of their own plate, as the p-values here do."
    if odd or poor:
        words += "".join(
            f" {what}: {', '.join(found)}."
            for what, found in (("Controls scatter far more on", odd), ("Few nuclei on", poor))
            if found
        )
        return Finding("plates", title, "leak", words, f"Look at these plates first. {advice}",
                       numbers)  # fmt: skip
    if scale > LARGE_SCALE:
        advice = (
            "Divide by the spread of each plate's controls too, or rank: one scale for all plates "
            f"makes the widest plates look like effects. {advice}"
        )
        return Finding("plates", title, "leak", words, advice, numbers)
    if shift > 1:
        return Finding("plates", title, "noted", words, advice, numbers)
    return Finding("plates", title, "sound", words, numbers=numbers)


def check_stray_wells(screen: AuditScreen, wells: Wells) -> Finding:
    """Ask whether some wells are unlike every well that should be like them."""
    title = "Stray wells"
    spread = screen.values[screen.is_control].std(axis=0)
    stray = find_stray_wells(screen.values / np.maximum(spread, 1e-9), screen.which, screen.plates)
    keys = (wells.table["plate"].astype(str) + "/" + wells.table["well"].astype(str)).to_numpy()
    listed = [str(key) for key in keys[stray]]
    numbers = {"share": float(stray.mean()), "wells": listed}
    if not listed:
        return Finding("stray_wells", title, "sound", "No well is far from all its replicates.")
    shown = name_some(listed, 6)
    words = f"{len(listed)} of {len(stray)} wells are far from all their replicates: {shown}."
    verdict: Verdict = "leak" if stray.mean() >= MANY_STRAY else "noted"
    advice = "Look at their images; leave them out where something went wrong."
    return Finding("stray_wells", title, verdict, words, advice, numbers)


def measure_counts(screen: AuditScreen) -> pd.DataFrame:
    """Compare the number of nuclei of every condition with the controls'.

    Returns
    -------
    DataFrame
        By condition: log2_count (against the plate's controls, geometric means), count_p; NaN
        where nuclei were not counted.
    """
    n = len(screen.conditions)
    if not np.isfinite(screen.counts).all() or np.ptp(screen.counts) == 0:
        return pd.DataFrame({"log2_count": np.full(n, np.nan), "count_p": np.full(n, np.nan)})
    logs = np.log2(np.maximum(screen.counts, 0.5))
    control, n_plates = screen.is_control, len(screen.scales)
    own = np.array([logs[control & (screen.plates == p)].mean() for p in range(n_plates)])
    change = logs - own[screen.plates]
    freedom = max(int(control.sum()) - n_plates, 1)
    sd = float(np.sqrt((change[control] ** 2).sum() / freedom))
    wells_of = np.bincount(screen.which[~control], minlength=n)
    mean = np.bincount(screen.which[~control], weights=change[~control], minlength=n) / wells_of
    error = max(sd, 1e-9) * np.sqrt(1 / wells_of + n_plates / control.sum())
    p_values = 2 * stats.t.sf(np.abs(mean) / error, freedom)
    return pd.DataFrame({"log2_count": mean, "count_p": p_values})


def check_counts(
    screen: AuditScreen, counts: pd.DataFrame, p_values: Floats, words_of: Mapping[int, str]
) -> Finding:
    """Ask which conditions change the number of nuclei, and what of their calls that explains."""
    title = "Numbers of nuclei"
    n = len(screen.conditions)
    if counts["count_p"].isna().all():
        if np.isfinite(screen.counts).all():
            words = "Every well has the same number of nuclei: they were chosen, not counted."
        else:
            words = "The table does not say how many nuclei a well has."
        advice = "Give one row per nucleus, or a column 'Metadata_Object_Count'."
        return Finding("counts", title, "open", words, advice)
    logs = np.log2(np.maximum(screen.counts, 0.5))
    moved = (counts["count_p"] < CERTAIN / n).to_numpy()
    few = moved & (counts["log2_count"] < -np.log2(FEW_NUCLEI)).to_numpy()
    crowding = measure_covariate(screen.values, logs, screen.plates * 2 + screen.is_control)
    explained = sorted(k for k, word in words_of.items() if word == "count")
    called = np.nan_to_num(adjust_pvalues(p_values), nan=1.0) < LEVEL
    numbers = {
        "changed": int(moved.sum()), "few": int(few.sum()), "crowding_share": crowding.share,
        "crowding_p": crowding.p_value, "called_and_changed": int((moved & called).sum()),
        "explained": [screen.conditions[k] for k in explained],
    }  # fmt: skip
    parts = [f"{int(moved.sum())} of {n} conditions change the number of nuclei"]
    if few.any():
        parts.append(f"{int(few.sum())} of them leave less than half")
    parts.append(f"{int((moved & called).sum())} of them are called by their features too")
    if explained:
        shown = name_some([screen.conditions[k] for k in explained])
        parts.append(f"{len(explained)} only because of the number ({shown})")
    if crowding.p_value <= CERTAIN:
        parts.append(f"the number explains {crowding.share:.0%} of the spread between wells")
    words = "; ".join(parts) + "."
    heavy = crowding.p_value <= CERTAIN and crowding.share >= LARGE_SHARE
    if explained or heavy or few.mean() >= 0.05:
        advice = (
            "Read the number of nuclei as a phenotype of its own, and test features given the "
            "number. A mean of few nuclei is uncertain: weigh wells by their nuclei."
        )
        return Finding("counts", title, "leak", words, advice, numbers)
    verdict: Verdict = "noted" if moved.any() or crowding.p_value <= CERTAIN else "sound"
    return Finding("counts", title, verdict, words, numbers=numbers)


def check_focus(screen: AuditScreen, words_of: Mapping[int, str]) -> Finding:
    """Ask which calls come from the focus or the DNA content of wells alone."""
    title = "Focus and DNA content"
    measured = {"focus": find_focus(screen.names) >= 0, "dna": find_dna_content(screen.names) >= 0}
    named = {
        word: [screen.conditions[k] for k, found in sorted(words_of.items()) if found == word]
        for word in measured
    }
    numbers = {"measured": measured, "explained": named}
    if not any(measured.values()):
        words = (
            "The table has neither the focus of images (ImageQuality_PowerLogLogSlope) nor the "
            "integrated intensity of DNA, so calls that come from either can't be told."
        )
        return Finding("focus", title, "open", words, numbers=numbers)
    names = {"focus": "focus", "dna": "DNA content"}
    parts = []
    for word, is_there in measured.items():
        shown = name_some(named[word])
        if not is_there:
            parts.append(f"the table does not tell the {names[word]}")
        elif named[word]:
            parts.append(f"{len(named[word])} calls come from the {names[word]} alone ({shown})")
        else:
            parts.append(f"no call comes from the {names[word]} alone")
    words = "; ".join(parts)
    words = f"{words[0].upper()}{words[1:]}."
    if named["focus"]:
        advice = "Look at their images, and leave out fields that are out of focus."
        return Finding("focus", title, "leak", words, advice, numbers)
    if named["dna"]:
        advice = "They stop or shift the cell cycle, or take the stain otherwise."
        return Finding("focus", title, "noted", words, advice, numbers)
    return Finding("focus", title, "sound", words, numbers=numbers)
