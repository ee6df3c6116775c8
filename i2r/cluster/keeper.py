"""Keeps the number of jobs up: what the batch system ended is submitted again."""

import asyncio
import getpass
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from i2r.cluster.spec import JobClusterSpec
from i2r.errors import InputError

LOOK_EVERY_S = 20.0
# Jobs that can't start show it soon; a batch system may take a moment to list new ones, though.
YOUNG_S, YOUNG_EVERY_S, GRACE_S = 60.0, 4.0, 3.0
# A job that ends without ever having had a worker will do so again.
FAILURES = 3


class JobKeeper:
    """Compares the jobs of a cluster with those that the batch system knows.

    A scheduler sees only workers: it can't tell a job that waits in the queue from one that was
    cancelled there. So the batch system is asked which jobs there are.

    Parameters
    ----------
    cluster
        A `distributed.SpecCluster` of dask-jobqueue's jobs.
    spec
        Its file.
    """

    def __init__(self, cluster: Any, spec: JobClusterSpec) -> None:
        self._cluster = cluster
        user = getpass.getuser()
        self._list_command = (
            ["squeue", "--noheader", "--user", user, "--format", "%i"]
            if spec.type == "slurm"
            else ["qselect", "-u", user]
        )
        self._submitted: dict[str, tuple[str, float]] = {}
        self._failures: Counter[str] = Counter()

    @property
    def given_up(self) -> list[str]:
        """Jobs that ended several times without a worker, and are not submitted any more."""
        return sorted(name for name, number in self._failures.items() if number >= FAILURES)

    def check(self) -> None:
        """Refuse to go on where all jobs of a group are given up: its units would never run.

        Raises
        ------
        InputError
            If it is so.
        """
        left = {name.partition("-")[0] for name in self._cluster.worker_spec}
        if dead := sorted(name for name in self.given_up if name.partition("-")[0] not in left):
            raise InputError(
                f"cluster: the jobs {', '.join(dead)} ended {FAILURES} times without a worker, "
                "expected them to connect. See their output (log_directory in the cluster file) "
                "and the script ('i2r cluster script FILE')."
            )

    def waiting(self) -> dict[str, str]:
        """Give the job numbers of the jobs that have no worker yet, by name."""
        alive = self._names_alive()
        jobs = self._cluster.workers.items()
        return {name: job.job_id for name, job in jobs if name not in alive}

    def _names_alive(self) -> set[str]:
        """Name the jobs of which at least one worker is there."""
        workers = self._cluster.scheduler_info["workers"].values()
        names = {str(worker["name"]) for worker in workers}
        # With several processes a worker is called after its job and its number in it.
        return names | {name.rpartition("-")[0] for name in names}

    async def look(self) -> list[str]:
        """Look once; submit lost jobs again and return their names."""
        try:
            known = await list_jobs(self._list_command)
        except (OSError, RuntimeError, TimeoutError):
            return []  # the batch system is busy: look again later
        now, alive, lost = time.monotonic(), self._names_alive(), []
        for name, job in list(self._cluster.workers.items()):
            if name in alive:
                self._failures[name] = 0
            before = self._submitted.get(name)
            if before is None or before[0] != job.job_id:
                self._submitted[name] = (job.job_id, now)
            elif job.job_id not in known and now - before[1] > GRACE_S:
                lost.append(name)
        for name in lost:
            job = self._cluster.workers.pop(name)
            await job.close()
            if name not in alive:
                self._failures[name] += 1
        again = [name for name in lost if self._failures[name] < FAILURES]
        for name in set(lost) - set(again):
            self._cluster.worker_spec.pop(name, None)
        if again:
            self._cluster.scale(len(self._cluster.worker_spec))
        return again

    async def keep(self) -> None:
        """Look again and again, until cancelled; soon after a worker left or a job began."""
        looked, alive = time.monotonic(), set[str]()
        while True:
            await asyncio.sleep(1.0)
            now, before, alive = time.monotonic(), alive, self._names_alive()
            youngest = max((since for _, since in self._submitted.values()), default=now)
            every = YOUNG_EVERY_S if now - youngest < YOUNG_S else LOOK_EVERY_S
            if before - alive or now - looked > every:
                looked = now
                await self.look()


async def list_jobs(command: list[str], *, timeout_s: float = 30.0) -> set[str]:
    """Ask the batch system for the numbers of a user's jobs.

    Raises
    ------
    OSError, RuntimeError, TimeoutError
        If it does not answer.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    # PBS writes the server's name behind the number.
    return {line.strip().partition(".")[0] for line in said.decode().split()}
