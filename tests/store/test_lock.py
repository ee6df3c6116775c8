"""The run lock: one client at a time, and a dead one never stands in the way."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from i2r.errors import I2RError, InputError
from i2r.store import files, lock
from i2r.store.lock import RunLock

# Real clients: each takes the lock when told to, says so, holds it for a moment.
CLIENT = """
import sys, time
from i2r.errors import InputError
from i2r.store.lock import RunLock
url, begin, hold_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
while time.time() < begin:
    pass
try:
    with RunLock(url, command="i2r run client"):
        print("won", flush=True)
        time.sleep(hold_s)
except InputError as error:
    print(f"refused: {error}", flush=True)
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_client() -> Iterator[Start]:
    """Start clients that are gone after the test."""
    with ExitStack() as stack:

        def start(url: Path, *, begin: float = 0.0) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CLIENT, str(url), str(begin), "60"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def write_holder(url: Path, **changes: Any) -> None:
    """Leave a lock behind, as a killed client does."""
    process = psutil.Process()
    holder = {
        "token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": process.pid,
        "processes": lock.find_process_space(),
        "started_after_boot_s": process.create_time() - psutil.boot_time(), "command": "i2r run old", "renewed": time.time(),
    }  # fmt: skip
    url.mkdir(exist_ok=True)
    (url / "run.lock").write_text(json.dumps(holder | changes))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_is_held_inside_and_gone_afterwards(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), command="i2r run"):
        holder = json.loads((tmp_path / "run.lock").read_text())
        assert (holder["pid"], holder["host"], holder["command"]) == (
            os.getpid(),
            socket.gethostname(),
            "i2r run",
        )
    assert os.listdir(tmp_path) == []


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(str(tmp_path), command=""):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_second_client_is_refused_and_told_who_holds_it(
    tmp_path: Path, start_client: Start
) -> None:
    client = start_client(tmp_path)
    assert read_line(client) == "won"
    with pytest.raises(InputError) as refusal, RunLock(str(tmp_path), command="mine"):
        pass
    for part in (f"process {client.pid}", socket.gethostname(), "i2r run client", "run.lock"):
        assert part in str(refusal.value)
    client.kill()
    client.wait()
    with RunLock(str(tmp_path), command="after the kill"):
        assert json.loads((tmp_path / "run.lock").read_text())["command"] == "after the kill"


def test_a_killed_client_that_nobody_waited_for_is_dead(
    tmp_path: Path, start_client: Start
) -> None:
    client = start_client(tmp_path)
    assert read_line(client) == "won"
    client.kill()
    while psutil.Process(client.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with RunLock(str(tmp_path), command=""):
        pass


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    write_holder(tmp_path, pid=dead_pid())
    with RunLock(str(tmp_path), command="new"):
        assert json.loads((tmp_path / "run.lock").read_text())["command"] == "new"
    assert os.listdir(tmp_path) == []


def test_a_younger_process_with_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    started_s = psutil.Process().create_time() - psutil.boot_time()
    write_holder(tmp_path, started_after_boot_s=started_s - 3600)
    with RunLock(str(tmp_path), command="new"):
        pass
    write_holder(tmp_path)
    with pytest.raises(InputError, match="i2r run old"), RunLock(str(tmp_path), command="new"):
        pass


def test_a_clock_that_was_set_meanwhile_makes_no_living_holder_stale(
    tmp_path: Path, start_client: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start_client(tmp_path)
    assert read_line(client) == "won"
    # What the kernel does when the clock is set: the time of the boot moves along.
    then = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: then + 3600)
    assert psutil.boot_time() == then + 3600
    with pytest.raises(InputError, match="client"), RunLock(str(tmp_path), command="mine"):
        pass


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"pid": 1}'])
def test_a_damaged_lock_is_waited_for_and_then_taken_over(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(lock, "STALE_S", 0.1)
    (tmp_path / "run.lock").write_text(content)
    with RunLock(str(tmp_path), command="new"):
        assert json.loads((tmp_path / "run.lock").read_text())["command"] == "new"


def test_another_machines_lock_counts_while_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 0.4)
    write_holder(tmp_path, host="elsewhere", pid=1)
    renewals = iter(range(100))

    def renew_and_sleep(seconds: float) -> None:
        write_holder(tmp_path, host="elsewhere", pid=1, renewed=time.time() + next(renewals))

    monkeypatch.setattr(lock.time, "sleep", renew_and_sleep)
    with (
        pytest.raises(InputError, match="process 1 on elsewhere"),
        RunLock(str(tmp_path), command=""),
    ):
        pass
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)  # the heartbeat stopped
    with RunLock(str(tmp_path), command="new"):
        assert json.loads((tmp_path / "run.lock").read_text())["command"] == "new"


