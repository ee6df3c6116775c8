"""How much memory an interactome takes, by the sizes of its files."""

from collections.abc import Mapping
from typing import Any

from i2r.formats.cell_containers import count_values
from i2r.formats.cell_matrices import count_entries
from i2r.store import files

# The process with pandas, SciPy and compiled kernels.
BASE_BYTES = 350_000_000
# Bytes of memory per byte of text: STRING's 600 MB took 2.7 GB, 550 MB with as many rows
# (`tests.benchmarks.genome`) 3.2 GB, a panel of 240 MB took 1.9 GB.
PER_BYTE = {"interactions": 4.6, "expression": 6.5}
# Of packed text, and of counts as a table of text.
PACKED, PER_BYTE_OF_COUNTS = 3.5, 12.0
# Sparse counts by cells are turned into counts by genes: 8 bytes for each, twice.
PER_VALUE = 16


def estimate_interactome(options: Mapping[str, Any]) -> int:
    """Estimate the peak memory of pruning with the options of the stage `interactome`, in bytes.

    What is not there yet, or not on this machine, counts nothing.
    """
    texts = [_measure_text(options[name]) * factor for name, factor in PER_BYTE.items()]
    cells = 0.0
    if options["edge_cost"] != "mi_score" and options["cells"]:
        url = options["cells"]
        n_values = count_entries(url) or count_values(url, layer=options["cells_layer"])
        cells = n_values * PER_VALUE or _measure_text(url) * PER_BYTE_OF_COUNTS
    # Tables are read one after another; interactions stay.
    return int(BASE_BYTES + max(texts[0], texts[1] + texts[0] / 4, cells + texts[0] / 4))


def _measure_text(url: str) -> float:
    """Give the size of a file as text, in bytes; 0 where there is none."""
    if not url or not files.is_local(url):
        return 0.0
    try:
        size = files.stat(url).size_bytes
    except OSError:
        return 0.0
    return size * (PACKED if url.endswith(".gz") else 1)
