"""The image files of every well, found in one table of millions of rows."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from i2r.types import unit_key


class SourcesByKey(Mapping[str, pd.DataFrame]):
    """The rows of a table of image files by unit key; a table of its own only where asked for.

    Parameters
    ----------
    sources
        One row per image file, with ``plate`` and ``well``.
    """

    def __init__(self, sources: pd.DataFrame) -> None:
        self._sources = sources
        found = sources.groupby(["plate", "well"], sort=False).indices
        places = sorted(found.items(), key=lambda place: int(place[1][0]))
        self._rows = {unit_key(str(p), str(w)): np.sort(rows) for (p, w), rows in places}

    def __getitem__(self, key: str) -> pd.DataFrame:
        return self._sources.iloc[self._rows[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _columns(self) -> pa.Table:
        return pa.Table.from_pandas(self._sources, preserve_index=False, nthreads=1)

    def tabulate(self, key: str, columns: Sequence[str]) -> list[list[Any]]:
        """Give some columns of a well's rows as plain values, without making a table of them."""
        rows = self._rows[key]
        first, number = int(rows[0]), len(rows)
        if int(rows[-1]) - first == number - 1:
            parts = [self._columns[name].slice(first, number) for name in columns]
        else:
            parts = [self._columns[name].take(pa.array(rows)) for name in columns]
        return [list(row) for row in zip(*(part.to_pylist() for part in parts), strict=True)]
