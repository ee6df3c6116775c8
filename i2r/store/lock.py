"""The run lock: one client at a time works on an experiment."""

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import psutil

from i2r.errors import I2RError, InputError
from i2r.store import files
from i2r.store.documents import parse_json

HEARTBEAT_S = 5.0
# A holder on another machine is given this long without a heartbeat before it counts as dead.
STALE_S = 120.0
# What file systems without hard links answer.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class RunLock:
    """Holds ``run.lock`` in the experiment while its owner lives.

    The file appears in one step, complete, and says who holds it; a thread renews it every few
    seconds. A random token says whose it is. A lock is stale when its process is gone (where this
    process would see it) or when it was not renewed for two minutes (elsewhere: another machine, or
    a container with processes of its own), and then taken over. A holder that was suspended for so
    long learns from `check` that it is not the holder any more.

    Parameters
    ----------
    url
        The experiment.
    command
        What the holder runs, shown to whoever is refused.
    """

    def __init__(self, url: str, *, command: str) -> None:
        self._url = files.join_url(url, "run.lock")
        process = psutil.Process()
        self._owner: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "processes": find_process_space(),
            "pid": process.pid,
            "started_after_boot_s": _read_start_s(process),
            "command": command,
        }
        self.is_lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="i2r-lock", daemon=True)

    def __enter__(self) -> "RunLock":
        """Take the lock or refuse, saying who holds it."""
        try:
            self._take()
            self._thread.start()
        except BaseException:  # an interrupt in the wrong moment leaves no lock behind
            self._give_back()
            raise
        return self

    def _take(self) -> None:
        try:
            self._try_to_take()
        except (PermissionError, IsADirectoryError) as error:
            raise InputError(
                f"{self._url}: can't be taken ({error.strerror}), expected a file that this "
                "account may read and write. Ask for the permission, or move it away once nobody "
                "works here."
            ) from error

    def _try_to_take(self) -> None:
        for _ in range(3):
            if self._create():
                return
            holder = self._read()
            if holder is None:
                continue
            # Jobs that wait in a queue give no sign of life.
            if "array" in holder or not self._is_stale(holder):
                raise InputError(f"{self._url}: {describe_holder(holder)}")
            if self._replace(holder):
                return
        raise InputError(f"{self._url}: other processes keep taking the lock. Run again later.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back, unless somebody took it over meanwhile."""
        self._stop.set()
        self._thread.join()
        self._give_back()

    def _give_back(self) -> None:
        try:
            holder = self._read()
        except OSError:  # then it was not taken
            return
        if holder is not None and holder.get("token") == self._owner["token"]:
            files.remove_file(self._url)

    def _create(self) -> bool:
        """Make the lock unless there is one; nobody ever sees it half written."""
        if not files.is_local(self._url):
            return files.create_exclusively(self._url, self._content())
        aside = f"{files.parent_url(self._url)}/.{self._owner['token']}.part"
        files.write_bytes(aside, self._content())
        try:
            os.link(files.local_path(aside), files.local_path(self._url))
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return files.create_exclusively(self._url, self._content())
        finally:
            files.remove_file(aside)
        return True

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "renewed": time.time()}).encode()

    def _read(self) -> dict[str, Any] | None:
        """Return the holder; an empty mapping for a lock that can't be read, None for no lock."""
        try:
            return parse_json(files.read_bytes(self._url))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        space = holder.get("processes") or ""
        stale_s = STALE_S
        if holder.get("host") == self._owner["host"] and space in ("", self._owner["processes"]):
            if not _is_gone(holder):
                return False
            if space:
                return True
            # Nobody knows whether its processes are seen here, so its heartbeat decides.
            stale_s = min(STALE_S, 3 * HEARTBEAT_S)
        # Clocks of two machines may differ, so their heartbeats are watched, not compared: a
        # lock is stale when nothing about it changes for long enough, seen by one clock.
        before, waited = self._read(), 0.0
        while waited < stale_s:
            time.sleep(HEARTBEAT_S)
            waited += HEARTBEAT_S
            if self._read() != before:
                return False
            if waited >= 3 * HEARTBEAT_S and time.time() - float(holder.get("renewed", 0)) > 3600:
                return True
        return True

    def _replace(self, holder: dict[str, Any]) -> bool:
        """Put this client into a stale lock's place; of several that try, only one succeeds."""
        if not files.is_local(self._url):
            if self._read() != holder:  # somebody was quicker
                return False
            files.remove_file(self._url)
            return self._create()
        path = files.local_path(self._url)
        try:
            stale = open(path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return False
        with stale:
            try:
                fcntl.flock(stale, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a file system without flock
                pass
            # Whoever was quicker has put another file in its place.
            if self._read() != holder or not files.is_at(stale, path):
                return False
            files.write_bytes(self._url, self._content())
        return True

    def _renew(self) -> None:
        """Show that the holder lives; who lost the lock while suspended leaves it alone.

        Whatever goes wrong once (a full disk, a network that is away: object stores raise errors of
        many kinds), the next renewal may succeed: without it another client would take over.
        """
        while not self._stop.wait(HEARTBEAT_S):
            try:
                holder = self._read()
                if holder is None or holder.get("token") != self._owner["token"]:
                    self.is_lost = True
                    return
                files.write_bytes(self._url, self._content())
            except Exception:
                continue

    @property
    def token(self) -> str:
        """What identifies this lock among all."""
        return str(self._owner["token"])

    def check(self) -> None:
        """Refuse to go on without the lock: another client may work on the experiment by now.

        Raises
        ------
        I2RError
            If somebody took the lock over, or removed it.
        """
        if self.is_lost:
            raise I2RError(
                f"{self._url}: found the lock gone or another client's, expected this run to hold "
                "it (it was suspended for minutes, or the file was removed). Once no other client "
                "works here, run the same command again: it goes on where it stopped."
            )


def find_process_space() -> str:
    """Identify what gives process numbers their meaning: the kernel and its namespace.

    Containers may share a host's name and not its processes.

    Returns
    -------
    str
        Empty where the system doesn't say.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Tell whether no process is the holder, among those that are seen here."""
    try:
        process = psutil.Process(int(holder["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        started_s = _read_start_s(process)
        # Process numbers are used again: a younger process is not the holder.
        return abs(started_s - float(holder.get("started_after_boot_s", started_s))) > 2.0
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return True


def has_token(url: str, token: str) -> bool:
    """Tell whether the experiment's lock is the one with that token."""
    try:
        return parse_json(files.read_bytes(files.join_url(url, "run.lock"))).get("token") == token
    except (FileNotFoundError, ValueError):
        return False


def hold_for_array(url: str, *, command: str, array: str) -> str:
    """Take the lock for a job array, which has no process that could hold it while it waits.

    Such a lock never becomes stale by itself; `release_array` gives it back.

    Parameters
    ----------
    url
        The experiment.
    command, array
        What was called, and what to call the array by, for whoever is refused.

    Returns
    -------
    str
        What identifies this array's lock.

    Raises
    ------
    InputError
        If another client holds the lock.
    """
    lock = RunLock(url, command=command)
    lock._owner["array"] = array
    lock._take()
    return str(lock._owner["token"])


def read_array_lock(url: str) -> str | None:
    """Give what identifies the job array that holds the lock; None where none does."""
    holder = RunLock(url, command="")._read() or {}
    return str(holder["token"]) if "array" in holder else None


def release_array(url: str) -> None:
    """Give back the lock of a job array."""
    if read_array_lock(url) is not None:
        files.remove_file(files.join_url(url, "run.lock"))


def remove_dead_lock(url: str) -> None:
    """Remove the lock of a client that died on this machine, where no new one takes it over.

    A lock that another machine or a job array holds is left alone: who takes it next decides.
    So is one in an experiment that this account may only read.

    Parameters
    ----------
    url
        The experiment, with a lock or without.
    """
    lock = RunLock(url, command="")
    try:
        holder = lock._read()
        if not holder or "array" in holder:
            return
        here = all(holder.get(name) == lock._owner[name] for name in ("host", "processes"))
        if here and _is_gone(holder) and lock._replace(holder):
            lock._give_back()
    except OSError:
        return


def find_holder(url: str) -> dict[str, Any] | None:
    """Say who works on an experiment, by its lock; None where nobody seems to.

    Unlike whoever takes the lock this waits for no heartbeat: a run on another machine counts as
    alive when it gave a sign of life within the time after which its lock is stale.
    """
    try:
        holder = parse_json(files.read_bytes(files.join_url(url, "run.lock")))
    except FileNotFoundError:
        return None
    if holder is None or "array" in holder:
        return holder
    here = holder.get("host") == socket.gethostname()
    if here and holder.get("processes") in (None, "", find_process_space()):
        return None if _is_gone(holder) else holder
    return holder if time.time() - float(holder.get("renewed", 0)) < STALE_S else None


def describe_holder(holder: Mapping[str, Any]) -> str:
    """Say who holds a lock, and what to do about it."""
    if "array" in holder:
        return (
            f"held by {holder['array']} ({holder.get('command')}). Wait for its jobs to end, or "
            "cancel them and give 'i2r array finish EXPERIMENT'."
        )
    return (
        f"held by process {holder.get('pid')} on {holder.get('host')} "
        f"({holder.get('command')}). Wait for it to end, or stop it and run again."
    )


def _read_start_s(process: psutil.Process) -> float:
    """Give when a process started, in seconds after the boot: the clock may be set meanwhile."""
    return process.create_time() - psutil.boot_time()
