"""Tests of scale: whether numbers are counts, logarithms or standardised, by their values."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from i2r.errors import InputError

Floats = npt.NDArray[np.float64]
# A logarithm to base 2 of a count or of a share per million is never above this; of raw values of
# a whole transcriptome some always are.
LARGEST_LOGARITHM = 32.0
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
        return
    broken = n_broken / max(1, counts.shape[0] * counts.shape[1])
    largest = float(counts.data.max())
    raised = np.expm1(np.minimum(counts.data.astype(np.float64), 700))
    sums = np.bincount(counts.indices, raised, minlength=counts.shape[0])
    sums = sums[sums > 0]
    even = len(sums) > 1 and largest <= LARGEST_LOGARITHM and sums.std() < 0.01 * sums.mean()
    kind = (
        f"logarithms of counts scaled to {sums.mean():.0f} per cell" if even
        else "probably logarithms" if largest <= LARGEST_LOGARITHM else "probably scaled"
    )  # fmt: skip
    raise InputError(
        f"{where}: {broken:.0%} of the values are no whole numbers (up to {largest:g}), "
        f"{kind}, expected counts. {elsewhere or 'Give raw counts.'} Or set 'cells_scale' to "
        f"'logarithms' where they are. {_TRUST}"
    )


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
    if len(values) >= 5:
        spread = values.std(axis=0)
        used = spread > 0
        near = (np.abs(values[:, used].mean(axis=0)) < _STANDARD) & (
            np.abs(values[:, used].std(axis=0, ddof=1) - 1) < 2 * _STANDARD
        )
        if used.any() and near.mean() > 0.9:
            raise InputError(
                f"{where}: every gene has the mean 0 and the deviation 1 over lines, expected "
                f"expression before it was standardised. Give that. {_TRUST}"
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
    return [
        name
        for name, column in zip(names, values.T, strict=True)
        if any((column == np.arange(start, n + start)).all() for start in (0, 1))
    ]
