"""Sets of control wells that stand in for a perturbation, of the same structure.

A perturbation that sits at one position of all plates differs from the controls by what that
position does to nuclei, on every plate again. Control wells drawn from all over the plates average
that out, and a null made of them is too narrow. So a set copies the perturbation: as many wells on
each plate, and where the perturbation repeats a position, the set repeats one, of controls.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
# For every position that a perturbation has: the plates on which it sits there, sorted.
Structure = tuple[tuple[str, ...], ...]


class ControlSets(NamedTuple):
    """Control wells that stand in for perturbations of one structure.

    Attributes
    ----------
    wells : (draw, well) intp
        Indices of the control wells of every draw, sorted within a draw; no two draws are alike.
    n_independent : int
        How many of the sets there could be without a well in common.
    """

    wells: Indices
    n_independent: int


def find_structure(plates: Sequence[object], positions: Sequence[object]) -> Structure:
    """Describe where a perturbation sits: the plates of each of its positions.

    Parameters
    ----------
    plates, positions
        Of each of its wells.

    Returns
    -------
    tuple of tuple
        The plates of every position, sorted: equal for perturbations that differ only in where
        on the plates they sit.
    """
    at: dict[object, list[str]] = {}
    for plate, position in zip(plates, positions, strict=True):
        at.setdefault(position, []).append(str(plate))
    return tuple(sorted(tuple(sorted(found)) for found in at.values()))


def name_shape(structure: Structure) -> str:
    """Name what structures have in common that differ in their plates only.

    Which plates a set of wells is on does not change how its mean scatters, how many positions
    and wells there are does: sets of one shape are exchangeable.

    Parameters
    ----------
    structure
        From `find_structure`.

    Returns
    -------
    str
        The numbers of wells at its positions, largest first: ``"1+1+1"`` for three positions, and
        ``"3"`` for one position on three plates.
    """
    return "+".join(map(str, sorted(map(len, structure), reverse=True)))


def share_draws(counts: Sequence[int], n_draws: int) -> list[int]:
    """Share draws out in proportion to counts, by largest remainders.

    Parameters
    ----------
    counts
        0 or more each, not all 0.
    n_draws
        To share out.

    Returns
    -------
    list of int
        As many as counts, with the sum ``n_draws``; equal remainders in the order of the counts.
    """
    exact = n_draws * np.asarray(counts, dtype=np.float64) / sum(counts)
    shares = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: n_draws - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def layout_repeats(
    plates: npt.ArrayLike, positions: npt.ArrayLike, perturbations: npt.ArrayLike
) -> bool:
    """Tell whether plates repeat one layout, so that perturbations keep their positions.

    Parameters
    ----------
    plates, positions
        Shape (well,): a position is the same place on every plate.
    perturbations
        Shape (well,): 0, 1, ... for perturbations, -1 for negative controls.

    Returns
    -------
    bool
        True if at least half of the perturbations that are on several plates have at most half
        as many positions as wells; in layouts drawn at random few have.
    """
    which = np.asarray(perturbations)
    treated = which >= 0
    number = which[treated]
    if not number.size:
        return False
    n_wells = np.bincount(number)
    n_plates = _count_distinct(number, np.asarray(plates)[treated], len(n_wells))
    n_positions = _count_distinct(number, np.asarray(positions)[treated], len(n_wells))
    repeats = (2 * n_positions <= n_wells)[n_plates > 1]
    return repeats.size > 0 and float(np.mean(repeats)) >= 0.5


def _count_distinct(
    numbers: npt.NDArray[np.intp], names: npt.NDArray[Any], n_numbers: int
) -> npt.NDArray[np.intp]:
    """Count the distinct names of each number."""
    _, codes = np.unique(names, return_inverse=True)
    pairs = np.unique(np.column_stack([numbers, codes]), axis=0)
    return np.bincount(pairs[:, 0], minlength=n_numbers)


def draw_control_sets(
    plates: npt.ArrayLike,
    positions: npt.ArrayLike,
    structure: Structure,
    *,
    n_draws: int,
    seed: int | np.random.SeedSequence,
) -> ControlSets:
    """Draw sets of control wells of a perturbation's structure.

    Parameters
    ----------
    plates, positions
        Shape (well,): of the control wells; a position is the same place on every plate.
    structure
        From `find_structure`.
    n_draws
        Draws wanted. Fewer are made where there are no more different sets.
    seed
        Of the draws.

    Returns
    -------
    ControlSets
        Without draws where the controls can't copy the structure, or would all be drawn: every
        plate keeps at least one control well to compare with.
    """
    plate, position = np.asarray(plates).astype(str), np.asarray(positions)
    # Of a screen of plates a few matter.
    rows = np.flatnonzero(np.isin(plate, [name for group in structure for name in group]))
    plate, position = plate[rows], position[rows]
    candidates = {group: _list_candidates(plate, position, group) for group in set(structure)}
    n_wells = sum(map(len, structure))
    empty = ControlSets(np.empty((0, n_wells), dtype=np.intp), 0)
    n_disjoint = []
    for group, options in candidates.items():
        # Groups that share a plate compete for its controls.
        rivals = sum(bool(set(group) & set(other)) for other in structure)
        n_disjoint.append(len(options) // rivals)
        if len(options) < rivals + 1:
            return empty
    random = np.random.default_rng(seed)
    seen: dict[tuple[int, ...], None] = {}
    if len(structure) == 1:
        chosen = candidates[structure[0]]
        order = random.permutation(len(chosen))[:n_draws]
        seen = dict.fromkeys(tuple(sorted(chosen[place].tolist())) for place in order)
    else:
        # Sets that came up before cost a try: with few different ones all are found.
        for _ in range(20 * n_draws):
            if len(seen) == n_draws:
                break
            drawn = _draw_set(structure, candidates, random)
            if drawn is not None:
                seen.setdefault(drawn)
    if not seen:
        return empty
    wells = rows[np.array(list(seen), dtype=np.intp)]
    return ControlSets(wells, max(1, min(*n_disjoint, len(wells)) if n_disjoint else 1))


def _list_candidates(
    plates: npt.NDArray[np.generic], positions: npt.NDArray[np.generic], group: tuple[str, ...]
) -> list[Indices]:
    """List the control positions that are on all plates of a group, by their wells there."""
    found = []
    for position in np.unique(positions[np.isin(plates, group)]):
        wells = [np.flatnonzero((positions == position) & (plates == plate)) for plate in group]
        if all(len(well) for well in wells):
            found.append(np.array([well[0] for well in wells], dtype=np.intp))
    return found


def _draw_set(
    structure: Structure,
    candidates: dict[tuple[str, ...], list[Indices]],
    random: np.random.Generator,
) -> tuple[int, ...] | None:
    """Draw one candidate for each group; None if two of them share a well."""
    drawn: list[int] = []
    for group in structure:
        options = candidates[group]
        drawn += options[int(random.integers(len(options)))].tolist()
    return tuple(sorted(drawn)) if len(set(drawn)) == len(drawn) else None
