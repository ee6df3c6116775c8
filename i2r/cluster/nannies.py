"""What starts and ends a worker process of this machine."""

import signal
from multiprocessing import resource_tracker
from threading import current_thread, main_thread

from distributed import Nanny, Status

# The system has killed a process by then, however busy it is.
REAP_S = 60.0


class PatientNanny(Nanny):  # type: ignore[misc]
    """A nanny whose worker leaves Ctrl-C to the client, and is waited for when it was killed.

    Dask gives a killed process a second to be gone. On a busy machine that is too short, and the
    end of a complete run would print the traceback of a time-out.
    """

    async def instantiate(self) -> Status:
        """Start the worker process, deaf to Ctrl-C and SIGHUP from its first moment.

        A terminal sends them to all processes, and one that is still importing Python dies of them
        with a traceback. The process inherits what this thread holds back; Python's handler runs
        in the main thread, which goes on hearing it.
        """
        if current_thread() is not main_thread():
            # Python's own helper ignores the others, and would die of a terminal that is closed.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            resource_tracker.ensure_running()  # its start would end the holding back of SIGINT
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        return await super().instantiate()

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the worker process, by force after the timeout."""
        try:
            await super().kill(timeout=timeout, reason=reason)
        except TimeoutError:
            # It may have ended in this very moment, and is let go of then.
            if (process := getattr(self.process, "process", None)) is not None:
                await process.join(REAP_S)
