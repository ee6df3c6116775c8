"""Tests of scale: whether numbers are counts, logarithms or standardised, by their values."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from i2r.errors import InputError

Floats = npt.NDArray[np.float64]
# A logarithm to base 2 of a count or of a share per million is never above this; of raw values of
# a whole transcriptome some always are.
LARGEST_LOGARITHM = 32.0
# Values from which on it can be told that whole numbers are no counts.
_ENOUGH = 1000
# Rows from which on numbers in a row are no chance, wherever they begin.
_MANY_ROWS = 10
# Of standardised values, how far means of genes may be from 0 and deviations from 1.
_STANDARD = 0.05
_TRUST = "If they are what they should be all the same, set 'check_scale' to false."


def check_counts(counts: sparse.csc_array, *, where: str, elsewhere: str = "") -> None:
    """Refuse values of cells that are no counts.

    Parameters
    ----------
    counts : (cell, gene)
        Sparse; finite, 0 or more.
    where
        What to call them in messages.
    elsewhere
        What to say of where the file has counts; empty for nothing.

    Raises
    ------
    InputError
        If some are no whole numbers.
    """
    n_broken = int((counts.data != np.floor(counts.data)).sum())
    if not n_broken:
        if found := _find_whole_scale(counts):
            raise InputError(
                f"{where}: {found}, expected counts. {elsewhere or 'Give raw counts.'} {_TRUST}"
            )
        return
    broken = n_broken / max(1, counts.shape[0] * counts.shape[1])
    largest = float(counts.data.max())
    raised = counts.copy()
    raised.data = np.expm1(np.minimum(counts.data.astype(np.float64), 100))
    plain, logs = _find_total(counts), _find_total(raised)
    kind = (
        f"scaled to {plain:.6g} per cell" if plain
        else f"logarithms of counts scaled to {logs:.0f} per cell"
        if logs and largest <= LARGEST_LOGARITHM
        else "probably logarithms" if largest <= LARGEST_LOGARITHM else "probably scaled"
    )  # fmt: skip
    raise InputError(
        f"{where}: {broken:.0%} of the values are no whole numbers (up to {largest:g}), "
        f"{kind}, expected counts. {elsewhere or 'Give raw counts.'} Or set 'cells_scale' to "
        f"'logarithms' where they are. {_TRUST}"
    )


def _sum_cells(counts: sparse.csc_array) -> Floats:
    """Give the sums of cells that have any; in the values' precision, which copies nothing."""
    sums = np.asarray(counts @ np.ones(counts.shape[1], dtype=counts.dtype), dtype=np.float64)
    return sums[sums > 0]


def _find_total(counts: sparse.csc_array) -> float:
    """Give the sum of values that all cells share; 0 where they differ."""
    sums = _sum_cells(counts)
    even = len(sums) > 1 and sums.std() < 0.01 * sums.mean()
    return float(sums.mean()) if even else 0.0


def _find_whole_scale(counts: sparse.csc_array) -> str:
    """Say what whole numbers are that are no counts; empty where they may be."""
    values = counts.data[: 10**6]
    values = values[values > 0]
    if len(values) < _ENOUGH:
        return ""
    divisor = int(np.gcd.reduce(values.astype(np.int64)))
    if divisor > 1:
        return f"every value is a multiple of {divisor}, which is a scale"
    if counts.data.max() == 1:
        return "every value is 0 or 1, which says what was seen and not how often"
    total = _find_total(counts)
    # Counts thinned to one depth have exactly one sum.
    if total and np.ptp(_sum_cells(counts)) > 0:
        return f"values of every cell add up to about {total:.0f}, so they are scaled and rounded"
    return ""


def check_logarithms(values: Floats, *, logarithm: bool, where: str) -> None:
    """Refuse expression that is not as the option 'logarithm' says, or is standardised.

    Parameters
    ----------
    values : (line, gene)
        Finite.
    logarithm
        Whether logarithms are still to be taken.
    where
        What to call them in messages.

    Raises
    ------
    InputError
        If raw values are to be taken as logarithms, logarithms are to be taken again, or every
        gene has the mean 0 and the deviation 1.
    """
    if not values.size:
        return
    largest = float(values.max())
    if found := _find_standardised(values):
        raise InputError(
            f"{where}: {found}, expected expression before it was standardised. Give that. {_TRUST}"
        )
    if not logarithm and largest > LARGEST_LOGARITHM:
        raise InputError(
            f"{where}: values up to {largest:g}, expected logarithms. Set 'logarithm' to true for "
            f"raw values, such as TPM. {_TRUST}"
        )
    if logarithm and largest <= LARGEST_LOGARITHM:
        raise InputError(
            f"{where}: values up to {largest:g} look like logarithms, expected raw values where "
            f"'logarithm' is set. Leave it out. {_TRUST}"
        )


def _find_standardised(values: Floats) -> str:
    """Say how (line, gene) values are standardised; empty where they aren't."""
    for what, own in (("gene", values), ("line", values.T)):
        if len(own) < 5:
            continue
        spread = own.std(axis=0, ddof=1)
        used = spread > 0
        if not used.any():
            continue
        spread = spread[used]
        middles = (own[:, used].mean(axis=0), np.median(own[:, used], axis=0))
        centred = max((np.abs(m) < _STANDARD * spread).mean() for m in middles) > 0.9
        if centred and (np.abs(spread - 1) < 2 * _STANDARD).mean() > 0.9:
            return f"every {what} has the mean 0 and the deviation 1"
        if centred:
            return f"every {what} has the middle 0"
    ranked = values.size >= _ENOUGH and values.min() >= 0 and values.max() <= 1
    return "every value is 0 to 1, as ranks or fractions are" if ranked else ""


def check_signatures(values: Floats, *, where: str) -> None:
    """Refuse signatures that are no differences: counts, or raw expression.

    Parameters
    ----------
    values : (gene, measured)
        Finite.
    where
        What to call them in messages.

    Raises
    ------
    InputError
        If none is below 0 and some are above the largest logarithm.
    """
    if values.size and values.min() >= 0 and values.max() > LARGEST_LOGARITHM:
        whole = "counts" if (values == np.floor(values)).all() else "raw values"
        raise InputError(
            f"{where}: 0 to {values.max():g} and none below 0, which are {whole}, expected "
            f"differences from controls or embeddings. Give those. {_TRUST}"
        )


def find_counters(values: Floats, names: list[str]) -> list[str]:
    """Find columns of a table of vectors that number its rows: an index that was saved as data.

    Parameters
    ----------
    values : (row, column)
        Finite, in the order of the file.
    names
        Of the columns.
    """
    n = len(values)
    if n < 3 or values.shape[1] < 2:
        return []
    steps = np.diff(values, axis=0)
    up, down = (steps == 1).all(axis=0), (steps == -1).all(axis=0)
    # From any number on, or backwards, only where that is no chance.
    counts = np.isin(values[0], (0, 1)) & up if n < _MANY_ROWS else up | down
    return [name for name, yes in zip(names, counts, strict=True) if yes]
