"""What starts and ends a worker process of this machine."""

from distributed import Nanny

# The system has killed a process by then, however busy it is.
REAP_S = 60.0


class PatientNanny(Nanny):  # type: ignore[misc]
    """A nanny that still waits for a worker that had to be killed.

    Dask gives a killed process a second to be gone. On a busy machine that is too short, and the
    end of a complete run would print the traceback of a time-out.
    """

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the worker process, by force after the timeout."""
        try:
            await super().kill(timeout=timeout, reason=reason)
        except TimeoutError:
            await self.process.process.join(REAP_S)
