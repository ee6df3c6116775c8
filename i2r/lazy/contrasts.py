"""Who is compared with whom, and which wells are held out together: plans, nothing computed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels.nulls import (
    Structure,
    draw_control_sets,
    find_structure,
    layout_repeats,
    name_shape,
    share_draws,
)
from i2r.kernels.splits import assign_folds, deal_groups, spread_controls

Kind = Literal["treated", "positive_control", "control_draw"]
Group = Literal["well", "position", "plate", "batch", "field"]
DRAW = "control draw"
COMPARED = ("treated", "positive_control")
# Why wells are not compared that have nuclei themselves.
UNCONTROLLED = "fewer than two control wells of its plate have nuclei"
# The fewest draws for conditions whose wells lie as few others' do.
MIN_DRAWS = 8


class Contrast(NamedTuple):
    """A set of wells against control wells, each in a fold.

    Attributes
    ----------
    condition, kind
        What the treated wells hold.
    keys, fields
        The pieces compared: wells, and of each one field, or "" for the whole well.
    is_treated, folds
        Of each piece.
    shape
        How its treated wells lie (`i2r.kernels.nulls.name_shape`): draws of the same shape are
        its null.
    """

    condition: str
    kind: Kind
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    is_treated: tuple[bool, ...]
    folds: tuple[int, ...]
    shape: str = ""

    @property
    def n_folds(self) -> int:
        """The number of folds in which a treated piece is held out."""
        return max(f for f, treated in zip(self.folds, self.is_treated, strict=True) if treated) + 1

    @property
    def treated_keys(self) -> tuple[str, ...]:
        """The treated wells."""
        chosen = (k for k, treated in zip(self.keys, self.is_treated, strict=True) if treated)
        return tuple(dict.fromkeys(chosen))


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
    group: Group,
    n_folds: int,
    n_draws: int,
    seed: np.random.SeedSequence,
    shared_controls: bool = False,
) -> ScreenPlan:
    """List what is compared, and put every piece into a fold.

    A condition is compared with the negative controls of its own plates: what differs between
    plates is no effect. Draws are sets of control wells with the structures of the conditions
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
    controls = table[table["role"] == "negative_control"]
    folder = _Folder(table, group=group, n_folds=n_folds, seed=seed, shared=shared_controls)
    contrasts: dict[str, Contrast] = {}
    notes: dict[str, str] = {}
    # In the layout's order, as it is shown; the folds do not depend on it.
    compared = layout[layout["role"].isin(COMPARED)]
    per_plate = controls["plate"].value_counts()
    enough = set(per_plate.index[per_plate >= 2])
    structures: dict[str, Counter[Structure]] = {}
    numbers = _number_conditions(table)
    repeats = layout_repeats(table["plate"], table["well"], numbers)
    places = _name_positions(table, repeats)
    for condition, rows in compared.groupby("condition", sort=False):
        name = str(condition)
        own = rows[rows["plate"].isin(enough)].sort_index(kind="stable")
        lacking = sorted(set(rows["plate"]) - enough)
        if lacking:
            notes[name] = (
                f"{len(rows) - len(own)} of {len(rows)} wells left out: fewer than two control "
                f"wells on plate {', '.join(lacking[:3])}"
            )
        if len(own) < 2 and len(rows) >= 2:
            continue
        if len(own) < 2:
            notes[name] = "one well: nothing can be held out"
            continue
        matched = controls[controls["plate"].isin(own["plate"])]
        kind: Kind = "positive_control" if (rows["role"] == "positive_control").all() else "treated"
        made = folder.fold(name, kind, own, matched)
        if isinstance(made, str):
            notes[name] = made
            continue
        structure = find_structure(own["plate"].tolist(), places[own.index].tolist())
        contrasts[name] = made._replace(shape=name_shape(structure))
        structures.setdefault(contrasts[name].shape, Counter())[structure] += 1
    drawn, n_independent = _draw_controls(controls, places, structures, n_draws=n_draws, seed=seed)
    for number, (shape, own) in enumerate(drawn, start=1):
        others = controls.drop(index=own.index)
        others = others[others["plate"].isin(own["plate"])]
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
    planned: Counter[str] = Counter()
    filled: Counter[str] = Counter()
    pieces = zip(contrast.keys, contrast.is_treated, strict=True)
    for key in {key for key, is_treated in pieces if not is_treated}:
        plate = key.rpartition("/")[0]
        planned[plate] += 1
        filled[plate] += counts.get(key, 0) > 0
    return {
        key
        for key in contrast.treated_keys
        if filled[plate := key.rpartition("/")[0]] < min(2, planned[plate])
    }


