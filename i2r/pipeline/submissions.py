"""What workers were asked to do: near the pixels it needs, and again where a worker was lost."""

import queue
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple

from i2r.pipeline.absence import is_absence

if TYPE_CHECKING:
    from distributed import Client, Future


class Finished(NamedTuple):
    """A submission that came back: its value and its worker's address, or what lost it."""

    handle: int
    value: Any
    error: BaseException | None
    address: str = ""


class Submission(NamedTuple):
    """What a worker is asked to do, and how often it was asked."""

    name: str
    function: Callable[..., Any]
    argument: object
    resource: str
    amount: int
    # The worker to prefer, by its address; empty for any.
    near: str = ""
    times: int = 0


class Submissions:
    """Holds what is on its way until it comes back.

    Parameters
    ----------
    client
        The client of the cluster.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._queue = queue.SimpleQueue[Finished]()
        self._pending: dict[int, tuple[Submission, Future]] = {}
        # How many of them prefer a worker, and how many run on it at once, by its address.
        self._near, self._slots = Counter[str](), dict[str, int]()
        self._stranded = set[int]()
        # How many came back so far, lost ones too.
        self.n_ended = 0

    def start(self, handle: int, asked: Submission) -> None:
        """Submit, under a name of its own each time: the scheduler may know the one before."""
        future = self._client.submit(
            _call,
            asked.function,
            asked.argument,
            key=f"{asked.name}-again{asked.times}" if asked.times else asked.name,
            pure=False,
            retries=0,
            resources={asked.resource: asked.amount},
            workers=[asked.near] if asked.near else None,
            allow_other_workers=bool(asked.near),
        )
        self._pending[handle] = asked, future
        self._near[asked.near] += 1
        future.add_done_callback(lambda done: self._collect(handle, done))

    def _collect(self, handle: int, future: "Future") -> None:
        """Queue a future's end; called in one of the client's threads."""
        try:
            address, value = future.result()
            self._queue.put(Finished(handle, value, None, address))
        except (Exception, CancelledError) as error:
            self._queue.put(Finished(handle, None, error))

    def wait(self, timeout_s: float) -> list[Finished]:
        """Return what came back, waiting at most so long for the first.

        What no worker was there for is submitted again, for any worker.
        """
        finished, answers = list[Finished](), list[Finished]()
        try:
            finished.append(self._queue.get(timeout=timeout_s))
            while True:
                finished.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        self.n_ended += len(finished)
        for item in finished:
            asked, future = self._pending.pop(item.handle)
            # Keeping the future would keep its key, and the scheduler would answer a new
            # attempt under that key with the old error.
            future.release()
            self._near[asked.near] -= 1
            is_stranded = item.handle in self._stranded
            self._stranded.discard(item.handle)
            if item.error is None:
                answers.append(item)
                continue
            self._slots.pop(asked.near, None)  # until the next look
            if is_stranded or is_absence(item.error):
                self.start(item.handle, asked._replace(times=asked.times + 1, near=""))
            else:
                answers.append(item)
        return answers

    def has_room(self, address: str) -> bool:
        """Whether a worker takes one more submission that prefers it: two for every slot."""
        return self._near[address] < 2 * self._slots.get(address, 0)

    def note_workers(self, workers: Mapping[str, Any], *, n_gpus: int) -> None:
        """Note the slots of every worker, by its address, if units may prefer one of them.

        Where that worker is gone Dask gives its units to any other and does not ask for resources.
        So all workers must offer the same, or a unit could wait for ever on one that can't run it.
        """
        offered = {address: w["resources"].get("CPU", 0) for address, w in workers.items()}
        alike = len(set(offered.values())) == 1 and not n_gpus
        self._slots = {address: int(slots) for address, slots in offered.items() if alike}

    def free_stranded(self, workers: Mapping[str, Any]) -> None:
        """Take back what waits for a worker that is gone, to be submitted again for any.

        Dask gives it to another worker; but if there was none at that time, it would wait for ever,
        whoever joins later.
        """
        lost = {
            handle: future
            for handle, (asked, future) in self._pending.items()
            if asked.near and asked.near not in workers
        }
        if not lost:
            return
        at_work = {key for keys in self._client.processing().values() for key in keys}
        for handle, future in lost.items():
            # A result that its worker took along before it was fetched is lost, not pending.
            if future.status in ("pending", "lost") and future.key not in at_work:
                self._stranded.add(handle)
                future.cancel()

    def list_resources(self) -> set[str]:
        """List the resources that something is waiting for or uses."""
        return {asked.resource for asked, _ in self._pending.values()}

    def list_futures(self) -> list["Future"]:
        """List the futures of all that did not come back."""
        return [future for _, future in self._pending.values()]


def _call(function: Callable[..., Any], argument: object) -> tuple[str, Any]:
    """Call the function with the name of the worker it runs on; give the worker's address too."""
    from distributed import get_worker

    worker = get_worker()
    return worker.address, function(argument, str(worker.name))
