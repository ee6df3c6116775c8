"""What the fast screen compares, on all plates and on each, and what its passes read of a well."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.analysis.screen.held_out import HALVES, Contrast, list_sides

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Words = npt.NDArray[np.str_]
Flags = npt.NDArray[np.bool_]


class WellFeatures(NamedTuple):
    """Features of the nuclei of one well: names, values (nucleus, feature), and their fields."""

    names: tuple[str, ...]
    values: Singles
    fields: Words


Reader = Callable[[], WellFeatures]


class FastPlan(NamedTuple):
    """What the fast screen compares.

    Attributes
    ----------
    keys, plates, positions, n_fields
        Of every well that takes part, in a fixed order; fields are those that were used.
    conditions
        Of every well; "" for negative controls.
    contrasts
        All comparisons.
    by_field
        Whether fields are held out in place of whole wells.
    doses, compounds
        Of every well: dose and perturbation; NaN where there is none.
    qualities
        Of every well: the URL of the table of its fields' focus; none where it was not measured.
    """

    keys: tuple[str, ...]
    plates: tuple[str, ...]
    positions: tuple[str, ...]
    n_fields: tuple[int, ...]
    conditions: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    by_field: bool
    doses: tuple[float, ...] = ()
    compounds: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()


class PlatePlan(NamedTuple):
    """What is compared on one plate.

    Attributes
    ----------
    keys, is_control
        Of every well that takes part, in the screen's order.
    by_field
        Whether fields are held out in place of whole wells.
    folds, comparisons
        By well and field ("" for the whole well, `HALVES` for a condition's only one): the fold in
        which it is held out, and the numbers of the comparisons that count it as treated.
    n_folds
        Of the screen.
    """

    keys: tuple[str, ...]
    is_control: tuple[bool, ...]
    by_field: bool
    folds: Mapping[tuple[str, str], int]
    comparisons: Mapping[tuple[str, str], tuple[int, ...]]
    n_folds: int

    def cut(self, key: str, fields: Words) -> list[tuple[str, slice]]:
        """Cut a well's nuclei into pieces that are held out."""
        if (key, HALVES[0]) in self.folds:
            return [(half, slice(first, None, 2)) for first, half in enumerate(HALVES)]
        if not self.by_field:
            return [("", slice(None))]
        names, counts = np.unique(fields, return_counts=True)
        ends = np.cumsum(counts).tolist()
        return [
            (str(name), slice(end - count, end))
            for name, count, end in zip(names, counts.tolist(), ends, strict=True)
        ]


class PlatePlans(Mapping[str, PlatePlan]):
    """A screen's comparisons cut into plates, in the order of their first wells.

    Kept as numbers; a plate's plan is made when it is asked for. A screen has thousands of them.

    Parameters
    ----------
    keys, is_control
        Of every well that takes part, in the screen's order.
    contrasts
        All comparisons; a piece is in the same fold in all of them.
    by_field
        Whether fields are held out in place of whole wells.

    Attributes
    ----------
    wells
        By plate: the wells that take part.
    """

    def __init__(
        self,
        keys: Sequence[str],
        is_control: Sequence[bool],
        contrasts: Sequence[Contrast],
        *,
        by_field: bool,
    ) -> None:
        sides = list_sides(contrasts)
        self._by_field = by_field
        self._n_folds = 1 + max((max(side.folds) for side in sides), default=0)
        own: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            own.setdefault(key.rpartition("/")[0], []).append(number)
        self.wells = {plate: tuple(keys[n] for n in rows) for plate, rows in own.items()}
        self._is_control = {p: tuple(is_control[n] for n in rows) for p, rows in own.items()}
        # By plate and piece: numbers of well, field, fold and comparison, -1 for controls of one.
        self._pieces = {plate: array("i") for plate in own}
        places = {key: place for wells in self.wells.values() for place, key in enumerate(wells)}
        fields: dict[str, int] = {}
        numbers = {id(contrast.treated): number for number, contrast in enumerate(contrasts)}
        for side in sides:
            comparison = numbers.get(id(side), -1)
            for key, field, fold in zip(*side, strict=True):
                if key in places:
                    code = fields.setdefault(field, len(fields))
                    piece = (places[key], code, fold, comparison)
                    self._pieces[key.rpartition("/")[0]].extend(piece)
        self._fields = tuple(fields)

    def __getitem__(self, plate: str) -> PlatePlan:
        wells, folds = self.wells[plate], dict[tuple[str, str], int]()
        comparisons: dict[tuple[str, str], tuple[int, ...]] = {}
        numbers = iter(self._pieces[plate])
        for place, code, fold, comparison in zip(numbers, numbers, numbers, numbers, strict=True):
            piece = (wells[place], self._fields[code])
            folds[piece] = fold
            if comparison >= 0:
                comparisons[piece] = (*comparisons.get(piece, ()), comparison)
        is_control = self._is_control[plate]
        return PlatePlan(wells, is_control, self._by_field, folds, comparisons, self._n_folds)

    def __iter__(self) -> Iterator[str]:
        return iter(self.wells)

    def __len__(self) -> int:
        return len(self.wells)


def choose_nuclei(given: WellFeatures, usable: npt.NDArray[np.bool_]) -> tuple[Singles, Words]:
    """Give the nuclei that lack none of the features used, field by field, and their fields."""
    well = WellFeatures(*given)
    values = well.values[:, usable]
    whole = np.isfinite(values).all(axis=1)
    fields = well.fields[whole]
    order = np.argsort(fields, kind="stable")
    return values[whole][order], fields[order]