def _draw_controls(
    controls: pd.DataFrame,
    places: "pd.Series[str]",
    structures: Mapping[str, Counter[Structure]],
    *,
    n_draws: int,
    seed: np.random.SeedSequence,
) -> tuple[list[tuple[str, pd.DataFrame]], dict[str, int]]:
    """Draw sets of control wells for every shape, and count how many could be independent."""
    sizes = {shape: sum(found.values()) for shape, found in structures.items()}
    drawn: list[tuple[str, pd.DataFrame]] = []
    n_independent = {}
    for shape in sorted(sizes, key=lambda name: -sizes[name]):
        wanted = round(n_draws * sizes[shape] / max(sizes.values()))
        wanted = max(wanted, min(MIN_DRAWS, n_draws))
        common = structures[shape].most_common()
        shares = share_draws([count for _, count in common], wanted)
        counted = []
        for (structure, _), share in zip(common, shares, strict=True):
            # As many as are wanted in all, to see how many could have no well in common.
            found = draw_control_sets(
                controls["plate"], places[controls.index], structure, n_draws=wanted, seed=seed
            )
            drawn += [(shape, controls.iloc[chosen]) for chosen in found.wells[:share]]
            counted += [found.n_independent] * (share > 0 and len(found.wells) > 0)
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


def _name_positions(table: pd.DataFrame, repeats: bool) -> pd.Series:
    """Name each well's position; where layouts do not repeat, each well has one of its own."""
    return table["well"] if repeats else pd.Series(table.index, index=table.index)


class _Folder:
    """Puts the pieces of a comparison into folds."""

    def __init__(
        self,
        table: pd.DataFrame,
        *,
        group: Group,
        n_folds: int,
        seed: np.random.SeedSequence,
        shared: bool,
    ) -> None:
        self.group, self.n_folds, self.shared = group, n_folds, shared
        self.entropy = seed
        controls = table[table["role"] == "negative_control"]
        pieces = self._split(controls)
        dealt = spread_controls(pieces["plate"], n_folds=n_folds, seed=self._seed("controls"))
        self.control_folds = dict(zip(_name_pieces(pieces), dealt.tolist(), strict=True))
        self.group_folds: dict[str, int] = {}
        if shared and group in ("position", "plate", "batch"):
            used = table[table["role"].isin([*COMPARED, "negative_control"])]
            is_treated = (used["role"] != "negative_control").to_numpy()
            names = used[_column(group)].astype(str)
            if names[is_treated].nunique() >= 2:
                folds = deal_groups(
                    names, is_treated, n_folds=n_folds, seed=self._seed("groups")
                ).tolist()
                self.group_folds = dict(zip(names, folds, strict=True))

    def _seed(self, name: str) -> np.random.SeedSequence:
        """A stream of its own for every comparison, whatever others there are."""
        words = np.frombuffer(sha256(name.encode()).digest()[:16], np.uint32)
        return np.random.SeedSequence(
            self.entropy.entropy, spawn_key=(*self.entropy.spawn_key, *words.tolist())
        )

    def _split(self, wells: pd.DataFrame) -> pd.DataFrame:
        """List the pieces of wells: themselves, or their fields."""
        pieces = wells[["plate", "well", *({"batch"} & set(wells.columns))]].assign(field="")
        if self.group == "field":
            pieces = pieces.assign(field=wells["fields"]).explode("field")
        return pieces

    def fold(
        self, condition: str, kind: Kind, rows: pd.DataFrame, controls: pd.DataFrame
    ) -> Contrast | str:
        """Fold the wells of a comparison; say why where that can't be done."""
        parts = [self._split(rows), self._split(controls)]
        pieces = pd.concat(parts)
        is_treated = np.arange(len(pieces)) < len(parts[0])
        try:
            folds = self._assign(condition, kind, pieces, is_treated)
        except ValueError as error:
            return f"can't be held out by {self.group}: {error}"
        if np.unique(folds[is_treated]).size < 2:
            return f"all its wells are in one {self.group}: nothing can be held out"
        return Contrast(
            condition, kind, tuple(map(str, pieces.index)), tuple(map(str, pieces["field"])),
            tuple(is_treated.tolist()), tuple(folds.tolist()),
        )  # fmt: skip

    def _assign(
        self, condition: str, kind: Kind, pieces: pd.DataFrame, is_treated: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.intp]:
        names = np.array(_name_pieces(pieces))
        seed = self._seed(condition)
        if self.group in ("position", "plate", "batch"):
            groups = pieces[_column(self.group)].astype(str)
            if self.group_folds:
                return np.array([self.group_folds[name] for name in groups], dtype=np.intp)
            return deal_groups(groups, is_treated, n_folds=self.n_folds, seed=seed)
        if not self.shared:
            plates = pieces["plate"].to_numpy(dtype=str)
            return assign_folds(names, is_treated, n_folds=self.n_folds, seed=seed, plates=plates)
        folds = np.array([self.control_folds.get(name, -1) for name in names], dtype=np.intp)
        if kind != "control_draw":
            n_made = min(self.n_folds, int(is_treated.sum()))
            plates = pieces["plate"].to_numpy(dtype=str)[is_treated]
            folds[is_treated] = spread_controls(plates, n_folds=n_made, seed=seed)
        return folds


def _column(group: Group) -> str:
    return {"position": "well"}.get(group, group)


def _name_pieces(pieces: pd.DataFrame) -> list[str]:
    """Name pieces uniquely over plates: ``P1/B03``, or ``P1/B03/2`` for a field."""
    return [
        f"{key}/{field}" if field else str(key)
        for key, field in zip(pieces.index, pieces["field"], strict=True)
    ]
