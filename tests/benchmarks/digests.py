"""Do two versions of i2r, or two ways to run it, give the same results?

``python -m tests.benchmarks.digests ONE [OTHER]``: ONE and OTHER are experiments. Of one, the digest
of every array and table is printed; of two, what differs: arrays by name, tables column by column.

``--against COMMIT`` runs the smoke pipeline (every stage) and the demo's plate as the tree is now and as
it was at a commit, and compares the experiments; ``--only`` takes one of both. ``--ways`` runs the demo's plate on one worker of
this machine, on two, and on a SLURM of its own (`tests.slurm`). The demo's networks train for
a few steps; ``--whole`` trains them as the demo does. What does not end within ``--minutes`` is stopped and named.

Both trees are copies, so that nobody's edits get into a run, and kernels that were compiled come along.
A run takes about a minute on two idle cores, 10 to 14 on busy ones.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from i2r.errors import I2RError
from i2r.simulation import PRESETS, write_screen
from i2r.store.arrays import read_array
from i2r.store.tables import read_table
from i2r.testing import digest_experiment
from tests import slurm

HERE = Path(__file__).parents[2]
LOCAL = "type: local\ncpu: {{n_workers: {number}, memory_limit: 2GiB}}\ngpu: {{n_workers: 0}}\n"
# Of networks, so that a run takes a minute: sameness does not depend on how well they are trained.
BRIEF = {"n_folds": 2, "control_draws": 2, "max_steps": 20}
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


def copy_tree(folder: Path, commit: str = "") -> Path:
    """Copy this tree with what was compiled; with a commit, as it was there."""
    for name in ("i2r", "pipelines", "cluster"):
        # Numba knows what it compiled by the time of the source file.
        shutil.copytree(HERE / name, folder / name, symlinks=True)
    # What was renamed stands under both names.
    asked = ("diff", "--name-only", "--no-renames", commit)
    for path in _ask_git(*asked).splitlines() if commit else ():
        target = folder / path
        if path.split("/")[0] not in ("i2r", "pipelines", "cluster"):
            continue
        target.unlink(missing_ok=True)
        if _ask_git("ls-tree", commit, path):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_git("show", f"{commit}:{path}"))
    return folder


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=HERE, check=True, capture_output=True).stdout


def _ask_git(*words: str) -> str:
    return _git(*words).decode().strip()


def run_i2r(tree: Path, folder: Path, *words: str, minutes: float) -> None:
    """Run a command of i2r as a source tree has it."""
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "i2r", *words, "--progress", "none"], check=False, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True,
            timeout=60 * minutes,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        sys.exit(f"{tree.name}: i2r {' '.join(words)} did not end within {minutes:g} minutes")
    if done.returncode not in (0, 3):
        sys.exit(f"{tree}: i2r {' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print(f"{tree.name}: {words[1]}: {time.perf_counter() - started:.0f} s", flush=True)


def write_demo(tree: Path, *, whole: bool) -> str:
    """Write the demo's pipeline with brief trainings; give its path."""
    path = tree / "pipelines" / "demo.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if whole:
        return str(path)
    for stage in content["stages"]:
        if stage["stage"] == "screen":
            stage.update(BRIEF)
    brief = path.with_name("brief.yaml")
    brief.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(brief)


def compare_versions(
    commit: str, folder: Path, *, only: str | None, whole: bool, minutes: float
) -> Iterator[str]:
    """Run the smoke pipeline and the demo here and at a commit; say what differs."""
    here, before = copy_tree(folder / "here"), copy_tree(folder / commit, commit)
    # Edits that are not committed are in the copy too.
    copied = _ask_git("describe", "--always", "--dirty")
    write_screen(str(folder / "smoke"), PRESETS["smoke"], workers=2)
    pipelines = {"smoke": str(here / "pipelines" / "smoke.yaml")}
    shutil.move(folder / "smoke", here / "smoke")  # where the pipeline looks for it
    pipelines["demo"] = write_demo(here, whole=whole)
    for name, pipeline in pipelines.items():
        if only not in (None, name):
            continue
        for tree in (before, here):
            url = f"{tree.name}-{name}"
            run_i2r(tree, folder, "run", pipeline, url, minutes=minutes)
        yield f"{name}, {commit} against {copied}:"
        for line in compare(f"{folder}/{before.name}-{name}", f"{folder}/{here.name}-{name}"):
            yield f"  {line}"


def compare_ways(folder: Path, *, whole: bool, minutes: float) -> Iterator[str]:
    """Run the demo's plate in three ways; say what differs from one worker."""
    tree = copy_tree(folder / "here")
    pipeline = write_demo(tree, whole=whole)
    for number in (1, 2):
        cluster = folder / f"{number}.yaml"
        cluster.write_text(LOCAL.format(number=number))
        words = ("run", pipeline, f"local-{number}", "--cluster", str(cluster))
        run_i2r(tree, folder, *words, minutes=minutes)
    ways = ["local-2"]
    if reason := slurm.find_reason_against():
        yield f"no SLURM: {reason}"
    else:
        os.environ.update(slurm.start(folder / "daemons"))
        try:
            cluster = HERE / "cluster" / "slurm-test.yaml"
            run_i2r(
                tree, folder, "run", pipeline, "slurm", "--cluster", str(cluster), minutes=minutes
            )
        finally:
            slurm.stop(folder / "daemons")
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
    parser.add_argument("--only", choices=("smoke", "demo"), help="of --against")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each run")
    arguments = parser.parse_args()
    found = arguments.experiments
    if len(found) > 2 or not (found or arguments.against or arguments.ways):
        parser.error("give one experiment, two, --against COMMIT or --ways")
    if len(found) == 1:
        for path, digest in sorted(digest_experiment(found[0]).items()):
            print(digest[:16], path)
    if len(found) == 2:
        print("\n".join(compare(*found)))
    how = {"whole": arguments.whole, "minutes": arguments.minutes}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.against:
            for line in compare_versions(
                arguments.against, Path(folder) / "versions", only=arguments.only, **how
            ):
                print(line, flush=True)
        if arguments.ways:
            for line in compare_ways(Path(folder) / "ways", **how):
                print(line, flush=True)


if __name__ == "__main__":
    main()
