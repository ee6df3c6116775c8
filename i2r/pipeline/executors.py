"""Places where units run: this process, or the workers of a Dask cluster."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

from i2r.cluster import AnyCluster, JobClusterSpec, WorkerKind
from i2r.cluster.startup import Say, find_link, start_cluster
from i2r.errors import I2RError, InputError
from i2r.pipeline.absence import AbsenceWatch
from i2r.pipeline.memory import MemoryWatch
from i2r.pipeline.rehearsal import deal_rehearsals, rehearse
from i2r.pipeline.submissions import Finished, Submission, Submissions
from i2r.store import files

if TYPE_CHECKING:
    from distributed import Future

_RESOURCE: dict[WorkerKind, str] = {"cpu": "CPU", "gpu": "GPU"}


# Parts of a cluster file that may hold secrets: they are not written down.
_UNTOLD: Any = {"security": True} | {group: {"job_script_prologue"} for group in _RESOURCE}

# How often the scheduler is asked which workers there are.
LOOK_EVERY_S = 5.0
# Small units travel together, so that a submission is worth what client and scheduler spend on it,
# about 5 ms. They can keep up with many workers if a submission takes a slot long enough, ...
BUNDLE_S_PER_SLOT = 0.01
# ... and with few workers bundles are small: the pixels of a large one are gone from memory when
# its wells come to the next stage.
LEAST_BUNDLE_S, MOST_BUNDLE_S = 0.05, 1.0
# Nothing travels inside a process, but the ledger is written before and after each bundle. Wells of
# usual size go through all stages one by one, so that each stage finds the pixels still in memory.
BUNDLE_IN_PROCESS_S = 0.25

# A scheduler that was only cut off for a moment is found again.
RECONNECT_S = 30.0


class _Closing:
    """Closes itself at the end of a with statement."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what it holds."""


class InProcess(_Closing):
    """Runs units one after another in this process; for tests, notebooks and debugging."""

    link = ""
    description: Mapping[str, Any] = {"type": "none"}
    # Whether workers end by themselves and hand their units back, without a word to the client.
    hands_back = False
    # How long the units of a submission should take together.
    bundle_s = BUNDLE_IN_PROCESS_S

    def __init__(self) -> None:
        self._finished: list[Finished] = []

    def window(self, group: WorkerKind) -> int:
        """Give how many submissions may be in flight: one, it is over when `submit` returns."""
        return 1

    def slots(self, group: WorkerKind) -> int:
        """One unit at a time, and no GPU worker."""
        return 1 if group == "cpu" else 0

    def threads(self, group: WorkerKind) -> int:
        """Give the threads that a unit may use: all of the machine."""
        return psutil.cpu_count() or 1

    def memory_bytes(self, group: WorkerKind) -> int:
        """Give the memory of the machine."""
        return int(psutil.virtual_memory().total)

    def has_room(self, address: str, *, group: WorkerKind) -> bool:
        """Whether a worker takes one more submission: there are none to choose from."""
        return False

    def submit(
        self,
        handle: int,
        name: str,
        function: Callable[..., Any],
        argument: object,
        **workers: object,
    ) -> None:
        """Run the function now: there are no workers to choose from."""
        self._finished.append(Finished(handle, function(argument, "this process"), None))

    def rehearse(self, verbs: Sequence[str]) -> None:
        """Nothing: one process compiles what it needs when it needs it."""

    def wait(self, timeout_s: float) -> list[Finished]:
        """Return what has run."""
        finished, self._finished = self._finished, []
        return finished

    def report(self, url: str) -> AbstractContextManager[None]:
        """Report nothing: that is about Dask's workers."""
        return nullcontext()

    def close(self) -> None:
        """Nothing to stop."""


