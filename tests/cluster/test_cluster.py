"""Where units run: the right workers, their own share of threads, and nothing left behind."""

import asyncio
import importlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from distributed import Scheduler, Status, Worker

from i2r.cluster import ClusterSpec, WorkerGroup, load_cluster, startup
from i2r.cluster.cards import share_card
from i2r.cluster.worker_setup import hush_heartbeat
from i2r.errors import InputError
from i2r.pipeline.executors import InProcess, OnCluster, open_executor
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.summary import Summary
from i2r.store.experiment import open_experiment
from tests.pipeline.stubs import Finishing, Stub, Whole, chain

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)


def spec_of(cpu: int = 1, gpu: int = 0, **options: Any) -> ClusterSpec:
    return ClusterSpec(
        cpu=WorkerGroup(n_workers=cpu, memory_limit="1GiB", nthreads=options.pop("nthreads", 1)),
        gpu=WorkerGroup(n_workers=gpu, memory_limit="1GiB", required=options.pop("required", False)),
        dashboard_address="127.0.0.1:0", **options,
    )  # fmt: skip


def look_around(argument: object, worker: str) -> dict[str, Any]:
    """Say what a worker is like, from inside."""
    import torch

    return {
        "worker": worker,
        "pid": os.getpid(),
        "environment": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "torch": torch.get_num_threads(),
        "ignores_ctrl_c": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    }


def leave_a_lock(argument: object, worker: str) -> None:
    """End as a worker does that is killed in the middle of a unit."""
    from multiprocessing import get_context

    os.lock = get_context("spawn").Lock()  # type: ignore[attr-defined] # held by what stays
    os.kill(os.getpid(), signal.SIGKILL)


def lose_a_worker() -> None:
    """Start a worker, and have it killed."""
    with OnCluster(spec_of(cpu=1)) as executor:
        executor.submit(1, "u", leave_a_lock, None, group="cpu", threads=1)
        assert [end.error is not None for end in executor.wait(60)] == [True]


def ask(executor: OnCluster | InProcess, *groups: str) -> list[dict[str, Any]]:
    for handle, group in enumerate(groups):
        executor.submit(handle, f"look-{handle}", look_around, None, group=group, threads=1)  # type: ignore[arg-type]
    answers: list[dict[str, Any]] = []
    while len(answers) < len(groups):
        for item in executor.wait(60):
            assert item.error is None
            answers.append(item.value)
    return answers


def own_children() -> list[psutil.Process]:
    """List this process's children, but for the one that keeps track of shared memory."""
    found = []
    for child in psutil.Process().children(recursive=True):
        if "resource_tracker" not in " ".join(child.cmdline()):
            found.append(child)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = {child.pid for child in own_children()}
    yield
    deadline = time.monotonic() + 60
    while (
        left := [c for c in own_children() if c.pid not in before]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def run(pipeline: Any, url: Path, spec: ClusterSpec) -> Summary:
    return run_pipeline(pipeline, str(url), cluster=spec, style="none")


def workers_of(url: Path, stage: str) -> set[str]:
    return {entry.worker for entry in open_experiment(str(url)).ledger.entries(stage)}


# ------------------------------------------------------------------------------- placement


def test_units_run_on_the_workers_of_their_kind_and_on_no_other(tmp_path: Path) -> None:
    pipeline = chain(
        tmp_path / "log", Stub, Finishing, Whole,
        stub={"gpu": True, "wait_s": 0.01}, finishing={"wait_s": 0.01}, whole={"gpu": True},
    )  # fmt: skip
    assert run(pipeline, tmp_path / "e", spec_of(cpu=2, gpu=1)).exit_code == 0
    assert workers_of(tmp_path / "e", "stub") == {"gpu-0"}
    assert workers_of(tmp_path / "e", "whole") == {"gpu-0"}
    assert workers_of(tmp_path / "e", "source") <= {"cpu-0", "cpu-1"}
    assert workers_of(tmp_path / "e", "finishing") <= {"cpu-0", "cpu-1"}


def test_what_a_killed_worker_leaves_is_cleared_away_without_a_word() -> None:
    call = "from tests.cluster.test_cluster import lose_a_worker as f; f()"
    ended = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__': {call}"],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True,
    )  # fmt: skip
    assert "leaked" not in ended.stderr


def test_without_gpu_workers_gpu_stages_run_on_cpus_after_a_notice(tmp_path: Path) -> None:
    said: list[str] = []
    pipeline = chain(tmp_path / "log", Stub, stub={"gpu": True})
    summary = run_pipeline(
        pipeline, str(tmp_path / "e"), cluster=spec_of(), style="none", say=said.append
    )
    assert summary.exit_code == 0
    assert workers_of(tmp_path / "e", "stub") == {"cpu-0"}
    assert "no GPU worker: GPU stages run on the CPU workers" in said


def test_required_gpu_workers_that_are_not_there_are_missed_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="no GPU worker is there"):
        run(chain(tmp_path / "log", Stub), tmp_path / "e", spec_of(required=True))
    assert time.monotonic() - began < 60
    assert not (tmp_path / "e").exists() or os.listdir(tmp_path / "e") == []