def test_the_holder_renews_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with RunLock(str(tmp_path), command=""):
        first = json.loads((tmp_path / "run.lock").read_text())["renewed"]
        deadline = time.monotonic() + 60
        while json.loads((tmp_path / "run.lock").read_text())["renewed"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_lost_the_lock_neither_renews_nor_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with RunLock(str(tmp_path), command="asleep for too long") as mine:
        mine.check()
        write_holder(tmp_path, host="elsewhere", command="took it over")
        mine._thread.join(60)
        with pytest.raises(I2RError, match="another client's"):
            mine.check()
        assert json.loads((tmp_path / "run.lock").read_text())["command"] == "took it over"
    assert json.loads((tmp_path / "run.lock").read_text())["command"] == "took it over"


def test_a_renewal_that_fails_for_any_reason_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectTimeoutError(Exception):
        """What clients of object stores raise is no `OSError`."""

    failures = []

    def fail_twice(url: str, *pieces: bytes) -> int:
        if len(failures) < 2:
            failures.append(url)
            raise ConnectTimeoutError
        return write(url, *pieces)

    write = files.write_bytes
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with RunLock(str(tmp_path), command=""):
        monkeypatch.setattr(files, "write_bytes", fail_twice)
        first = (tmp_path / "run.lock").read_text()
        deadline = time.monotonic() + 60
        while (tmp_path / "run.lock").read_text() == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(failures) == 2


def test_a_stale_lock_in_an_object_store_that_another_client_took_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    quicker, late = RunLock(url, command="the quicker one"), RunLock(url, command="late")
    files.write_bytes(f"{url}/run.lock", b'{"host": "elsewhere"}')

    def lose_the_race(holder: dict[str, Any]) -> bool:
        monkeypatch.undo()
        files.write_bytes(f"{url}/run.lock", quicker._content())
        return True

    monkeypatch.setattr(late, "_is_stale", lose_the_race)
    with pytest.raises(InputError, match="the quicker one"), late:
        pass
    assert files.read_bytes(f"{url}/run.lock").startswith(quicker._content()[:40])


def test_an_interrupt_while_taking_the_lock_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_of_mine = RunLock(str(tmp_path), command="")

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_of_mine._thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt), lock_of_mine:
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(lock.os, "link", refuse)
    with RunLock(str(tmp_path), command="first"):
        with pytest.raises(InputError, match="first"), RunLock(str(tmp_path), command="second"):
            pass
        assert os.listdir(tmp_path) == ["run.lock"]
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_half_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_bytes", fail)
    monkeypatch.setattr(lock.os, "link", fail)
    with pytest.raises((OSError, InputError)), RunLock(str(tmp_path), command=""):
        pass
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("left_behind", [True, False], ids=["stale lock", "no lock"])
def test_of_several_that_start_at_once_exactly_one_wins(
    left_behind: bool, tmp_path: Path, start_client: Start
) -> None:
    for round_number in range(2 if left_behind else 1):
        if left_behind:
            write_holder(tmp_path, pid=dead_pid())
        begin = time.time() + 3.0
        clients = [start_client(tmp_path, begin=begin) for _ in range(4)]
        answers = [read_line(client) for client in clients]
        for client in clients:
            client.kill()
            client.wait()
        assert answers.count("won") == 1, (round_number, answers)
        assert sum(a.startswith("refused") for a in answers) == 3
        assert [n for n in os.listdir(tmp_path) if n != "run.lock"] == []


def test_an_object_store_has_a_lock_too() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    first = RunLock(url, command="first")
    with first, pytest.raises(InputError, match="first"), RunLock(url, command="second"):
        pass
    assert not files.exists(f"{url}/run.lock")


def renew_as(url: Path, monkeypatch: pytest.MonkeyPatch, **holder: Any) -> None:
    """Have a holder that can't be seen from here renew its lock."""
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 0.4)
    renewals = iter(range(100))
    write_holder(url, **holder)
    monkeypatch.setattr(
        lock.time,
        "sleep",
        lambda seconds: write_holder(url, **holder, renewed=time.time() + next(renewals)),
    )


@pytest.mark.parametrize("processes", ["another kernel pid:[1]", ""])
def test_a_host_name_that_two_containers_share_is_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str
) -> None:
    renew_as(tmp_path, monkeypatch, pid=dead_pid(), processes=processes)
    with pytest.raises(InputError, match="held by process"), RunLock(str(tmp_path), command=""):
        pass
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)
    with RunLock(str(tmp_path), command="new"):
        pass


def test_a_holder_in_a_namespace_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one: its process number means another process here, or none."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        able = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("no namespaces here")
    client = subprocess.Popen(
        [*command, sys.executable, "-c", CLIENT, str(tmp_path), "0", "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert read_line(client) == "won"
        monkeypatch.setattr(lock, "HEARTBEAT_S", 0.5)
        with pytest.raises(InputError, match="client"), RunLock(str(tmp_path), command="mine"):
            pass
    finally:
        client.kill()
        client.communicate()


def test_the_token_tells_whose_the_lock_is(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), command="") as own:
        assert lock.has_token(str(tmp_path), own.token)
        assert not lock.has_token(str(tmp_path), "another")
    assert not lock.has_token(str(tmp_path), own.token)


def test_a_dead_clients_lock_is_removed_where_nobody_takes_it_over(tmp_path: Path) -> None:
    write_holder(tmp_path, pid=dead_pid())
    lock.remove_dead_lock(str(tmp_path))
    assert os.listdir(tmp_path) == []
    lock.remove_dead_lock(str(tmp_path))  # there is none: nothing happens


@pytest.mark.parametrize(
    "changes", [{}, {"host": "elsewhere"}, {"array": "job array 7"}, {"processes": "others"}]
)
def test_a_lock_that_may_be_alive_stays(changes: dict[str, str], tmp_path: Path) -> None:
    write_holder(tmp_path, **({"pid": dead_pid()} | changes if changes else {}))
    before = (tmp_path / "run.lock").read_bytes()
    lock.remove_dead_lock(str(tmp_path))
    assert (tmp_path / "run.lock").read_bytes() == before
