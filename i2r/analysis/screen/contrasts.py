"""Who is compared with whom, and which wells are held out together: plans, nothing computed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.screen.held_out import (
    COMPARED,
    Contrast,
    Folder,
    Indices,
    Kind,
    Objects,
    Side,
    SplitBy,
    cut_pieces,
    list_words,
)
from i2r.kernels.nulls import (
    Structure,
    draw_control_sets,
    find_structure,
    layout_repeats,
    name_shape,
    share_draws,
)

DRAW = "control draw"
# Why wells are not compared that have nuclei themselves.
UNCONTROLLED = "fewer than two control wells of its plate have nuclei"
SINGLE = (
    "one well: halves of its nuclei are held out, so what the well itself differs by counts too"
)
# The fewest draws for conditions whose wells lie as few others' do.
MIN_DRAWS = 8


class ScreenPlan(NamedTuple):
    """All comparisons of a screen.

    Attributes
    ----------
    contrasts
        By condition; draws of controls last.
    notes
        By condition: why it is not compared, or which of its wells are left out.
    repeats
        Whether the plates repeat one layout.
    n_independent
        By shape: how many of its draws there could be without a well in common.
    """

    contrasts: dict[str, Contrast]
    notes: dict[str, str]
    repeats: bool
    n_independent: dict[str, int]


def plan_contrasts(
    layout: pd.DataFrame,
    *,
    group: SplitBy,
    n_folds: int,
    n_draws: int,
    seed: np.random.SeedSequence,
    shared_controls: bool = False,
) -> ScreenPlan:
    """List what is compared, and put every piece into a fold.

    A condition is compared with the negative controls of its own plates: what differs between
    plates is not an effect. Draws are sets of control wells with the structures of the conditions
    (`i2r.kernels.nulls`), compared with the other controls of the same plates.

    Parameters
    ----------
    layout
        By unit key, with ``condition``, ``plate``, ``well``, ``role``, ``fields`` and, to hold out
        batches, ``batch``.
    group
        What is held out whole.
    n_folds
        Folds wanted.
    n_draws
        Draws of controls wanted for the shape that most conditions have. Other shapes get fewer, in
        proportion to their conditions, but at least `MIN_DRAWS`; within a shape every structure
        gets its share.
    seed
        Of folds and draws; the layout's order plays no part.
    shared_controls
        Give a control well the same fold in all comparisons, as heads need that share the
        controls' covariance. Otherwise controls follow the treated wells of their plate.

    Returns
    -------
    ScreenPlan
        The plan.
    """
    table = layout.sort_index(kind="stable")
    folder = Folder(
        cut_pieces(table, group), group=group, n_folds=n_folds, seed=seed, shared=shared_controls
    )
    contrasts: dict[str, Contrast] = {}
    notes: dict[str, str] = {}
    controls = _Controls(table)
    structures: dict[str, Counter[Structure]] = {}
    numbers = _number_conditions(table)
    repeats = layout_repeats(table["plate"], table["well"], numbers)
    plates, places = list_words(table["plate"]), _name_positions(table, repeats)
    is_positive = (table["role"] == "positive_control").to_numpy()
    for name, rows in _list_conditions(layout, table):
        enough = np.array([controls.count(plate) >= 2 for plate in plates[rows]], dtype=bool)
        own = rows[enough]
        if len(own) < len(rows):
            lacking = sorted(set(plates[rows[~enough]]))
            notes[name] = (
                f"{len(rows) - len(own)} of {len(rows)} wells left out: fewer than two control "
                f"wells on plate {', '.join(lacking[:3])}"
            )
        if len(own) < 2 and len(rows) >= 2:
            continue
        if len(own) < 1 or (len(own) < 2 and not (shared_controls and group == "well")):
            notes[name] = "one well: nothing can be held out"
            continue
        kind: Kind = "positive_control" if is_positive[rows].all() else "treated"
        if len(own) < 2:
            contrasts[name] = folder.halve(name, kind, int(own[0]), controls.on(plates[own]))
            notes[name] = SINGLE
            continue
        made = folder.fold(name, kind, own, controls.on(plates[own]))
        if isinstance(made, str):
            notes[name] = made
            continue
        structure = find_structure(plates[own].tolist(), places[own].tolist())
        contrasts[name] = made._replace(shape=name_shape(structure))
        structures.setdefault(contrasts[name].shape, Counter())[structure] += 1
    drawn, n_independent = _draw_controls(
        controls.rows, plates, places, structures, n_draws=n_draws, seed=seed
    )
    for number, (shape, own) in enumerate(drawn, start=1):
        others = controls.on(plates[own])
        others = others[~np.isin(others, own)]
        made = folder.fold(f"{DRAW} {number:02d}", "control_draw", own, others)
        if not isinstance(made, str):
            contrasts[made.condition] = made._replace(shape=shape)
    return ScreenPlan(contrasts, notes, repeats, n_independent)


def list_copied(contrasts: Iterable[Contrast], draw: Contrast) -> list[str]:
    """List the wells that a draw stands in for: its shape's, on its plates; none for others."""
    if draw.kind != "control_draw":
        return []
    plates = {key.rpartition("/")[0] for key in draw.treated_keys}
    return [
        key
        for other in contrasts
        if other.shape == draw.shape and other.kind != "control_draw"
        for key in other.treated_keys
        if key.rpartition("/")[0] in plates
    ]


