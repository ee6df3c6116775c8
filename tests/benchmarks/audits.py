"""How often an audit flags planted leaks, and sound screens; and how long a million nuclei take.

python -m tests.benchmarks audits [--seeds N] [--nuclei N]
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from i2r.audit.audit import audit_wells
from i2r.audit.wells import summarise_table
from tests.audit.planted import Planted, write_screen
from tests.audit.test_audit import LEAKS


def main() -> None:
    """Print a row per planted leak: flagged, and what else was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    given = parser.parse_args()
    for name, planted in {"nothing": Planted(), **LEAKS}.items():
        flagged: Counter[str] = Counter()
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                flagged.update(audit(write_screen(Path(folder), planted, seed=seed)) or ["nothing"])
        print(
            f"{name:12s} " + ", ".join(f"{what} {n}/{given.seeds}" for what, n in flagged.items())
        )
    if given.nuclei:
        large = Planted(features=85, plates=3)
        per_well = given.nuclei // (3 * 56)
        with tempfile.TemporaryDirectory() as folder:
            write_screen(Path(folder), large, n_nuclei=per_well)
            started, busy = time.perf_counter(), time.process_time()
            audit(Path(folder))
            print(
                f"{given.nuclei:,} nuclei x 85: {time.perf_counter() - started:.0f} s, of which the "
                f"processor worked {time.process_time() - busy:.0f} s"
            )


def audit(folder: Path) -> list[str]:
    """Audit a written screen; name its leaks."""
    cells, layout = str(folder / "cells.parquet"), str(folder / "layout.csv")
    return audit_wells(summarise_table(cells, layout, names={}, roles={})).leaks


if __name__ == "__main__":
    main()
