"""Screens of many plates in blocks: conditions are tested with the wells of their own plates.

A test looks at all wells at once, so its memory grows with them, and its time faster. A block knows
noise and places well enough; what a screen of a thousand plates adds is the number of tests, and
false discoveries are counted over all blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from i2r.analysis.screen.condition_tests import N_NAMED
from i2r.analysis.screen.explanations import EXPLANATIONS, explain_conditions
from i2r.analysis.screen.held_out import Contrast
from i2r.analysis.screen.layouts import warn_of_layout, warn_of_single_wells
from i2r.kernels.statistics import combine_pvalues

Indices = npt.NDArray[np.intp]

MAX_WELLS = 8192
"""Wells that are tested together: 21 plates of 384, and 100 MB for each copy of 85 features' means
and variances, noise and residuals."""

WIDE = 16
"""A condition on more plates may be tested in several blocks, and its p-values are combined."""


class Block(NamedTuple):
    """What is tested together.

    Attributes
    ----------
    wells
        Keys, in the screen's order: conditions, and the controls of all their plates.
    plates
        Theirs.
    conditions
        What they hold, without controls.
    comparisons
        Numbers of the comparisons that lie on these plates alone; each is in one block at most.
    """

    wells: tuple[str, ...]
    plates: tuple[str, ...]
    conditions: tuple[str, ...]
    comparisons: tuple[int, ...]


def plan_blocks(
    keys: Sequence[str], conditions: Sequence[str], contrasts: Sequence[Contrast]
) -> tuple[Block, ...]:
    """Cut a screen into blocks; one for all where its wells are few.

    Parameters
    ----------
    keys, conditions
        Of all wells in the screen's order: what they hold, "" for negative controls.
    contrasts
        All comparisons.
    """
    plates = [key.rpartition("/")[0] for key in keys]
    if len(keys) <= MAX_WELLS:
        held = tuple(dict.fromkeys(name for name in conditions if name))
        everything = tuple(range(len(contrasts)))
        return (Block(tuple(keys), tuple(dict.fromkeys(plates)), held, everything),)
    rows = cut_wells(plates, conditions)
    wells = [tuple(keys[row] for row in own) for own in rows]
    on = [tuple(dict.fromkeys(plates[row] for row in own)) for own in rows]
    holds = [
        tuple(dict.fromkeys(conditions[row] for row in own if conditions[row])) for own in rows
    ]
    blocks_of: dict[str, list[int]] = {}
    for number, names in enumerate(holds):
        for condition in names:
            blocks_of.setdefault(condition, []).append(number)
    blocks_on: dict[str, list[int]] = {}
    for number, names in enumerate(on):
        for plate in names:
            blocks_on.setdefault(plate, []).append(number)
    comparisons: list[list[int]] = [[] for _ in rows]
    for number, contrast in enumerate(contrasts):
        if contrast.kind == "control_draw":
            own_plates = {key.rpartition("/")[0] for key in contrast.treated_keys}
            found = sorted(set.intersection(*(set(blocks_on[p]) for p in own_plates)))[:1]
        else:
            found = blocks_of.get(contrast.condition, [])
        if len(found) == 1:
            comparisons[found[0]].append(number)
    return tuple(
        Block(own, names, held, tuple(chosen))
        for own, names, held, chosen in zip(wells, on, holds, comparisons, strict=True)
    )


def cut_wells(plates: Sequence[str], conditions: Sequence[str]) -> list[Indices]:
    """Cut wells into blocks: plates that share conditions stay together.

    Where all plates hang together, conditions go to blocks one after another, and take the controls
    of their plates with them, so that a control well may be in several blocks.

    Parameters
    ----------
    plates, conditions
        Of all wells; "" for negative controls.

    Returns
    -------
    list of (well,) intp
        The wells of each block. A condition that lies on `WIDE` plates or fewer is whole in one.
    """
    plate = pd.factorize(pd.Series(plates, dtype=object))[0].astype(np.intp)
    names = pd.Series(conditions, dtype=object)
    condition = np.where(names == "", -1, pd.factorize(names)[0]).astype(np.intp)
    pairs = np.unique(np.column_stack([condition, plate])[condition >= 0], axis=0)
    spread = np.bincount(pairs[:, 0], minlength=condition.max(initial=-1) + 1)
    is_wide = np.append(spread > WIDE, False)[condition] & (condition >= 0)
    narrow = pairs[spread[pairs[:, 0]] <= WIDE]
    n_plates, n_conditions = int(plate.max(initial=-1)) + 1, len(spread)
    edges = sparse.coo_array(
        (np.ones(len(narrow)), (narrow[:, 1], n_plates + narrow[:, 0])),
        shape=(n_plates + n_conditions,) * 2,
    )
    component = connected_components(edges, directed=False)[1][:n_plates][plate]
    # In the order of their first wells.
    component = pd.factorize(component)[0]
    order = np.argsort(component, kind="stable").astype(np.intp)
    blocks: list[Indices] = []
    held: list[Indices] = []
    for own in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
        if held and sum(map(len, held)) + len(own) > MAX_WELLS:
            blocks.append(np.sort(np.concatenate(held)))
            held = []
        if len(own) > MAX_WELLS:
            blocks += _split(own, plate, condition, is_wide)
        else:
            held.append(own)
    return [*blocks, np.sort(np.concatenate(held))] if held else blocks


def _split(
    rows: Indices, plate: Indices, condition: Indices, is_wide: npt.NDArray[np.bool_]
) -> Iterator[Indices]:
    """Split plates that hang together: condition by condition, with the controls they need."""
    whole: dict[int, list[int]] = {}
    beside: dict[int, list[int]] = {}
    wide: dict[int, list[int]] = {}
    for row in rows.tolist():
        own = int(plate[row])
        if is_wide[row]:
            wide.setdefault(own, []).append(row)
        elif condition[row] < 0:
            beside.setdefault(own, []).append(row)
        else:
            whole.setdefault(int(condition[row]), []).append(row)
    held: list[int] = []
    seen: set[int] = set()
    for wells in whole.values():
        on = {int(plate[row]) for row in wells}
        size = len(wells) + sum(len(beside.get(p, ())) + len(wide.get(p, ())) for p in on - seen)
        if held and len(held) + size > MAX_WELLS:
            yield np.sort(np.array(held, dtype=np.intp))
            held, seen = [], set()
        held += wells
        for p in sorted(on - seen):
            # Wells of wide conditions are in the first block that has their plate.
            held += [*beside.get(p, ()), *wide.pop(p, ())]
        seen |= on
    yield np.sort(np.array(held, dtype=np.intp))


class TestedBlock(NamedTuple):
    """Tables of one block; see `i2r.analysis.screen.condition_tests.ConditionTests`."""

    tests: pd.DataFrame
    features: pd.DataFrame
    wells: pd.DataFrame
    layout: pd.DataFrame


def merge_blocks(blocks: Sequence[TestedBlock]) -> TestedBlock:
    """Put the tests of blocks together.

    A condition in several blocks gets the Cauchy combination of its p-values, and the mean of its
    changes by their precision. False discoveries, from which ``explained`` follows, are counted
    over all blocks.
    """
    filled = [block for block in blocks if len(block.tests)]
    if len(filled) < 2:
        return filled[0] if filled else blocks[0]
    n_wells = [block.wells.groupby("condition").size() for block in filled]
    listed = pd.concat([block.tests for block in filled], ignore_index=True)
    counted = zip(n_wells, filled, strict=True)
    weights = np.concatenate([own.reindex(b.tests["condition"]).to_numpy() for own, b in counted])
    twice = listed["condition"].duplicated(keep=False)
    cut = listed[twice].assign(weight=weights[twice.to_numpy()])
    features = pd.concat([block.features for block in filled], ignore_index=True)
    moved = features["condition"].isin(set(cut["condition"]))
    of_condition = features[moved].groupby("condition", sort=False)
    merged = [_merge_features(str(name), own) for name, own in of_condition]
    features = pd.concat([features[~moved], *merged], ignore_index=True)
    first = features[features["place"] == 1].set_index("condition")
    rows = [
        _merge_tests(str(name), own, first) for name, own in cut.groupby("condition", sort=False)
    ]
    tests = pd.concat([listed[~twice], pd.DataFrame(rows)], ignore_index=True)[list(listed)]
    tests["explained"] = explain_conditions(tests)
    order = listed["condition"].drop_duplicates()
    tests = tests.set_index("condition").loc[order].reset_index()
    total = pd.concat(n_wells).groupby(level=0).sum()
    wells = [
        b.wells.assign(share=b.wells["share"] * b.wells["condition"].map(own / total).fillna(1))
        for own, b in zip(n_wells, filled, strict=True)
    ]
    together = pd.concat(wells, ignore_index=True).drop_duplicates(["plate", "well"])
    layout = _merge_layouts(
        pd.concat([block.layout for block in filled], ignore_index=True),
        others=warn_of_single_wells(together.loc[together["n_nuclei"] > 0, "condition"].tolist()),
    )
    return TestedBlock(tests, features, together.reset_index(drop=True), layout)


def _merge_tests(name: str, own: pd.DataFrame, first: pd.DataFrame) -> Mapping[str, object]:
    """Merge what blocks say of one condition."""
    tested = own[own["p_value"].notna()]
    known = tested if len(tested) else own
    row: dict[str, object] = {"condition": name, "explained": ""}
    of_measures = [name for word in EXPLANATIONS for name in (f"p_{word}", f"{word}_p")]
    for column in ("p_value", "p_place", *of_measures):
        values = known[column].dropna()
        row[column] = combine_pvalues(values) if len(values) else np.nan
    for column in (f"{word}_change" for word in EXPLANATIONS):
        change = known[[column, "weight"]].dropna()
        row[column] = np.nan
        if len(change):
            row[column] = np.average(change[column], weights=change["weight"])
    row["test_note"] = "" if len(tested) else str(own["test_note"].iloc[0])
    row["feature"] = str(first["feature"].get(name, ""))
    row["change"] = float(first["change"].get(name, np.nan))
    return row


def _merge_features(name: str, own: pd.DataFrame) -> pd.DataFrame:
    """Average the changes of one condition over blocks, and list again what moved most."""
    weight = 1 / ((own["high"] - own["low"]) / 2) ** 2
    sums = (
        own.assign(weight=weight, change=own["change"] * weight)
        .groupby("feature", sort=False)[["weight", "change"]]
        .sum()
    )
    half = 1 / np.sqrt(sums["weight"])
    change = sums["change"] / sums["weight"]
    order = np.argsort(-(change.abs() / half).to_numpy(), kind="stable")[:N_NAMED]
    change, half = change.iloc[order], half.iloc[order]
    return pd.DataFrame(
        {
            "condition": name, "place": np.arange(len(order)) + 1,
            "feature": change.index.to_numpy(), "change": change.to_numpy(),
            "low": (change - half).to_numpy(), "high": (change + half).to_numpy(),
            "direction": np.where(change > 0, "up", "down"),
        }
    )  # fmt: skip


def _merge_layouts(rows: pd.DataFrame, *, others: Sequence[str]) -> pd.DataFrame:
    """Say in one row what the layouts of blocks can answer, the worst of each."""
    doses = rows["doses_along"].astype(str)
    along = doses[doses != ""].mode()
    row = {
        "n_draws": rows["n_draws"].min(), "freedom": rows["freedom"].min(),
        "displaced": rows["displaced"].min(), "field": rows["field"].max(),
        "common": rows["common"].max(), "doses_along": along.iloc[0] if len(along) else "",
        "borrows": bool(rows["borrows"].all()),
    }  # fmt: skip
    said = warn_of_layout(row["displaced"], row["doses_along"], borrows=row["borrows"])
    return pd.DataFrame([{**rows.iloc[0].to_dict(), **row, "warning": " ".join([*said, *others])}])[
        list(rows)
    ]
