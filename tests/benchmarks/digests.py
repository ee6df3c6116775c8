"""Do two versions of i2r give the same results: ``python -m tests.benchmarks.digests ONE [OTHER]``.

ONE and OTHER are experiments. Of one, the digest of every array and table is printed; of two, what
differs: arrays by name, tables column by column. To compare versions, make a copy of the earlier
one (``git archive COMMIT | tar x -C DIR``), and run the same pipeline with each:

    cd DIR && PYTHONPATH=DIR python -m i2r run smoke/pipeline.yaml BEFORE
"""

import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd

from i2r.errors import I2RError
from i2r.store.arrays import read_array
from i2r.store.tables import read_table
from i2r.testing import digest_experiment

# Columns of a table that are named.
_MOST = 8


def name_kind(path: str) -> str:
    """Name what a path holds: a table by its name, an array by its folder."""
    first, _, rest = path.partition("/")
    if first == "tables":
        return rest.partition("/")[0]
    return "labels" if "/labels" in path else first


def describe_table(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say which columns of two tables differ, and by how much where they are numbers."""
    if len(one) != len(other):
        return f"{len(one)} rows, {len(other)}"
    words = []
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other:
            words.append(f"{name} {'gone' if name in one else 'new'}")
        elif one[name].astype(str).tolist() != other[name].astype(str).tolist():
            try:
                apart = np.nanmax(np.abs(one[name].astype(float) - other[name].astype(float)))
                words.append(f"{name} by {apart:.2g}")
            except (TypeError, ValueError):
                words.append(str(name))
    more = [f"{len(words) - _MOST} more"] if len(words) > _MOST else []
    return ", ".join([*words[:_MOST], *more]) or "types of columns"


def describe_difference(one: str, other: str, path: str) -> str:
    """Say how two arrays or tables differ."""
    try:
        if path.endswith(".parquet"):
            return describe_table(read_table(f"{one}/{path}"), read_table(f"{other}/{path}"))
        first, second = read_array(f"{one}/{path}"), read_array(f"{other}/{path}")
        if first.shape != second.shape or first.dtype != second.dtype:
            return f"{first.shape} {first.dtype}, {second.shape} {second.dtype}"
        apart = np.nanmax(np.abs(first.astype(float) - second.astype(float)), initial=0.0)
        return f"values by {apart:.2g}" if apart else "attributes"
    except (I2RError, FileNotFoundError, KeyError):
        return "attributes"


def compare(one: str, other: str) -> Iterator[str]:
    """Say what is equal and what is not, a line per kind of result."""
    before, after = digest_experiment(one), digest_experiment(other)
    equal: dict[str, int] = defaultdict(int)
    apart: dict[str, list[str]] = defaultdict(list)
    for path in sorted(before.keys() | after.keys()):
        kind = name_kind(path)
        if before.get(path) == after.get(path):
            equal[kind] += 1
        elif path not in before or path not in after:
            apart[kind].append("new" if path not in before else "gone")
        else:
            apart[kind].append(describe_difference(one, other, path))
    yield f"equal: {', '.join(f'{kind} {n}' for kind, n in sorted(equal.items()))}"
    for kind, found in sorted(apart.items()):
        yield f"{kind}: {len(found)} of {len(found) + equal[kind]} differ, as {found[0]}"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        for path, digest in sorted(digest_experiment(sys.argv[1]).items()):
            print(digest[:16], path)
    else:
        print("\n".join(compare(*sys.argv[1:3])))
