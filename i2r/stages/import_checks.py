"""Whether imported columns measure nuclei: not one that numbers rows, and none that tells wells."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]
# Rows below which a column that rises evenly may be chance.
LEAST_ROWS = 10
# Wells, and nuclei in each on average, from which a column that is the same within wells is no
# chance.
LEAST_WELLS, LEAST_NUCLEI = 3, 3

# Squares of smaller differences are 0 in single precision.
TINY = 1e-18


class ColumnChecks:
    """What is gathered of a table's columns while it is read once.

    Parameters
    ----------
    names
        Of the features.
    n_wells
        How many wells are wanted.
    """

    def __init__(self, names: Sequence[str], n_wells: int) -> None:
        self._names = names
        self._steps: Values | None = None
        self._n_rows = 0
        self._n_nuclei = np.zeros(n_wells, dtype=np.int64)
        # Of each well, the least and the greatest value; NaN where there is none.
        self._least = np.full((n_wells, len(names)), np.nan, np.float32)
        self._greatest = self._least.copy()

    def add_rows(self, values: Values) -> None:
        """Look at rows (row, feature) in the table's order, and by what each feature rises."""
        self._n_rows += len(values)
        rises = np.diff(values, axis=0)
        if len(rises):
            steps = rises[0] if self._steps is None else self._steps
            self._steps = np.where((rises == steps).all(axis=0), steps, np.float32(0))

    def add_well(self, well: int, values: Values) -> None:
        """Look at some of a well's rows (row, feature)."""
        self._n_nuclei[well] += len(values)
        low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        self._least[well] = np.fmin(self._least[well], low)
        self._greatest[well] = np.fmax(self._greatest[well], high)

    def find_problem(self) -> str:
        """Name the first column that would tell plates or wells apart as no measurement does."""
        steps = self._steps
        if steps is not None and self._n_rows >= LEAST_ROWS and (steps != 0).any():
            at = int((steps != 0).argmax())
            return (
                f"column {self._names[at]!r} rises by {steps[at]:g} from row to row, expected a "
                "measurement; it numbers the rows. Take it out of the table, or name it 'index'."
            )
        with np.errstate(invalid="ignore"):
            ranges = np.fmax.reduce(self._greatest, axis=0) - np.fmin.reduce(self._least, axis=0)
        if self._n_rows >= LEAST_ROWS and self._n_nuclei.any() and not (ranges > 0).any():
            return (
                f"each of its {len(self._names)} columns of features holds one value in all rows, "
                "expected measurements. Export it again."
            )
        if tiny := [n for n, width in zip(self._names, ranges, strict=True) if 0 < width < TINY]:
            return (
                f"values of column {tiny[0]!r} differ by less than {TINY:g}, which single "
                "precision can't square. Scale the column, or leave it out."
            )
        several = self._n_nuclei > 1
        if several.sum() < LEAST_WELLS or self._n_nuclei[several].mean() < LEAST_NUCLEI:
            return ""
        low, high = self._least[several], self._greatest[several]
        alike = ((low == high) | np.isnan(low)).all(axis=0)
        differ = np.fmin.reduce(low, axis=0) < np.fmax.reduce(high, axis=0)
        if not (alike & differ).any():
            return ""
        name = self._names[int((alike & differ).argmax())]
        return (
            f"column {name!r} is the same for all nuclei of each well, expected a measurement of "
            "each; it describes wells. Take it out of the table, or name it "
            f"'Metadata_{name}'."
        )