def find_uncontrolled(contrast: Contrast, counts: Mapping[str, int]) -> set[str]:
    """Find the treated wells on whose plates too few control wells have nuclei to compare with.

    The plan looked at the layout; wells may turn out empty, fail or be excluded. With a plate's
    controls gone, what its treated wells differ by from controls elsewhere is the plate. As in the
    plan a plate needs two control wells, and for a draw, whose plates have the others, one.

    Parameters
    ----------
    contrast
        The comparison.
    counts
        By well: nuclei; wells that are not there have none.
    """
    lacking = find_lacking(contrast.controls, counts)
    return {key for key in contrast.treated_keys if key.rpartition("/")[0] in lacking}


def find_lacking(controls: Side, counts: Mapping[str, int]) -> set[str]:
    """Find the plates on which too few control wells have nuclei; see `find_uncontrolled`."""
    planned: Counter[str] = Counter()
    filled: Counter[str] = Counter()
    for key in set(controls.keys):
        plate = key.rpartition("/")[0]
        planned[plate] += 1
        filled[plate] += counts.get(key, 0) > 0
    return {plate for plate, number in planned.items() if filled[plate] < min(2, number)}


def _draw_controls(
    controls: Indices, plates: Objects, places: Objects,
    structures: Mapping[str, Counter[Structure]], *, n_draws: int, seed: np.random.SeedSequence,
) -> tuple[list[tuple[str, Indices]], dict[str, int]]:  # fmt: skip
    """Draw sets of control wells for every shape, and count how many could be independent."""
    sizes = {shape: sum(found.values()) for shape, found in structures.items()}
    drawn: list[tuple[str, Indices]] = []
    n_independent = {}
    own_plates, own_places = plates[controls].astype(str), places[controls].astype(str)
    for shape in sorted(sizes, key=lambda name: -sizes[name]):
        wanted = round(n_draws * sizes[shape] / max(sizes.values()))
        wanted = max(wanted, min(MIN_DRAWS, n_draws))
        common = structures[shape].most_common()
        shares = share_draws([count for _, count in common], wanted)
        counted = []
        for (structure, _), share in zip(common, shares, strict=True):
            if not share:
                continue
            # As many as are wanted in all, to see how many could have no well in common.
            found = draw_control_sets(own_plates, own_places, structure, n_draws=wanted, seed=seed)
            drawn += [(shape, controls[chosen]) for chosen in found.wells[:share]]
            counted += [found.n_independent] * (len(found.wells) > 0)
        n_independent[shape] = min(counted, default=0)
    return drawn, n_independent


def describe_conditions(layout: pd.DataFrame, plan: ScreenPlan) -> pd.DataFrame:
    """Make one row per condition and draw: what it is, and the plan's note on it."""
    own = layout[layout["role"].isin(COMPARED)]
    first = (
        own.groupby("condition", sort=False)
        .agg(
            perturbation=("perturbation", "first"),
            gene=("gene", "first"),
            dose=("dose", "first"),
            kind=("role", "first"),
        )
        .reset_index()
    )
    shapes = {name: contrast.shape for name, contrast in plan.contrasts.items()}
    first["shape"] = [shapes.get(str(name), "") for name in first["condition"]]
    first["note"] = [plan.notes.get(str(name), "") for name in first["condition"]]
    draws = [c for c in plan.contrasts.values() if c.kind == "control_draw"]
    drawn = pd.DataFrame(
        {
            "condition": [c.condition for c in draws],
            "perturbation": DRAW,
            "gene": "",
            "dose": float("nan"),
            "kind": "control_draw",
            "shape": [c.shape for c in draws],
            "note": "",
        }
    )
    return pd.concat([first, drawn], ignore_index=True) if draws else first


def _number_conditions(table: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Number the conditions, -1 for negative controls and empty wells."""
    codes = pd.factorize(table["condition"], sort=True)[0]
    return np.where(table["role"].isin(COMPARED), codes, -1).astype(np.intp)


def _name_positions(table: pd.DataFrame, repeats: bool) -> Objects:
    """Name each well's position; where layouts do not repeat, each well has one of its own."""
    return list_words(table["well"] if repeats else table.index)


def _list_conditions(layout: pd.DataFrame, table: pd.DataFrame) -> Iterator[tuple[str, Indices]]:
    """Give the conditions in the layout's order, with their rows of the sorted table."""
    names = layout.loc[layout["role"].isin(COMPARED), "condition"].dropna().unique()
    codes = pd.Index(names).get_indexer(table["condition"])
    codes = np.where(table["role"].isin(COMPARED), codes, -1)
    order = np.argsort(codes, kind="stable").astype(np.intp)
    ends = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        yield str(name), order[ends[number] : ends[number + 1]]


class _Controls:
    """The control wells of each plate, as rows of the sorted layout."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.rows: Indices = np.flatnonzero(table["role"] == "negative_control")
        plates = list_words(table["plate"].iloc[self.rows])
        found: dict[str, list[int]] = {}
        for plate, row in zip(plates, self.rows.tolist(), strict=True):
            found.setdefault(plate, []).append(row)
        self._of_plate = {plate: np.array(rows, dtype=np.intp) for plate, rows in found.items()}

    def count(self, plate: str) -> int:
        """Count the control wells of a plate."""
        return len(self._of_plate.get(plate, ()))

    def on(self, plates: Iterable[str]) -> Indices:
        """Give the control wells of plates, in the layout's order."""
        found = [self._of_plate[plate] for plate in set(plates) if plate in self._of_plate]
        return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.intp)
