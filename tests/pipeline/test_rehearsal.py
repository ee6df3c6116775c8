"""What is rehearsed is what runs: nothing is left to compile, and it is dealt out evenly."""

import ast
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import pytest

import i2r.kernels
from i2r.cluster import ClusterSpec, WorkerGroup
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.rehearsal import REHEARSALS, choose_rehearsals, deal_rehearsals, rehearse
from i2r.pipeline.spec import parse_pipeline
from i2r.testing import describe_pipeline, write_plate
from tests.conftest import run_here


def list_compiled() -> set[str]:
    """List the versions of kernels that this process has, compiled or from the disk."""
    found = set()
    for module in pkgutil.iter_modules(i2r.kernels.__path__):
        kernels = vars(sys.modules.get(f"i2r.kernels.{module.name}", i2r.kernels))
        for name, kernel in kernels.items():
            found |= {f"{module.name}.{name}{args}" for args in getattr(kernel, "signatures", ())}
    return found


def compare_run_with_rehearsal(folder: Path) -> None:
    """Rehearse, run images to features, and print what only the run compiled."""
    rehearse(REHEARSALS)
    rehearsed = list_compiled()
    described = describe_pipeline(write_plate(folder / "plate", wells=4), screen=False)
    described["stages"].insert(2, "illuminate")
    described["stages"].append({"stage": "features", "channels": ["DNA"]})
    assert run_here(parse_pipeline(described, where="test"), folder / "e").exit_code == 0
    print(f"rehearsed {len(rehearsed)}, more: {sorted(list_compiled() - rehearsed)}")


# Parabolas are for objects larger than a rehearsal's, and compiled with what chooses them.
NOT_REHEARSED = {"distances._measure_runs"}


def list_called(verbs: Sequence[str]) -> set[str]:
    """List the functions of kernels that rehearsals call, where nothing is compiled."""
    folder, called = os.path.dirname(i2r.kernels.__file__), set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(folder):
            called.add(f"{Path(path).stem}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        rehearse(verbs)
    finally:
        sys.setprofile(None)
    return called


def list_kernels() -> set[str]:
    """List the functions that are compiled, by their source."""
    found = set()
    for path in Path(i2r.kernels.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(
                "njit" in ast.unparse(decorator) for decorator in node.decorator_list
            ):
                found.add(f"{path.stem}.{node.name}")
    return found


def test_every_kernel_is_rehearsed() -> None:
    call = f"from {__name__} import *; print(sorted(list_kernels() - list_called(REHEARSALS)))"
    done = subprocess.run(
        [sys.executable, "-c", call],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    left = ast.literal_eval(done.stdout.splitlines()[-1])
    assert set(left) == NOT_REHEARSED
    assert len(left) < len(list_kernels()) / 2


@pytest.mark.slow
def test_a_run_compiles_nothing_that_was_not_rehearsed(tmp_path: Path) -> None:
    # In a process of its own, with nothing on the disk: what is called inside a kernel that comes
    # from there is not listed by itself.
    call = f"from {__name__} import *; compare_run_with_rehearsal(Path({str(tmp_path)!r}))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    done = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, check=True, env=environment
    )
    said = done.stdout.splitlines()[-1]
    assert said.endswith("more: []"), said
    assert int(said.split()[1].rstrip(",")) > 50


@pytest.mark.parametrize("hands", [1, 2, 3, 9])
def test_every_stage_is_dealt_once_and_nobody_has_much_more_than_others(hands: int) -> None:
    dealt = deal_rehearsals(list(REHEARSALS), hands)
    assert len(dealt) == hands
    assert sorted(verb for part in dealt for verb in part) == sorted(REHEARSALS)
    seconds = [sum(REHEARSALS[verb][1] for verb in part) for part in dealt]
    longest = max(cost_s for _, cost_s in REHEARSALS.values())
    assert max(seconds) - min(seconds) <= longest


def test_only_what_a_pipeline_needs_is_rehearsed() -> None:
    stages = [{"stage": "segment", "channel": "DNA", "method": "threshold"}, "crop"]
    convert = {"stage": "convert", "source": "x", "layout": "y", "pixel_size_um": 1}
    pipeline = parse_pipeline({"stages": [convert, *stages]}, where="test")
    assert choose_rehearsals(pipeline.stages) == ["segment threshold", "segment", "crop", "convert"]
    stages[0] = {"stage": "segment", "channel": "DNA", "method": "unet"}  # type: ignore[call-overload]
    pipeline = parse_pipeline({"stages": [convert, *stages]}, where="test")
    assert choose_rehearsals(pipeline.stages) == ["segment", "segment unet", "crop", "convert"]


def test_every_cpu_worker_of_a_machine_rehearses_its_own_part() -> None:
    kernels = ["quality._laplacian_variance", "crops._copy_masked"]
    cpu, gpu = WorkerGroup(n_workers=2, memory_limit="1GiB"), WorkerGroup(n_workers=1)
    spec = ClusterSpec(cpu=cpu, gpu=gpu, dashboard_address="127.0.0.1:0")
    with OnCluster(spec) as executor:
        executor.rehearse(["quality", "crop"])
        called = list[tuple[bool, ...]]()
        deadline = time.monotonic() + 200
        while sum(map(sum, called)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            called = sorted(executor.ask_all(find_called, kernels))
    assert called == [(False, False), (False, True), (True, False)]


def find_called(kernels: Sequence[str], worker: object) -> tuple[bool, ...]:
    """Tell which kernels a worker has called."""
    places = [kernel.split(".") for kernel in kernels]
    modules = [sys.modules.get(f"i2r.kernels.{module}") for module, _ in places]
    return tuple(
        module is not None and bool(getattr(module, name).signatures)
        for module, (_, name) in zip(modules, places, strict=True)
    )