def test_nothing_is_left_behind_after_failures_either(tmp_path: Path) -> None:
    pipeline = chain(tmp_path / "log", Stub, stub={"behave": {"P1/A01": "die", "P1/A02": "fail"}})
    summary = run(pipeline, tmp_path / "e", spec_of())
    assert {u.key for u in summary.failed} == {"P1/A01", "P1/A02"}


# ------------------------------------------------------------------------------- the workers


def test_every_worker_has_its_own_share_and_answers_on_this_machine_only() -> None:
    with open_executor(spec_of(cpu=1, gpu=1, nthreads=2)) as executor:
        assert (executor.slots("cpu"), executor.slots("gpu")) == (2, 1)
        assert (executor.threads("cpu"), executor.threads("gpu")) == (2, 1)
        assert executor.memory_bytes("cpu") == 2**30
        answers = {a["worker"]: a for a in ask(executor, "cpu", "gpu")}
        assert set(answers) == {"cpu-0", "gpu-0"}
        for worker, threads in (("cpu-0", "2"), ("gpu-0", "1")):
            assert answers[worker]["environment"] == dict.fromkeys(THREAD_VARIABLES, threads)
            assert answers[worker]["torch"] == int(threads)
            assert answers[worker]["ignores_ctrl_c"]
        assert executor.link.startswith("http://127.0.0.1:")
        listening = {
            connection.laddr.ip
            for process in [psutil.Process(), *own_children()]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}


def test_a_taken_dashboard_port_gives_another_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with open_executor(
            spec_of().model_copy(update={"dashboard_address": f"127.0.0.1:{port}"})
        ) as executor:
            assert executor.link
            assert f":{port}/" not in executor.link


def _read_watching(argument: object, worker: Any) -> list[float]:
    callbacks = worker.periodic_callbacks
    return [callbacks[name].callback_time for name in ("tick", "monitor", "profile")]


def test_the_settings_of_dask_and_the_environment_are_put_back() -> None:
    import dask

    before = dask.config.get("distributed.scheduler.allowed-failures", None)
    environment = dict(os.environ)
    with open_executor(spec_of()) as executor:
        assert dask.config.get("distributed.scheduler.allowed-failures") == 0
        # Dask gives a worker up that is not back in 15 s, and a busy machine needs longer to start.
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "1 day"
        # As Dask ships it a worker looks at itself 160 times a second, beside what it computes.
        assert isinstance(executor, OnCluster)
        assert executor.ask_all(_read_watching, None) == ([1000, 2000, 100],)
    assert dask.config.get("distributed.scheduler.allowed-failures", None) == before
    assert dict(os.environ) == environment


def test_an_existing_scheduler_is_used_and_left_running(tmp_path: Path) -> None:
    from distributed import SpecCluster, Worker
    from distributed.scheduler import Scheduler

    workers = {
        "mine": {
            "cls": Worker,
            "options": {"nthreads": 1, "resources": {"CPU": 1}, "host": "127.0.0.1"},
        }
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with SpecCluster(workers=workers, scheduler=scheduler) as cluster:
        spec = load_cluster(cluster.scheduler_address)
        assert run(chain(tmp_path / "log", Stub), tmp_path / "e", spec).ran == {
            "source": 6,
            "stub": 6,
        }
        assert workers_of(tmp_path / "e", "stub") == {"mine"}
        assert len(cluster.scheduler_info["workers"]) == 1


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "CONNECT_TIMEOUT", "1s")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(InputError, match=address):
        open_executor(load_cluster(address))


def test_this_process_is_one_slot() -> None:
    with InProcess() as executor:
        assert (executor.slots("cpu"), executor.slots("gpu")) == (1, 0)
        assert executor.threads("cpu") >= 1
        (answer,) = ask(executor, "cpu")
        assert answer["pid"] == os.getpid()


# ------------------------------------------------------------------------------- the file


def test_a_cluster_file_says_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    for text, expected in (
        ("cpus: {n_workers: 2}", "'cpus'"),
        ("cpu: {n_worker: 2}", "cpu.n_worker"),
        ("cpu: {nthreads: 0}", "cpu.nthreads"),
        ("a: [", "no valid YAML"),
        ("- 1", "cluster"),
        ("type: cloud", "type"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            load_cluster(str(path))
        (line,) = str(error.value).splitlines()
        assert expected in line
        assert str(path) in line
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="no valid YAML"):
        load_cluster(str(path))
    for absent in (str(tmp_path / "absent.yaml"), str(tmp_path)):
        with pytest.raises(InputError, match="no such file"):
            load_cluster(absent)


def test_an_empty_cluster_file_is_the_default_and_addresses_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("")
    assert load_cluster(str(path)) == ClusterSpec()
    assert load_cluster("none").type == "none"
    assert load_cluster("tls://host:1").address == "tls://host:1"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "cluster").glob("*.yaml")), ids=lambda p: p.name
)
def test_cluster_files_that_ship_can_be_read(path: Path) -> None:
    load_cluster(str(path))


