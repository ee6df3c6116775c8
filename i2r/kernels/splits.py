"""Which wells are held out together.

Nuclei of one well share its staining, its position and its neighbours, so a network that has seen
some of them knows the others (Shamir, J. Microsc. 243:284, 2011,
doi:10.1111/j.1365-2818.2011.03502.x). The unit of a split is therefore the well or what holds many:
a position, a plate, a batch. Fields of a well are no such unit; splitting by them leaks.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Seed = int | np.random.SeedSequence


class _WellTable(NamedTuple):
    """The distinct wells, sorted by name, so that nothing depends on the order of the input."""

    names: npt.NDArray[Any]
    is_treated: npt.NDArray[np.bool_]
    plates: npt.NDArray[Any]
    row_of: npt.NDArray[np.intp]


def assign_folds(
    wells: npt.ArrayLike,
    is_treated: npt.ArrayLike,
    *,
    n_folds: int,
    seed: Seed,
    plates: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Assign every well of a perturbation and of its controls to a fold.

    The treated wells are dealt to the folds plate by plate, so folds differ by at most one treated
    well, on every plate and in all. The control wells of a plate are then spread evenly over those
    folds that hold a treated well of the same plate: no fold trains on a plate as controls only
    and is then tested on its treated well, which would push scores below 0.5. Control wells of
    plates without a treated well are spread over all folds.

    Parameters
    ----------
    wells
        Shape (n,): a well name that is unique over plates (``BR1/B03``), one per well or one per
        nucleus; repeated names get the same fold.
    is_treated
        Shape (n,): True where the well holds the perturbation, False for a control. Cast to bool.
    n_folds
        Folds wanted, at least 2. There are never more than the smaller class has wells, so that
        each fold holds at least one well of each class; the folds made are
        ``assign_folds(...).max() + 1``.
    seed
        Seed of the assignment. The same seed and the same set of wells give the same folds in
        whatever order they come.
    plates
        Shape (n,): the plate of each well, or any other block that wells share (a batch, a row
        that drifts). Default: all on one plate.

    Returns
    -------
    ndarray of intp, shape (n,)
        The fold of each entry, 0 to the number of folds - 1.

    Raises
    ------
    ValueError
        If a class has fewer than two wells, a well is in both classes or on two plates, lengths
        differ, or ``n_folds`` is below 2.
    """
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}, expected 2 or more")
    table = _tabulate_wells(wells, is_treated, plates)
    n_treated = int(table.is_treated.sum())
    n_control = table.names.size - n_treated
    for label, count in (("treated", n_treated), ("control", n_control)):
        if count < 2:
            raise ValueError(
                f"{count} {label} well(s), expected 2 or more: wells are held out whole, so one "
                "has to be left for training. Add replicate wells or leave the perturbation out."
            )
    n_made = min(n_folds, n_treated, n_control)
    random = np.random.default_rng(seed)
    fold_order = random.permutation(n_made)
    folds = np.full(table.names.size, -1, dtype=np.intp)

    treated = _deal_by_plate(np.flatnonzero(table.is_treated), table.plates, random)
    folds[treated] = fold_order[np.arange(n_treated) % n_made]
    for well in _deal_by_plate(np.flatnonzero(~table.is_treated), table.plates, random):
        same_plate = table.plates == table.plates[well]
        open_folds = np.unique(folds[same_plate & table.is_treated])
        if open_folds.size == 0:
            open_folds = np.arange(n_made)
        here = np.bincount(folds[same_plate & ~table.is_treated] + 1, minlength=n_made + 1)[1:]
        overall = np.bincount(folds[~table.is_treated] + 1, minlength=n_made + 1)[1:]
        fewest = np.lexsort((random.random(open_folds.size), overall[open_folds], here[open_folds]))
        folds[well] = open_folds[fewest[0]]
    _fill_empty_folds(folds, ~table.is_treated, n_made)
    return folds[table.row_of]


