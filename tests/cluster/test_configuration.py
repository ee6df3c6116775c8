"""The user's configuration of Dask: without effect on workers that are ours, else one line."""

import socket
from pathlib import Path
from typing import Any

import dask
import pytest

from i2r.cluster import ClusterSpec, JobClusterSpec, WorkerGroup
from i2r.cluster.configuration import (
    check_scratch,
    check_security,
    choose_settings,
    find_link_template,
    make_security,
    speaks_tls,
)
from i2r.cluster.local import find_loopback, free_address
from i2r.errors import InputError
from i2r.pipeline.executors import OnCluster

# What sites and users have in their files for clusters of another kind.
HOSTILE: dict[str, Any] = {
    "distributed.comm.default-scheme": "ucx",
    "distributed.comm.require-encryption": True,
    "distributed.comm.tls.ca-file": "/nowhere/ca.pem",
    "distributed.dashboard.link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status",
    "distributed.scheduler.preload": ["nowhere"],
    "distributed.scheduler.idle-timeout": "1s",
    "distributed.scheduler.dashboard.tls.cert": "/nowhere/cert.pem",
    "distributed.client.preload": ["nowhere"],
    "distributed.nanny.preload": ["nowhere"],
    "distributed.worker.preload": ["nowhere"],
    "distributed.worker.lifetime.duration": "1s",
    "distributed.worker.memory.terminate": 0.01,
    "array.backend": "cupy",
}


def sleep_for(seconds: object, worker: str) -> str:
    import time

    time.sleep(float(str(seconds)))
    return worker


def test_workers_of_this_machine_have_dasks_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit="1GiB"), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    import distributed  # noqa: F401 - imported later, it would take its defaults back

    with dask.config.set(HOSTILE), OnCluster(spec) as executor:
        assert executor.link.startswith("http://127.0.0.1:")
        assert executor._address.startswith("tcp://")
        # Longer than the lifetime and the idle time-out together.
        executor.submit(1, "one", sleep_for, 3.0, group="cpu", threads=1)
        (answer,) = executor.wait(60)
    assert (answer.value, answer.error) == ("cpu-0", None)


def test_a_link_of_jupyterhub_is_used_where_it_can_be_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    with dask.config.set({"distributed.dashboard.link": HOSTILE["distributed.dashboard.link"]}):
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
