"""Dask's settings and the environment of workers, the same for every kind of cluster."""

from i2r.store.recent import MEMORY_PART
from i2r.surroundings import THREAD_VARIABLES

# A worker that runs nothing, with all that the stages of images, screen and report import and
# compile: 380 MiB measured after features, 410 with the screen's, 450 with the report's
# (`tests.benchmarks.estimates`). Estimates of units hold 128 MiB of it.
WORKER_BYTES, IN_ESTIMATES_BYTES = 448 * 2**20, 2**27
# Dask pauses a worker whose memory is used up to this part: it would take no unit at all.
PAUSED_AT = 0.8
# And ends one whose memory is used up to this part.
ENDED_AT = 0.95
# Imported by every worker that is started here, which calls its dask_setup.
WORKER_SETUP = "i2r.cluster.worker_setup"
# How often every process looks at its event loop, its machine and its stack. As Dask ships it, that
# takes 6 % of a core beside each worker's units, and as much of the client's.
WATCH_SETTINGS = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.profile.interval": "100ms",
}
DASK_SETTINGS = {
    # That no worker is there is not the fault of a task: see i2r.pipeline.absence.
    "distributed.scheduler.no-workers-timeout": None,
    # The run loop tries again by itself, and finds out which unit it was that killed a worker.
    "distributed.scheduler.allowed-failures": 0,
    # A long training is not a dead worker.
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.admin.tick.limit": "1 hour",
    # Workers that ended start again, on a busy machine in minutes; jobs wait in a queue for hours.
    # Dask would give a worker up after 15 s: see i2r.pipeline.absence and i2r.cluster.keeper.
    "distributed.deploy.lost-worker-timeout": "1 day",
    **WATCH_SETTINGS,
}


def worker_environment(nthreads: int) -> dict[str, str]:
    """Give what has to be in a worker's environment before it imports anything."""
    variables = dict.fromkeys(THREAD_VARIABLES, str(nthreads))
    for name, value in WATCH_SETTINGS.items():
        variables[f"DASK_{name.replace('.', '__').replace('-', '_').upper()}"] = value
    # Workers that come and go as they should are no news on the user's terminal.
    return {**variables, "DASK_LOGGING__DISTRIBUTED": "error"}


def memory_environment() -> dict[str, str]:
    """Give the limits of memory that a job's worker holds to, whatever is configured on its node.

    Dask's older names are among them: from a file they would win over the present ones.
    """
    limits = {"PAUSE": str(PAUSED_AT), "TERMINATE": str(ENDED_AT)}
    return {
        f"DASK_{prefix}_{name}": value
        for prefix in ("DISTRIBUTED__WORKER__MEMORY_", "WORKER_MEMORY")
        for name, value in limits.items()
    }


def needed_bytes(peak_bytes: int) -> int:
    """Give the memory that a worker needs for a unit, from the unit's own estimate.

    It is ended before all of it is used, and a part of it holds the planes used last.
    """
    least = int(WORKER_BYTES / PAUSED_AT)
    used = peak_bytes + WORKER_BYTES - IN_ESTIMATES_BYTES
    # Planes have a part of what is beyond the process.
    return max(int((used - WORKER_BYTES / MEMORY_PART) / (ENDED_AT - 1 / MEMORY_PART)), least)
