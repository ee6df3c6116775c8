"""How many nuclei and features there are, as far as is known: what estimates are made from."""

from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import Ledger

TYPICAL_NUCLEI = 150
"""In a field, while nobody has counted them."""


def count_nuclei(experiment: Experiment, source: str, well: str) -> int:
    """Give the nuclei of a well, where they are known; else what such wells have."""
    result = experiment.ledger.result(source, well)
    if result is not None and "nuclei" in result:
        return int(result["nuclei"])
    return TYPICAL_NUCLEI * experiment.n_fields(well)


def count_plate(
    experiment: Experiment, source: str, plate: str, wells: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Give the nuclei of wells of a plate; remembered while the ledger records nothing more."""
    ledger = experiment.ledger
    known = _COUNTS.setdefault(ledger, {})
    n_events, counts = known.get((source, plate), (-1, None))
    if counts is None or n_events != ledger.n_events or len(counts) != len(wells):
        counts = np.array([count_nuclei(experiment, source, well) for well in wells], np.int64)
        known[source, plate] = (ledger.n_events, counts)
    return counts


_COUNTS: WeakKeyDictionary[Ledger, dict[tuple[str, str], tuple[int, npt.NDArray[np.int64]]]]
_COUNTS = WeakKeyDictionary()


def count_columns(experiment: Experiment, source: str, well: str, *, usual: int) -> int:
    """Give the features of a nucleus, from a well's table where it is done; else what is usual."""
    entry = experiment.ledger.entry(source, well)
    if entry is None or entry.event != "done":
        return usual
    return _count_columns(experiment.part_url(source, well), entry.fingerprint) or usual


@lru_cache(maxsize=64)
def _count_columns(url: str, _: str) -> int:
    """Count the columns of a table; 0 where there is none, as of embeddings."""
    return len(tables.read_columns(url)) if files.exists(url) else 0
