"""Files by URL, local and on what fsspec knows; nothing else touches fsspec."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from i2r.errors import InputError, RefusedError
from i2r.store.outputs import (
    check_guard,
    check_read,
    count_read,
    count_write,
    note_removed,
    note_written,
)
from i2r.store.packed import check_mat, unpack
from i2r.store.remote import ExplainedSystem, Stat, explain_errors, read_stat
from i2r.store.urls import (
    is_local,
    join_url,
    local_path,
    normalise_url,
    parent_url,
    refuse_secrets,
    resolve_url,
    without_secrets,
)

__all__ = [
    "ABSENT",
    "FoundFile",
    "Stat",
    "check_mat",
    "check_writable",
    "create_exclusively",
    "exists",
    "find_files",
    "free_bytes",
    "is_at",
    "is_full",
    "is_local",
    "join_url",
    "list_folder",
    "local_path",
    "normalise_url",
    "open_file",
    "parent_url",
    "read_bytes",
    "refuse_secrets",
    "remove_file",
    "remove_tree",
    "resolve_url",
    "stat",
    "unpack",
    "upload",
    "without_secrets",
    "write_bytes",
]


# Of a file that is listed and isn't there.
ABSENT = Stat(-1, 0)


class FoundFile(NamedTuple):
    """A file below a folder, with its path relative to that folder, separated by '/'."""

    path: str
    stat: Stat


@contextmanager
def _end_loops(path: str) -> Iterator[None]:
    """Take a link that leads back to itself for what it is: no file."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        why = "a link that leads back to itself"
        raise FileNotFoundError(errno.ENOENT, why, path) from error


def _open_system(url: str) -> tuple[Any, str]:
    """Open a URL's file system and give the path in it."""
    from fsspec.core import url_to_fs  # 0.1 s, and local experiments never need it

    refuse_secrets(url)
    # Other workers write while we list: a listing from the cache would be a stale one.
    with explain_errors(url):
        system, path = url_to_fs(url, use_listings_cache=False)
    return ExplainedSystem(system, url), path


# ---------------------------------------------------------------------------------- one file


def read_bytes(url: str) -> bytes:
    """Read a file whole.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DamageError
        If a unit is reading what an earlier one wrote, and it is something else by now.
    """
    started = time.perf_counter()
    if is_local(url):
        path = local_path(url)
        with _end_loops(path), open(path, "rb", buffering=0) as file:
            data = file.read()
    else:
        system, path = _open_system(url)
        data = system.cat_file(path)
    count_read(len(data), started)
    check_read(url, data)
    return data


def open_file(url: str) -> IO[bytes]:
    """Open a file for reading parts of it, such as a header.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if is_local(url):
        path = local_path(url)
        with _end_loops(path):
            return open(path, "rb")
    system, path = _open_system(url)
    file: IO[bytes] = system.open(path, "rb")
    return file


def write_bytes(url: str, *pieces: bytes) -> int:
    """Write a file whole, replacing it in one step; its folders are made as needed.

    Locally the bytes go to a temporary name in the same folder, then the name changes: readers
    see the old file or the new one. On other file systems this is one put.

    Parameters
    ----------
    url
        Where to write.
    *pieces
        What to write, one after the other.

    Returns
    -------
    int
        The number of bytes written.

    Raises
    ------
    OSError
        As the file system says it; `is_full` tells whether for lack of space. Nothing is left.
    """
    started = time.perf_counter()
    if not is_local(url):
        system, path = _open_system(url)
        data = b"".join(pieces)
        check_guard()
        system.pipe_file(path, data)
        count_write(len(data), started)
        note_written(url, data)
        return len(data)
    path = local_path(url)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}.part")
    try:
        try:
            file = open(temporary, "xb")  # noqa: SIM115
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            file = open(temporary, "xb")  # noqa: SIM115
        with file:
            file.writelines(pieces)
        check_guard()
        os.replace(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    size_bytes = sum(map(len, pieces))
    count_write(size_bytes, started)
    note_written(url, *pieces)
    return size_bytes


def upload(path: str, url: str) -> None:
    """Copy a local file to a URL that is not local, as one put."""
    system, target = _open_system(url)
    system.put_file(path, target)


def create_exclusively(url: str, data: bytes) -> bool:
    """Make a file unless there is one; of several that try at once, one succeeds.

    Returns
    -------
    bool
        Whether this call made it.
    """
    if is_local(url):
        path = local_path(url)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True
    system, path = _open_system(url)
    if system.exists(path):
        return False
    try:
        # S3 takes this as If-None-Match; file systems without it have checked above.
        system.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    return True


def remove_file(url: str) -> None:
    """Remove a file; a missing one is fine."""
    note_removed(url)
    try:
        if is_local(url):
            os.unlink(local_path(url))
        else:
            system, path = _open_system(url)
            system.rm_file(path)
    except FileNotFoundError:
        return


def exists(url: str) -> bool:
    """Tell whether there is a file or folder."""
    if is_local(url):
        return os.path.exists(local_path(url))
    system, path = _open_system(url)
    return bool(system.exists(path))


def stat(url: str) -> Stat:
    """Give a file's size and time of change.

    Object stores that give no time, or a coarse one, get a number made from their entity tag:
    it changes when the file does, and means nothing else.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if is_local(url):
        path = local_path(url)
        with _end_loops(path):
            status = os.stat(path)
        return Stat(status.st_size, status.st_mtime_ns)
    system, path = _open_system(url)
    return read_stat(system.info(path))


