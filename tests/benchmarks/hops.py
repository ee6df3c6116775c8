"""How many files of i2r a well passes through, by stage: ``python -m tests.benchmarks.hops``.

A small plate is run through the first stages and a fast screen. Then one unit of each stage is built
and computed once more, in this process, and every file of i2r in which a function is called is
counted: on the client (build) and on the worker (compute). Lock, ledger and scheduler are not used.
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
        for title, files in count_hops(run_plate(Path(folder))).items():
            print(f"{title}: {len(files)} files")
            if "-v" in sys.argv:
                print("   ", "\n    ".join(sorted(files)))
