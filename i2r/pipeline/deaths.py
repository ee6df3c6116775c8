"""Units whose workers end before them: in jobs, when the walltime is shorter than the unit.

A worker that reaches its lifetime hands its tasks back, and the scheduler gives them to the next
one; the client is not told. So a unit notes on disk that it begins, and forgets that when it ends.
"""

import json
from typing import Any

from i2r.errors import I2RError
from i2r.store import files
from i2r.store.documents import read_json

# Workers that a unit may outlive without its checkpoint having moved on.
MOST_DEATHS = 3


class DeathNote:
    """What is known of the earlier begins of a unit in one run.

    Parameters
    ----------
    url
        Where it is kept; it need not exist.
    checkpoints
        The beginning of the names of the unit's checkpoints, as a URL.
    """

    def __init__(self, url: str, checkpoints: str) -> None:
        self.url, self._checkpoints = url, checkpoints

    def begin(self, name: str) -> None:
        """Note that the unit begins.

        Parameters
        ----------
        name
            What to call the unit.

        Raises
        ------
        I2RError
            If it began too often, and never got further.
        """
        try:
            known = read_json(self.url)
        except (FileNotFoundError, ValueError):
            known = {}
        stamp = self._stamp()
        begun = known.get("begun", 0) if known.get("stamp") == stamp else 0
        if not isinstance(begun, int) or begun >= MOST_DEATHS:
            files.remove_file(self.url)
            raise I2RError(
                f"{name}: began {begun} times, and its worker's job ended before it each time, "
                "without a checkpoint that moved on. Expected one walltime to suffice. Raise "
                "'walltime' in the cluster file; 'i2r doctor' compares it with the longest unit."
            )
        files.write_bytes(self.url, json.dumps({"begun": begun + 1, "stamp": stamp}).encode())

    def end(self) -> None:
        """Note that the unit came to an end, whichever."""
        files.remove_file(self.url)

    def _stamp(self) -> list[Any]:
        """Describe the unit's checkpoints: they change while a training gets on."""
        folder, _, start = self._checkpoints.rpartition("/")
        if not start:
            return []
        names = [n for n in files.list_folder(folder) if n.startswith(start)]
        found = []
        for name in (n for n in names if n.endswith(".checkpoint")):
            try:
                found.append([name, *files.stat(f"{folder}/{name}")])
            except FileNotFoundError:  # replaced this moment
                continue
        return found