def is_at(file: IO[bytes], path: str) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


# ---------------------------------------------------------------------------------- folders


def list_folder(url: str) -> list[str]:
    """List the names in a folder, sorted; a missing folder has none.

    Raises
    ------
    InputError
        If it is a file.
    """
    if is_local(url):
        path = local_path(url)
        try:
            with _end_loops(path):
                return sorted(name for name in os.listdir(path) if not _is_temporary(name))
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise InputError(
                f"{url}: found a file, expected a folder. Name another place."
            ) from error
    system, path = _open_system(url)
    try:
        entries = system.ls(path, detail=False)
    except FileNotFoundError:
        return []
    return sorted({entry.rstrip("/").rpartition("/")[2] for entry in entries})


def _is_temporary(name: str) -> bool:
    """Tell whether `write_bytes` is writing, or was stopped while writing, this file."""
    return name.startswith(".") and name.endswith(".part")


def find_files(url: str, accept: Callable[[str], bool]) -> Iterator[FoundFile]:
    """Find files below a folder, in the order of their paths.

    Hidden files and folders are passed over (``._x.tif`` of macOS is not an image). Links to
    folders are followed, each folder once; a link to nowhere is listed as `ABSENT`.

    Parameters
    ----------
    url
        The folder; a missing one holds nothing.
    accept
        Called with every relative path; only accepted files are asked for size and time, which
        is slow on network drives.
    """
    if is_local(url):
        yield from _scan_folder(local_path(url), "", accept, set())
        return
    system, path = _open_system(url)
    for name, info in sorted(system.find(path, detail=True).items()):
        relative = name.removeprefix(path.rstrip("/") + "/")
        if not any(part.startswith(".") for part in relative.split("/")) and accept(relative):
            yield FoundFile(relative, read_stat(info))


def _scan_folder(
    folder: str, prefix: str, accept: Callable[[str], bool], seen: set[tuple[int, int]]
) -> Iterator[FoundFile]:
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise RefusedError(
            f"{folder}: can't be listed ({error.strerror}), expected a folder to read. "
            "Ask for the permission, or move it away."
        ) from error
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        relative = prefix + entry.name
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _scan_folder(entry.path, relative + "/", accept, seen)
        elif accept(relative):
            try:
                status = entry.stat()
            except OSError:
                # Content that DataLad or git-annex did not fetch; what vanishes meanwhile is none.
                if entry.is_symlink():
                    yield FoundFile(relative, ABSENT)
                continue
            yield FoundFile(relative, Stat(status.st_size, status.st_mtime_ns))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or where nobody may look
        return False


def remove_tree(base: str, *parts: str) -> None:
    """Remove a folder inside another with all it holds; a missing one is fine.

    Parameters
    ----------
    base
        A folder that stays.
    *parts
        What to remove, as for `join_url`: at least one name, so never the base itself.

    Raises
    ------
    InputError
        If the parts lead out of the base.
    ValueError
        If there are no parts.
    """
    if not parts:
        raise ValueError("remove_tree needs the name of something inside the base")
    url = join_url(base, *parts)
    check_guard()
    note_removed(url)
    if is_local(url):
        path = local_path(url)
        if os.path.islink(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        return
    system, path = _open_system(url)
    try:
        system.rm(path, recursive=True)
    except FileNotFoundError:
        return


def free_bytes(url: str) -> int | None:
    """Give the free space where a file or folder is or would be; None where nobody can say."""
    if not is_local(url):
        return None
    path = os.path.abspath(local_path(url))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def is_full(error: BaseException) -> bool:
    """Tell whether an error means that no space, or no quota, is left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def check_writable(url: str) -> None:
    """Make a folder and try to write in it.

    Raises
    ------
    InputError
        If that fails; the folders made for the trial are the only trace.
    """
    trial = join_url(url, f".{uuid.uuid4().hex}.part")
    try:
        write_bytes(trial, b"i2r")
        remove_file(trial)
    except OSError as error:
        reason = "no space is left" if is_full(error) else (error.strerror or type(error).__name__)
        raise InputError(
            f"{without_secrets(url)}: can't be written ({reason}), expected a folder to write in. "
            "Name another place or ask for the permission."
        ) from error
