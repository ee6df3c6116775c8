"""The end of workers on a busy machine."""

import asyncio
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import Nanny, Scheduler, SpecCluster

from i2r.cluster.nannies import PatientNanny

# No process is gone by then, so every kill runs out of time.
AT_ONCE_S = 1e-4


def is_deaf_to_ctrl_c(pid: int) -> bool:
    """Tell whether a process holds Ctrl-C back, as it does from its first moment or never."""
    (line,) = re.findall("^SigBlk:(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(line, 16) >> (signal.SIGINT - 1) & 1)


@pytest.mark.parametrize(("kind", "is_patient"), [(Nanny, False), (PatientNanny, True)])
def test_a_worker_that_takes_its_time_to_die_is_waited_for(
    kind: type[Nanny], is_patient: bool
) -> None:
    options = {"nthreads": 1, "host": "127.0.0.1", "dashboard_address": None}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with SpecCluster(
        workers={"a": {"cls": kind, "options": options}}, scheduler=scheduler, silence_logs=40
    ) as cluster:
        nanny = cluster.workers["a"]
        pid = nanny.pid
        assert is_deaf_to_ctrl_c(pid) == is_patient
        if is_patient:
            cluster.sync(nanny.kill, timeout=AT_ONCE_S)
            assert not psutil.pid_exists(pid)
        else:
            with pytest.raises(TimeoutError):
                cluster.sync(nanny.kill, timeout=AT_ONCE_S)


def test_a_worker_that_ends_while_it_is_given_up_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nanny lets go of a process in the moment that it ends; nobody is left to wait for."""

    async def give_up(self: Nanny, timeout: float, reason: str) -> None:
        self.process.process = None
        raise TimeoutError

    monkeypatch.setattr(Nanny, "kill", give_up)
    nanny = object.__new__(PatientNanny)
    nanny.process = SimpleNamespace(process="a process")
    asyncio.run(nanny.kill())
