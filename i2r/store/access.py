"""Whether an experiment can be read and written, found out before anything starts."""

import os

from i2r.errors import InputError
from i2r.store import files


def check_access(url: str) -> None:
    """Try to write in an experiment and in each of its folders, and to read its ledger and lock.

    Raises
    ------
    InputError
        If that fails; nothing was changed but folders that were made for the trial.
    """
    files.check_writable(url)
    if not files.is_local(url):
        return
    path = files.local_path(url)
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_dir():
            files.check_writable(entry.path)
        elif entry.name == "run.lock" or not entry.name.startswith("."):
            _check_readable(entry.path)
    for name in files.list_folder(files.join_url(path, "ledger")):
        _check_readable(f"{path}/ledger/{name}")


def _check_readable(path: str) -> None:
    """Refuse a file that can't be opened, or is a folder."""
    try:
        with open(path, "rb"):
            return
    except FileNotFoundError:  # somebody else's, and gone by now
        return
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}), expected a file of the experiment. Ask for "
            "the permission, or move it away."
        ) from error