DASK_CUDA = {
    "__init__.py": "",
    "initialize.py": """
        import os, click
        @click.command()
        @click.option("--create-cuda-context", is_flag=True)
        def dask_setup(worker, create_cuda_context):
            os.environ["CARD_OPENED"] = f"{create_cuda_context} {os.environ['CUDA_VISIBLE_DEVICES']}"
    """,
    "plugins.py": """
        import os
        from distributed import WorkerPlugin
        class CPUAffinity(WorkerPlugin):
            def __init__(self, cores):
                self.cores = cores
            def setup(self, worker=None):
                os.environ["HOLDS_TO"] = str(self.cores)
    """,
    "utils.py": """
        def get_gpu_count():
            return 4
        def get_cpu_affinity(index):
            return [index, index + 4]
        def nvml_device_index(i, visible):
            return int(visible.split(",")[i])
    """,
}


def look_at_card(folder: str, worker: str) -> tuple[str | None, ...]:
    """Say what a worker was started with for its card, once both units run: each on one worker."""
    Path(folder, worker).touch()
    deadline = time.monotonic() + 120
    while len(os.listdir(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    names = ("CUDA_VISIBLE_DEVICES", "CARD_OPENED", "HOLDS_TO")
    return tuple(os.environ.get(name) for name in names)


@pytest.mark.parametrize("installed", [True, False])
def test_a_worker_of_a_card_is_dask_cudas_where_that_is_installed(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with cards is not at hand: what asks the driver is stood in for, nothing else."""
    if installed:
        (tmp_path / "dask_cuda").mkdir()
        for name, text in DASK_CUDA.items():
            (tmp_path / "dask_cuda" / name).write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("i2r.cluster.local.count_gpus", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    spec = ClusterSpec(cpu=WorkerGroup(n_workers=0), dashboard_address="127.0.0.1:0")
    (met := tmp_path / "met").mkdir()
    with OnCluster(spec) as executor:
        assert executor.slots("gpu") == 2
        for handle in range(2):
            executor.submit(handle, f"u{handle}", look_at_card, str(met), group="gpu", threads=1)
        found = []
        while len(found) < 2:
            found += [item.value for item in executor.wait(60)]
    for name in [name for name in sys.modules if name.split(".")[0] == "dask_cuda"]:
        del sys.modules[name]
    cards = {("1", "True 1", "[1, 5]"), ("3", "True 3", "[3, 7]")}
    assert set(found) == (cards if installed else {("1", None, None), ("3", None, None)})


def test_how_many_share_a_card_is_a_number_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert share_card(WorkerGroup(workers_per_gpu=3)) == 3
    assert share_card(WorkerGroup(workers_per_gpu="auto")) == 1, "no card, nothing to measure"
    for wrong in (0, "many"):
        with pytest.raises(ValueError, match="workers_per_gpu"):
            WorkerGroup(workers_per_gpu=wrong)


@pytest.mark.parametrize(
    "file", ["cluster/README.md", "pipelines/notebooks/screen_on_a_cluster.ipynb"]
)
def test_the_factory_for_jupyterlabs_extension_makes_workers_of_i2r(
    file: str, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / file).read_text()
    if file.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    (block,) = re.findall(r"^( *)labextension:\n((?:\1 +.*\n)+)", text, re.MULTILINE)
    factory = yaml.safe_load(textwrap.dedent(block[0] + "labextension:\n" + block[1]))
    factory = factory["labextension"]["factory"]
    kind = getattr(importlib.import_module(factory["module"]), factory["class"])
    made = kind(n_workers=1, dashboard_address="127.0.0.1:0", **factory["kwargs"])
    try:
        address = ClusterSpec(type="connect", address=made.scheduler_address)
        summary = run(chain(tmp_path / "log", Stub), tmp_path / "e", address)
    finally:
        startup.close_cluster(made)
    assert summary.ran == {"source": 6, "stub": 6}


def test_only_a_worker_that_is_ending_is_quiet_about_its_heartbeat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def complaints() -> int:
        return sum("heartbeat" in record.getMessage() for record in caplog.records)

    async def live() -> tuple[int, int]:
        async with (
            Scheduler(port=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as scheduler,
            Worker(scheduler.address, nthreads=1, dashboard=False) as worker,
        ):
            hush_heartbeat(worker)
            await worker.rpc.close()
            with suppress(RuntimeError):  # closed connections; Dask then ends the worker
                await worker.heartbeat()
            at_work = complaints()
            assert worker.status == Status.closed
            with suppress(RuntimeError):
                await worker.heartbeat()
            return at_work, complaints() - at_work

    logger = logging.getLogger("distributed.worker")
    try:
        with caplog.at_level("ERROR", logger="distributed.worker"):
            logger.addHandler(caplog.handler)
            said = asyncio.run(live())
    finally:
        logger.removeHandler(caplog.handler)
        logger.filters.clear()
    assert said[0] > 0  # two handlers may hear the same
    assert said[1] == 0
