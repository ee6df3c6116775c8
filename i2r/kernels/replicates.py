"""Whether wells of one condition resemble each other more than wells of different ones."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Random groups per condition; together they are the null of all.
NULL_GROUPS = 20
# The share of the null that a condition has to exceed, as published.
NULL_QUANTILE = 0.95


class ReplicateCorrelations(NamedTuple):
    """How well the wells of each condition agree.

    Attributes
    ----------
    names
        Shape (n,): the conditions of two wells or more, in the order of their first wells.
    correlation
        Shape (n,): median Pearson correlation between the profiles of a condition's wells.
    null
        Shape (m,): the same of wells of different conditions, put together on the same plates.
    """

    names: npt.NDArray[np.str_]
    correlation: Floats
    null: Floats

    @property
    def limit(self) -> float:
        """What a condition has to exceed: the 95th percentile of the null; NaN without one."""
        return float(np.quantile(self.null, NULL_QUANTILE)) if len(self.null) else float("nan")

    @property
    def share(self) -> float:
        """The share of conditions that exceed the limit ("percent replicating")."""
        return float(np.mean(self.correlation > self.limit)) if len(self.null) else float("nan")


def correlate_replicates(
    profiles: npt.ArrayLike, names: npt.ArrayLike, plates: npt.ArrayLike, *, seed: int
) -> ReplicateCorrelations:
    """Correlate the wells of every condition, and as many wells of different conditions.

    Parameters
    ----------
    profiles
        Shape (well, feature), relative to the controls of each well's plate, finite.
    names, plates
        Shape (well,): the condition and the plate of each well.
    seed
        Of the null.

    Returns
    -------
    ReplicateCorrelations
        A profile that is constant correlates with nothing: 0. The null has 20 groups per
        condition; groups for which a plate has no other condition left are not drawn.

    References
    ----------
    Way et al., Cell Systems 13:911 (2022), doi:10.1016/j.cels.2022.10.001 (percent replicating).
    """
    values = np.asarray(profiles, dtype=np.float64)
    labels, places = np.asarray(names, dtype=str), np.asarray(plates, dtype=str)
    unit = _to_unit(values)
    random = np.random.default_rng(seed)
    on_plate = {str(plate): np.flatnonzero(places == plate) for plate in np.unique(places)}
    found: list[str] = []
    correlation: list[float] = []
    null: list[float] = []
    for name in dict.fromkeys(labels.tolist()):
        wells = np.flatnonzero(labels == name)
        if len(wells) < 2:
            continue
        found.append(name)
        correlation.append(_median_correlation(unit[wells]))
        for _ in range(NULL_GROUPS):
            group = _draw_group(random, [on_plate[str(places[w])] for w in wells], labels, name)
            if group:
                null.append(_median_correlation(unit[group]))
    return ReplicateCorrelations(np.array(found, dtype=str), np.array(correlation), np.array(null))


def correlate_plates(
    profiles: npt.ArrayLike, names: npt.ArrayLike, plates: npt.ArrayLike
) -> tuple[list[str], Floats, Floats]:
    """Correlate what conditions do on one plate with what they do on another.

    Parameters
    ----------
    profiles, names, plates
        As for `correlate_replicates`.

    Returns
    -------
    plates : list of str
        Their names, sorted.
    same, other : ndarray, shape (plate, plate)
        Mean Pearson correlation of the profiles of the conditions that both plates have, and of
        each with the *other* ones of these; NaN on the diagonal and for fewer than three shared
        conditions.
    """
    values = np.asarray(profiles, dtype=np.float64)
    labels, places = np.asarray(names, dtype=str), np.asarray(plates, dtype=str)
    found = [str(plate) for plate in np.unique(places)]
    means: list[dict[str, Floats]] = []
    for plate in found:
        here = places == plate
        means.append(
            {str(n): values[here & (labels == n)].mean(axis=0) for n in np.unique(labels[here])}
        )
    same = np.full((len(found), len(found)), np.nan)
    other = same.copy()
    for i in range(len(found)):
        for j in range(i):
            shared = sorted(set(means[i]) & set(means[j]))
            if len(shared) < 3:
                continue
            one, two = (_to_unit(np.array([means[k][n] for n in shared])) for k in (i, j))
            table = one @ two.T
            n = len(shared)
            same[i, j] = same[j, i] = np.trace(table) / n
            other[i, j] = other[j, i] = (table.sum() - np.trace(table)) / (n * (n - 1))
    return found, same, other


def _to_unit(rows: Floats) -> Floats:
    """Centre rows and bring them to length 1; constant ones become 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)


def _median_correlation(unit: Floats) -> float:
    """Give the median over pairs of rows of length 1."""
    above = np.triu_indices(len(unit), 1)
    return float(np.median((unit @ unit.T)[above]))


def _draw_group(
    random: np.random.Generator,
    candidates: list[npt.NDArray[np.intp]],
    labels: npt.NDArray[np.str_],
    name: str,
) -> list[int]:
    """Draw one well per plate given, of different conditions, none of them ``name``."""
    taken = {name}
    group = []
    for wells in candidates:
        free = [w for w in wells.tolist() if labels[w] not in taken]
        if not free:
            return []
        chosen = free[int(random.integers(len(free)))]
        taken.add(str(labels[chosen]))
        group.append(chosen)
    return group
