"""The user's configuration of Dask: without effect on workers that are ours, else one line."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml

from i2r.cluster import ClusterSpec, JobClusterSpec, WorkerGroup
from i2r.cluster.configuration import (
    check_scratch,
    check_security,
    choose_settings,
    find_link_template,
    make_security,
    speaks_tls,
    use_settings,
)
from i2r.cluster.local import find_loopback, free_address
from i2r.cluster.settings import memory_environment
from i2r.errors import InputError
from i2r.pipeline.executors import OnCluster

# What sites and users have in their files for clusters of another kind, by the present names.
HOSTILE: dict[str, Any] = {
    "distributed": {
        "comm": {
            "default-scheme": "ucx",
            "require-encryption": True,
            "tls": {"ca-file": "/nowhere/ca.pem"},
        },
        "dashboard": {"link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"},
        "scheduler": {
            "preload": ["nowhere"],
            "idle-timeout": "1s",
            "dashboard": {"tls": {"cert": "/nowhere/cert.pem"}},
        },
        "client": {"preload": ["nowhere"]},
        "nanny": {"preload": ["nowhere"]},
        "worker": {
            "preload": ["nowhere"],
            "lifetime": {"duration": "1s"},
            "memory": {"terminate": 0.01},
        },
    },
    "array": {"backend": "cupy"},
    # Names of older versions win over the present ones when Dask is imported.
    "worker-memory-terminate": 0.01,
    "worker_memory_pause": 0.01,
}
LINK = HOSTILE["distributed"]["dashboard"]["link"]
# Older names, values of wrong types and out of range, in all the places where Dask looks.
ODD: dict[str, dict[Any, Any]] = {
    "older limits of memory": {"worker-memory-terminate": 0.01, "worker_memory_target": "x"},
    "older names": {
        "default-scheme": "ucx", "compression": "x", "connect-timeout": 0, "tick-time": "x",
        "worker-ttl": "1ms", "allowed-failures": "x", "work-stealing": "x", "log-length": -1,
        "multiprocessing-method": "x", "diagnostics-link": "{nowhere}", "ucx": 1, "rmm": "x",
        "distributed.p2p.disk": 3, "transition-log-length": "x",
    },
    "underscores": {"distributed": {"comm": {"require_encryption": True, "default_scheme": "ucx"}}},
    "a section that is a string": {"distributed": "x"},
    "a section that is a list": {"distributed": ["comm"]},
    "a section that is nothing": {"distributed": None},
    "parts of wrong types": {
        "distributed": {"comm": ["a"], "worker": None, "nanny": "x", "scheduler": [1], "admin": 7}
    },
    "values of wrong types": {
        "distributed": {
            "worker": {"memory": {"terminate": "x", "target": -1, "spill": ["a"], "pause": {}}},
            "nanny": {"environ": ["x"], "pre-spawn-environ": 3, "pre-spawn-environ-x": None},
            "admin": {"event-loop": "x", "tick": {"interval": "x", "limit": None}},
        }
    },
    "keys that are no strings": {7: 2, None: 3, "distributed": {1: 3}},
    "sections of Dask itself": {
        "tokenize": "x", "scheduler": "x", "num_workers": -1, "pool": "x", "optimization": 3,
        "multiprocessing": {"context": "x"}, "scheduler-address": "tcp://10.0.0.1:1",
        "array": 3, "dataframe": ["x"], "temporary-directory": ["x"],
    },
    "logging": {"logging": {"distributed": "shouting", "version": 2}},
}  # fmt: skip


@pytest.fixture
def configured() -> Iterator[Callable[[dict[Any, Any]], None]]:
    """Put a configuration in place of this process's, and this one back at the end."""
    import distributed  # noqa: F401 - imported later, it would take its defaults back

    before = dict(dask.config.config)

    def put(content: dict[Any, Any]) -> None:
        dask.config.config.clear()
        dask.config.config.update(deepcopy(content))

    yield put
    put(before)


def sleep_for(seconds: object, worker: str) -> str:
    import time

    time.sleep(float(str(seconds)))
    return worker


def test_workers_of_this_machine_have_dasks_own_settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    configured: Callable[[dict[Any, Any]], None],
) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    (tmp_path / "distributed.yaml").write_text(yaml.safe_dump(HOSTILE))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))  # the workers' processes read it too
    configured(HOSTILE)
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit="1GiB"), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with OnCluster(spec) as executor:
        assert executor.link.startswith("http://127.0.0.1:")
        assert executor._address.startswith("tcp://")
        # Longer than the lifetime and the idle time-out together.
        executor.submit(1, "one", sleep_for, 3.0, group="cpu", threads=1)
        (answer,) = executor.wait(60)
    assert (answer.value, answer.error) == ("cpu-0", None)


