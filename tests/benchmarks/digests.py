"""Do two versions of i2r, or two ways to run it, give the same results?

``python -m tests.benchmarks.digests ONE [OTHER]``: ONE and OTHER are experiments. Of one, the digest
of every array and table is printed; of two, what differs: arrays by name, tables column by column.

``--against COMMIT`` runs ``i2r demo`` (a real plate, and a simulated one through every stage) as it
is here and as it was at a commit, and compares both of its experiments. ``--ways`` runs the demo's
plate on one worker of this machine, on two, and on a SLURM of its own (`tests.slurm`).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from i2r.errors import I2RError
from i2r.store.arrays import read_array
from i2r.store.tables import read_table
from i2r.testing import digest_experiment
from tests import slurm

HERE = Path(__file__).parents[2]
LOCAL = "type: local\ncpu: {{n_workers: {number}, memory_limit: 2GiB}}\ngpu: {{n_workers: 0}}\n"
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


def run_i2r(tree: Path, folder: Path, *words: str) -> None:
    """Run a command of i2r as a source tree has it."""
    done = subprocess.run(
        [sys.executable, "-m", "i2r", *words, "--progress", "none"], check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 3):
        sys.exit(f"{tree}: i2r {' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def compare_versions(commit: str, folder: Path) -> Iterator[str]:
    """Run the demo here and at a commit; say what differs."""
    before = folder / "before"
    before.mkdir()
    archive = folder / "before.tar"
    subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=HERE, check=True)
    subprocess.run(["tar", "xf", str(archive), "-C", str(before)], check=True)
    for tree, name in ((before, "one"), (HERE, "other")):
        run_i2r(tree, folder, "demo", name)
    for experiment in ("plate", "simulated/experiment"):
        yield f"demo, {experiment}, {commit} against here:"
        for line in compare(f"{folder}/one/{experiment}", f"{folder}/other/{experiment}"):
            yield f"  {line}"


def compare_ways(folder: Path) -> Iterator[str]:
    """Run the demo's plate in three ways; say what differs from one worker."""
    pipeline = str(HERE / "pipelines" / "demo.yaml")
    for number in (1, 2):
        cluster = folder / f"{number}.yaml"
        cluster.write_text(LOCAL.format(number=number))
        run_i2r(HERE, folder, "run", pipeline, f"local-{number}", "--cluster", str(cluster))
    ways = ["local-2"]
    if reason := slurm.find_reason_against():
        yield f"no SLURM: {reason}"
    else:
        os.environ.update(slurm.start(folder / "slurm"))
        try:
            cluster = HERE / "cluster" / "slurm-test.yaml"
            run_i2r(HERE, folder, "run", pipeline, "slurm", "--cluster", str(cluster))
        finally:
            slurm.stop(folder / "slurm")
        ways.append("slurm")
    for way in ways:
        yield f"demo's plate, local-1 against {way}:"
        for line in compare(f"{folder}/local-1", f"{folder}/{way}"):
            yield f"  {line}"


def main() -> None:
    """Print digests, or what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--ways", action="store_true")
    arguments = parser.parse_args()
    found = arguments.experiments
    if len(found) > 2 or not (found or arguments.against or arguments.ways):
        parser.error("give one experiment, two, --against COMMIT or --ways")
    if len(found) == 1:
        for path, digest in sorted(digest_experiment(found[0]).items()):
            print(digest[:16], path)
    if len(found) == 2:
        print("\n".join(compare(*found)))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.against:
            for line in compare_versions(arguments.against, Path(folder)):
                print(line, flush=True)
        if arguments.ways:
            for line in compare_ways(Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