def deal_groups(
    groups: npt.ArrayLike, is_treated: npt.ArrayLike, *, n_folds: int, seed: Seed
) -> npt.NDArray[np.intp]:
    """Assign whole groups of wells, such as plates, to folds: a group is never in two.

    Parameters
    ----------
    groups
        Shape (n,): the group of each entry: its position, plate or batch. A group may hold both
        classes.
    is_treated
        Shape (n,): True where the entry holds the perturbation, False for a control.
    n_folds
        Folds wanted, at least 2; never more than there are groups with the perturbation.
    seed
        Seed of the assignment, which does not depend on the order of the entries.

    Returns
    -------
    ndarray of intp, shape (n,)
        The fold of each entry. Groups with the perturbation are spread evenly, then groups of
        controls alone go where controls are fewest.

    Raises
    ------
    ValueError
        If the perturbation is in fewer than two groups, a fold gets no control, lengths differ or
        ``n_folds`` is below 2.
    """
    names, row_of = np.unique(np.asarray(groups), return_inverse=True)
    treated = np.asarray(is_treated, dtype=bool)
    if n_folds < 2 or row_of.shape != treated.shape:
        raise ValueError(
            f"{n_folds} folds for {row_of.size} groups and {treated.size} classes, expected 2 "
            "folds or more and one of each per entry."
        )
    n_treated = np.bincount(row_of[treated], minlength=names.size)
    n_control = np.bincount(row_of[~treated], minlength=names.size)
    holding = np.flatnonzero(n_treated)
    if holding.size < 2:
        raise ValueError(
            f"the perturbation is in {holding.size} group(s), expected 2 or more: groups are held "
            "out whole, so one has to be left for training."
        )
    n_made = min(n_folds, holding.size)
    random = np.random.default_rng(seed)
    folds = np.full(names.size, -1, dtype=np.intp)
    folds[random.permutation(holding)] = np.arange(holding.size) % n_made
    for group in random.permutation(np.flatnonzero(n_treated == 0)):
        load = np.bincount(folds[folds >= 0], n_control[folds >= 0], minlength=n_made)
        folds[group] = int(load.argmin())
    load = np.bincount(folds, n_control, minlength=n_made)
    if (load == 0).any():
        raise ValueError(
            f"{int((load == 0).sum())} of {n_made} folds have no control: the controls are in "
            f"{int((n_control > 0).sum())} group(s)."
        )
    return folds[row_of]


def spread_controls(plates: npt.ArrayLike, *, n_folds: int, seed: Seed) -> npt.NDArray[np.intp]:
    """Assign control wells to folds that all perturbations share, evenly on every plate.

    Parameters
    ----------
    plates
        Shape (n,): the plate of each control well, in an order that is always the same.
    n_folds
        Folds.
    seed
        Seed of the assignment.

    Returns
    -------
    ndarray of intp, shape (n,)
        The fold of each; on a plate and in all, folds differ by at most one well.
    """
    plate = np.asarray(plates)
    random = np.random.default_rng(seed)
    folds = np.empty(plate.size, dtype=np.intp)
    if plate.size:
        folds[_deal_by_plate(np.arange(plate.size), plate, random)] = (
            np.arange(plate.size) % n_folds
        )
    return folds


def _deal_by_plate(
    rows: npt.NDArray[np.intp], plates: npt.NDArray[Any], random: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Order wells at random within plates, plates at random, each plate's wells together."""
    _, plate_of = np.unique(plates[rows], return_inverse=True)
    plate_rank = random.permutation(int(plate_of.max()) + 1)[plate_of]
    return rows[np.lexsort((random.random(rows.size), plate_rank))]


def _fill_empty_folds(
    folds: npt.NDArray[np.intp], is_control: npt.NDArray[np.bool_], n_folds: int
) -> None:
    """Move a control well from the fullest fold into each fold that has none, in place."""
    for fold in range(n_folds):
        counts = np.bincount(folds[is_control], minlength=n_folds)
        if counts[fold] == 0:
            donor = int(np.flatnonzero(is_control & (folds == counts.argmax()))[0])
            folds[donor] = fold


def _tabulate_wells(
    wells: npt.ArrayLike, is_treated: npt.ArrayLike, plates: npt.ArrayLike | None
) -> _WellTable:
    """Reduce the entries to distinct wells and check that they agree about each well."""
    names = np.asarray(wells)
    treated = np.asarray(is_treated, dtype=bool)
    plate = np.zeros(names.shape, dtype=np.intp) if plates is None else np.asarray(plates)
    if names.ndim != 1 or names.shape != treated.shape or names.shape != plate.shape:
        raise ValueError(
            f"wells, classes and plates have shapes {names.shape}, {treated.shape} and "
            f"{plate.shape}, expected one entry each per well or nucleus."
        )
    distinct, first, row_of = np.unique(names, return_index=True, return_inverse=True)
    table = _WellTable(distinct, treated[first], plate[first], row_of.astype(np.intp))
    for what, given, kept in (
        ("in both classes", treated, table.is_treated),
        ("on more than one plate", plate, table.plates),
    ):
        differing = np.unique(names[given != kept[row_of]])
        if differing.size:
            raise ValueError(
                f"well {str(differing[0])!r} is {what} ({differing.size} such wells). Name wells "
                "uniquely over plates and give each one perturbation."
            )
    return table
