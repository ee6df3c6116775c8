"""What every worker that is started here does first; imported by name on the worker."""

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(worker: "Worker") -> None:
    """Leave Ctrl-C to the client: a terminal sends it to the workers too, and all complain."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hush_heartbeat(worker)


def hush_heartbeat(worker: "Worker") -> None:
    """Keep a worker that is ending from printing that its heartbeat no longer gets through.

    It closes its connections before it stops its heartbeat; one under way then prints the
    traceback of an error that there was not, at the end of a complete run too.
    """

    def is_news(record: logging.LogRecord) -> bool:
        ending = worker.status.name in ("closing", "closed")
        return not ending or "heartbeat" not in record.getMessage()

    logging.getLogger("distributed.worker").addFilter(is_news)