class OnCluster(_Closing):
    """Runs units on a Dask cluster with tagged CPU and GPU workers.

    Parameters
    ----------
    spec
        The cluster file.

    Raises
    ------
    InputError
        If no worker answers, or GPU workers are required and there are none.
    """

    def __init__(self, spec: AnyCluster, *, say: Say = lambda line: None) -> None:
        self._rehearsals: list[Future] = []
        self._spec = spec
        with ExitStack() as stack:
            self._client, self._keeper = start_cluster(spec, stack, say=say)
            self._memory, self._absence = MemoryWatch(self._client), AbsenceWatch()
            self._submissions = Submissions(self._client)
            self._looked_s, self._n_ended = time.monotonic(), 0
            known = self._client.scheduler_info(n_workers=-1)["workers"]
            self._workers = known.values()
            self._submissions.note_workers(known, n_gpus=self.slots("gpu"))
            self.link = find_link(self._client)
            self._address = self._client.scheduler_info()["address"]
            self.hands_back = isinstance(spec, JobClusterSpec)
            self.description = {
                **spec.model_dump(exclude=_UNTOLD),
                "cpu_slots": self.slots("cpu"),
                "gpu_slots": self.slots("gpu"),
            }
            self._check()
            # Nothing went wrong, so it stays open until `close`.
            self._stack = stack.pop_all()

    def _check(self) -> None:
        """Refuse a cluster that can't do anything, or lacks what its file requires."""
        if not self.slots("cpu") and not self.slots("gpu"):
            raise InputError(
                f"cluster {self._spec.address or 'local'}: no worker has the resource CPU or GPU. "
                "Start workers with --resources 'CPU=N', N their threads, or --resources 'GPU=1'."
            )
        if self._spec.gpu.required and not self.slots("gpu"):
            raise InputError(
                "cluster: the file says 'gpu: required: true', but no GPU worker is there. "
                "Start one with the resource GPU=1, or drop that line."
            )

    def slots(self, group: WorkerKind) -> int:
        """Give how many units of one thread can run at once; of jobs, when all of them run."""
        if isinstance(self._spec, JobClusterSpec):
            jobs = getattr(self._spec, group)
            return int(jobs.jobs * (jobs.cores if group == "cpu" else jobs.processes))
        total = sum(worker["resources"].get(_RESOURCE[group], 0) for worker in self._workers)
        return int(total)

    def window(self, group: WorkerKind) -> int:
        """Give how many submissions may be in flight: two for every slot, so none runs dry."""
        return 2 * max(1, self.slots(group))

    def threads(self, group: WorkerKind) -> int:
        """Give the threads of the group's largest worker: a unit runs on one."""
        if isinstance(self._spec, JobClusterSpec):
            return int(getattr(self._spec, group).nthreads) if self.slots(group) else 0
        of_group = [w for w in self._workers if w["resources"].get(_RESOURCE[group], 0)]
        return max((int(worker["nthreads"]) for worker in of_group), default=0)

    @property
    def bundle_s(self) -> float:
        """How long the units of a submission should take together."""
        wanted = BUNDLE_S_PER_SLOT * (self.slots("cpu") + self.slots("gpu"))
        return min(MOST_BUNDLE_S, max(LEAST_BUNDLE_S, wanted))

    def has_room(self, address: str, *, group: WorkerKind) -> bool:
        """Whether a worker takes one more submission that prefers it: two for every slot."""
        return group == "cpu" and self._submissions.has_room(address)

    def memory_bytes(self, group: WorkerKind) -> int:
        """Give the memory of the smallest worker of a group."""
        if isinstance(self._spec, JobClusterSpec):
            return int(getattr(self._spec, group).memory_bytes)
        limits = [
            int(worker["memory_limit"])
            for worker in self._workers
            if worker["resources"].get(_RESOURCE[group], 0) and worker["memory_limit"]
        ]
        return min(limits, default=int(psutil.virtual_memory().total))

    def submit(
        self,
        handle: int,
        name: str,
        function: Callable[..., Any],
        argument: object,
        *,
        group: WorkerKind,
        threads: int,
        near: str = "",
    ) -> None:
        """Start ``function(argument)`` on a worker of the group; every submission names one.

        ``near`` is the address of a worker that has room: it is preferred to all others.
        """
        amount = 1 if group == "gpu" else threads
        asked = Submission(name, function, argument, _RESOURCE[group], amount, near=near)
        self._submissions.start(handle, asked)

    def rehearse(self, verbs: Sequence[str]) -> None:
        """Have the CPU workers of every machine compile kernels, each a part of them.

        Nobody waits for that: a unit that comes first compiles for itself. Workers of jobs come
        when the batch system lets them, so nothing can be dealt out among them.
        """
        if isinstance(self._spec, JobClusterSpec):
            return
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        by_host = defaultdict[str, list[str]](list)
        for address, worker in workers.items():
            if worker["resources"].get(_RESOURCE["cpu"], 0):
                by_host[worker["host"]].append(address)
        for addresses in by_host.values():
            for address, part in zip(
                addresses, deal_rehearsals(verbs, len(addresses)), strict=True
            ):
                if part:
                    future = self._client.submit(
                        rehearse,
                        part,
                        key=f"rehearsal-{address}",
                        pure=False,
                        workers=[address],
                        resources={_RESOURCE["cpu"]: 1},
                    )
                    self._rehearsals.append(future)

    def ask_all(self, function: Callable[..., Any], argument: object) -> tuple[Any, ...]:
        """Call ``function(argument, worker)``, with Dask's worker, on all of them."""
        answers = self._client.run(_on_worker, function, argument)
        return tuple(answers[address] for address in sorted(answers))

    def wait(self, timeout_s: float) -> list[Finished]:
        """Return what came back, waiting at most so long for the first.

        Raises
        ------
        InputError
            If the batch system keeps ending the jobs of a group that units wait for.
        I2RError
            If the scheduler is gone and does not come back, no worker has memory left, or those
            of this machine do not start again.
        """
        if self._keeper is not None:
            self._keeper.check()
        if self._client.status != "running":
            self._wait_for_scheduler()
        self._look()
        return [
            item._replace(error=self._memory.explain(item.error)) if item.error else item
            for item in self._submissions.wait(timeout_s)
        ]

    def _look(self) -> None:
        """Look at the workers now and then: whether any is left that takes what is submitted."""
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        workers, n_ended = list(known.values()), self._submissions.n_ended
        self._submissions.note_workers(known, n_gpus=self.slots("gpu"))
        self._memory.check(workers, moving=n_ended != self._n_ended)
        self._looked_s, self._n_ended = time.monotonic(), n_ended
        self._submissions.free_stranded(known)
        # Jobs may wait in a queue for hours, and so may the workers of a scheduler that is there.
        if self._spec.type == "local":
            self._absence.check(workers, self._submissions.list_resources())

    @contextmanager
    def report(self, url: str) -> Iterator[None]:
        """Write Dask's performance report about what runs meanwhile, an HTML file, to a URL."""
        import tempfile

        from distributed import performance_report

        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/report.html"
            with self._client.as_current(), performance_report(filename=path):
                yield
            files.write_bytes(url, files.read_bytes(path))

    def _wait_for_scheduler(self) -> None:
        """Give a lost connection some time; what was under way is lost with the scheduler."""
        deadline = time.monotonic() + RECONNECT_S
        while self._client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.2)
        if self._client.status != "running":
            raise I2RError(f"the scheduler {self._address} is gone, expected it to answer.")

    def close(self) -> None:
        """Cancel what runs, close the client and stop the workers that were started here."""
        if self._client.status == "running":
            futures = [*self._submissions.list_futures(), *self._rehearsals]
            self._client.cancel(futures, force=True)
        self._stack.close()


Executor = InProcess | OnCluster


def _on_worker(function: Callable[..., Any], argument: object, dask_worker: Any = None) -> Any:
    """Call the function beside what a worker is computing."""
    return function(argument, dask_worker)


def open_executor(spec: AnyCluster, *, say: Say = lambda line: None) -> "Executor":
    """Start the workers a cluster file describes, or connect to them."""
    if spec.type == "none":
        return InProcess()
    return OnCluster(spec, say=say)
