"""How many files of i2r a well passes through, by stage: ``python -m tests.benchmarks.hops [-v]``.

A small plate is run through the first stages and a fast screen. Then one unit of each stage is built
and computed once more, in this process, and every file of i2r in which a function is called is
counted: on the client (build) and on the worker (compute). Lock and scheduler are not used.

Two counts are printed. *All* is every such file. *Own* leaves out what all of these stages pass
through: how any stage finds an experiment, a URL, a file, a checksum, whatever it is about. With -v
the files are listed.

On November 30 (after joins): all, own: convert 19 and 13, quality 15 and 9, segment 30 and 24, crop
16 and 10, features 21 and 15; that morning convert 26, quality 18, segment 37, crop 22, features 25.
By the same rule the version of November 25 with 45,000 lines (c865d9b) had: convert 17 and 11,
quality 16 and 10, segment 22 and 16, crop 17 and 11, features 21 and 15, screen 17 and 11. What came
since: quick LZW, plates' own decoder of TIFF, NGFF levels, recent planes, repairs of images before
they are segmented, light, evidence of fields.

Where memory is short, no recent planes are held (`i2r.store.recent`), and wells are read through up
to two files more.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import i2r
from i2r.cluster import ClusterSpec
from i2r.pipeline.run import load_last_pipeline, run_pipeline
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.store.experiment import Experiment, open_experiment
from i2r.testing import describe_pipeline, write_plate

PACKAGE = Path(i2r.__file__).parent


def list_called_files(work: Callable[[], object]) -> set[str]:
    """List the files of i2r whose functions are called meanwhile."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {
        Path(f).relative_to(PACKAGE).as_posix() for f in found if Path(f).is_relative_to(PACKAGE)
    }


def run_plate(folder: Path) -> Experiment:
    """Run a small plate through a fast screen."""
    content = describe_pipeline(write_plate(folder / "plate", wells=8, fields=2), screen=False)
    content["stages"] += ["features", {"stage": "screen", "method": "fast", "control_draws": 1}]
    pipeline = parse_pipeline(content, where="hops")
    run_pipeline(pipeline, str(folder / "e"), cluster=ClusterSpec(type="none"), style="none")
    return open_experiment(str(folder / "e"))


def count_hops(experiment: Experiment) -> dict[str, set[str]]:
    """Give the files that a unit of each stage passes through."""
    pipeline = load_last_pipeline(experiment)
    assert isinstance(pipeline, Pipeline)
    hops = {}
    for stage in pipeline.stages:
        key = stage.keys(experiment)[0]
        stage.build(experiment, key).compute(scheduler="synchronous")  # compile, fill caches
        hops[stage.title] = list_called_files(
            lambda stage=stage, key=key: stage.build(experiment, key).compute(  # type: ignore[misc]
                scheduler="synchronous"
            )
        )
    return hops


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        hops = count_hops(run_plate(Path(folder)))
    shared = set.intersection(*hops.values())
    for title, files in hops.items():
        print(f"{title}: {len(files)} files, {len(files - shared)} of them its own")
        if "-v" in sys.argv:
            print("   ", "\n    ".join(sorted(files - shared)))
    print(f"shared by all: {len(shared)} files")
    if "-v" in sys.argv:
        print("   ", "\n    ".join(sorted(shared)))
