"""A fuzz of the doors that is led by coverage: inputs that reach new lines are kept and changed on.

With atheris (``pip install 'i2r[fuzz]'``). Each door runs in a process of its own, as libFuzzer never
returns; anything but a result or a clear error is written to the folder and ends that door::

    python -m tests.faults.coverage --inputs 100000 header yaml pattern     # default: all doors
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from i2r.errors import I2RError

# What is given beside the bytes of a file, by the name of a door of `tests.test_fuzz`.
DOORS = (
    "header", "image", "mask", "ome-zarr", "phenix", "htd", "load_data", "sheet", "samplesheet",
    "pipeline", "cluster", "layout", "ledger", "experiment", "network", "matrix", "interactions",
    "panel", "vectors", "pattern",
)  # fmt: skip
# Of one input; what takes longer hangs.
LIMIT_S = 20
MAX_BYTES = 4096


def make_door(name: str, folder: Path) -> tuple[Callable[[bytes], None], bytes]:
    """Give what takes an input of a door, and a valid input; imports what it needs."""
    if name == "pattern":
        return make_pattern_door(), rb"(?P<well>[A-P]\d\d)_s(?P<field>\d+)_(?P<channel>\w+)\.tif"
    from tests.test_fuzz import TARGETS

    target = TARGETS[name]
    path = folder / target.name
    valid = target.valid if isinstance(target.valid, bytes) else target.valid(folder)

    def take(data: bytes) -> None:
        path.write_bytes(data)
        try:
            target.read(str(path))
        except I2RError as error:
            if len(str(error).split("\n")) > 6:
                raise AssertionError(str(error)) from error

    return take, valid


def make_pattern_door() -> Callable[[bytes], None]:
    """Take patterns as 'convert' does, and search some names for them."""
    from i2r.readers import ReaderOptions
    from i2r.readers.pattern import scan

    folder = tempfile.mkdtemp(prefix="i2r-names-")
    for name in (
        "P1_B03_s1_DNA.tif",
        "x" * 40 + ".tif",
        "r02c03f01p01-ch1sk1.tiff",
        "\u00e9 b.png",
    ):
        Path(folder, name).touch()

    def take(data: bytes) -> None:
        with suppress(I2RError):
            scan(folder, ReaderOptions(pattern=data.decode("utf-8", errors="replace")))

    return take


def fuzz(name: str, folder: Path, *, inputs: int, seed: int) -> None:
    """Run one door in this process; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["i2r"]):
        take, valid = make_door(name, folder)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    (corpus / "valid").write_bytes(valid)
    options = [
        f"-runs={inputs}", f"-seed={seed + 1}", f"-timeout={LIMIT_S}", "-rss_limit_mb=4096",
        f"-max_len={max(MAX_BYTES, 2 * len(valid))}", f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], take)
    atheris.Fuzz()


def run_door(
    name: str, folder: Path, *, inputs: int, seed: int
) -> tuple[int, int, list[Path], str]:
    """Fuzz a door in a process; give how many inputs it took and kept, what it found, its words."""
    command = [sys.executable, "-m", "tests.faults.coverage", "--door", str(folder), name]
    done = subprocess.run(
        [*command, "--inputs", str(inputs), "--seed", str(seed)],
        check=False, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    taken = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    kept = len(list((folder / "corpus").iterdir())) - 1 if (folder / "corpus").exists() else 0
    return int(taken[1]) if taken else 0, kept, sorted(folder.glob("found-*")), done.stderr


def main() -> None:
    """Fuzz doors one after another and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("doors", nargs="*", metavar="DOOR", help=", ".join(DOORS))
    parser.add_argument("--inputs", type=int, default=50_000, help="for each door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.door is not None:
        fuzz(given.doors[0], given.door, inputs=given.inputs, seed=given.seed)
        return
    base = Path(tempfile.mkdtemp(prefix="i2r-fuzz-", dir=os.environ.get("I2R_FUZZ_FOLDER")))
    total, failed = 0, False
    for name in given.doors or DOORS:
        folder = base / name.replace(" ", "-")
        folder.mkdir()
        taken, kept, found, words = run_door(name, folder, inputs=given.inputs, seed=given.seed)
        total += taken
        print(f"{name}: {taken} inputs, {kept} kept, {len(found)} found", flush=True)
        if found or taken < given.inputs:
            failed = True
            print(words[-2500:])
            print(f"  see {folder}")
    print(f"{total} inputs in all")
    sys.exit(failed)


if __name__ == "__main__":
    main()