@pytest.mark.parametrize("name", ODD)
def test_nothing_of_the_users_is_left_while_workers_are_ours(
    name: str, configured: Callable[[dict[Any, Any]], None]
) -> None:
    configured({})
    with use_settings(ClusterSpec()):
        expected = deepcopy(dask.config.config)
    configured(ODD[name])
    with use_settings(ClusterSpec()):
        assert dask.config.config == expected
        assert dask.config.get("distributed.worker.memory.terminate") == 0.95
        assert dask.config.get("distributed.scheduler.allowed-failures") == 0
        assert dask.config.get("scheduler-address") is None
        # What each worker's process does: its files again, then the whole of ours over them.
        there = deepcopy(ODD[name]) | deepcopy(expected)
        for key in ("distributed.worker.memory.terminate", "distributed.comm.default-scheme"):
            assert dask.config.get(key, config=there) == dask.config.get(key)
    assert dask.config.get("temporary-directory", None) == ODD[name].get("temporary-directory")
    for key, value in ODD[name].items():
        if key not in dask.config.deprecations and key != "worker_memory_target":
            assert type(dask.config.config[key]) is type(value), "the user's again"


@pytest.mark.parametrize("name", ["older names", "a section that is a list", "logging"])
def test_the_scheduler_is_imported_under_any_configuration(name: str, tmp_path: Path) -> None:
    """In a process of its own, as the command line is: on import Dask acts on what it reads."""
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(ODD[name]))
    text = """if True:
        import warnings; warnings.simplefilter("ignore")
        from i2r.cluster import ClusterSpec
        from i2r.cluster.configuration import use_settings
        from i2r.surroundings import load_dask
        load_dask()
        import dask
        with use_settings(ClusterSpec()):
            print(dask.config.get("distributed.comm.default-scheme"))
    """
    done = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True,
        env={**os.environ, "DASK_CONFIG": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("tcp\n", "")


def test_jobs_hold_to_our_limits_of_memory_whatever_is_on_their_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "worker-memory-terminate: 0.01\ndistributed: {worker: {memory: {pause: 0.01}}}"
    )
    text = "import dask, distributed; print(dask.config.get('distributed.worker.memory'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], check=True, capture_output=True, text=True,
        env={**os.environ, "DASK_CONFIG": str(tmp_path), **memory_environment()},
    )  # fmt: skip
    limits = yaml.safe_load(done.stdout)
    assert (limits["pause"], limits["terminate"]) == (0.8, 0.95)


def test_a_link_of_jupyterhub_is_used_where_it_can_be_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    with dask.config.set({"distributed.dashboard.link": LINK}):
        assert "proxy" in find_link_template()
        monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX")
        assert "proxy" not in find_link_template()


def test_jobs_keep_the_sites_settings_but_for_those_that_end_them() -> None:
    settings = choose_settings(JobClusterSpec(type="slurm"))
    assert settings["distributed.scheduler.idle-timeout"] is None
    assert settings["distributed.comm.default-scheme"] == "tcp"
    assert "distributed" not in settings
    assert "distributed.comm.timeouts.connect" not in settings


def test_a_scheduler_that_is_there_is_reached_as_the_user_says() -> None:
    settings = choose_settings(ClusterSpec(type="connect", address="tcp://h:1"))
    assert not any(name.startswith("distributed.comm") for name in settings)


def test_required_encryption_without_certificates_is_a_line_for_jobs() -> None:
    spec = JobClusterSpec(type="slurm")
    assert not speaks_tls(spec)
    with dask.config.set({"distributed.comm.require-encryption": True}):
        assert speaks_tls(spec)
        with pytest.raises(InputError, match=r"cluster slurm: no certificates.*distributed\.comm"):
            check_security(spec, make_security(spec))


def test_a_folder_for_temporary_files_is_tried(tmp_path: Path) -> None:
    check_scratch("")
    check_scratch(str(tmp_path / "new"))
    with pytest.raises(InputError, match="temporary-directory is '/proc/nowhere'"):
        check_scratch("/proc/nowhere")


def test_a_machine_with_ipv6_alone_has_a_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such machine is at hand: the addresses that can be bound are said to be others."""
    bind = socket.socket.bind

    class Ipv6Only(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET:
                raise OSError(99, "Cannot assign requested address")
            if address[0] != "::1":
                bind(self, address)

    assert find_loopback() == "127.0.0.1"
    monkeypatch.setattr("i2r.cluster.local.socket.socket", Ipv6Only)
    assert find_loopback() == "[::1]"
    assert free_address("[::1]:8787") == "[::1]:8787"
    monkeypatch.setattr("i2r.cluster.local._is_free", lambda host, port: False)
    with pytest.raises(InputError, match="no loopback address"):
        find_loopback()
