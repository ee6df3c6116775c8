"""Results of what a pipeline does not have any more: listed, and removed when the user says so."""

from collections.abc import Collection
from typing import NamedTuple

from i2r.errors import InputError
from i2r.store import files
from i2r.store.catalog import quote_name
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.lock import RunLock

# Folders with something for every plate, and how far down: tables/<table>/<plate>.parquet.
_FOLDERS: dict[str, tuple[int, ...]] = {
    "plates": (0,), "nuclei": (1,), "tables": (1,), "illumination": (1,), "embeddings": (1, 2),
}  # fmt: skip
_ENDINGS = (".ome.zarr", ".zarr", ".parquet", "")


class Obsolete(NamedTuple):
    """What an experiment still holds, and its pipeline does not have any more."""

    plates: list[str]
    units: dict[str, list[str]]


def find_obsolete(experiment: Experiment) -> Obsolete:
    """Find the units that the latest run did not have, and the plates that are not in the layout.

    Returns
    -------
    Obsolete
        Plates, and keys of units by stage; sorted.
    """
    ledger = experiment.ledger
    units = {
        stage: sorted(keys) for stage in ledger.stages if (keys := ledger.list_obsolete(stage))
    }
    # A unit's key begins with its plate; other kinds of keys name no plate that was converted.
    stored = {
        name.removesuffix(".ome.zarr") for name in files.list_folder(experiment.path("plates"))
    }
    present = {_stored_name(experiment, plate) for plate in experiment.plates}
    return Obsolete(sorted(stored - present), units)


def remove_plates(experiment: Experiment, plates: list[str], *, command: str) -> int:
    """Remove all that was made of plates that are not in the layout; give the number of folders.

    The ledger takes back first what it says of their units, so that nothing is read that is half
    removed, and everything is made again when a plate comes back.

    Parameters
    ----------
    experiment
        The experiment.
    plates
        Their names as folders, as in `Obsolete.plates`.
    command
        What is being run, for the lock.

    Raises
    ------
    InputError
        If a run works on the experiment.
    """
    with RunLock(experiment.url, command=command):
        experiment = experiment.reopen()
        if missing := [p for p in plates if p not in find_obsolete(experiment).plates]:
            raise InputError(
                f"{experiment.url}: plate {missing[0]!r} is in the layout now, expected it not to "
                "be. Nothing was removed."
            )
        ledger = experiment.ledger
        writer = LedgerWriter(ledger, ledger.last_run + 1)
        for stage in ledger.stages:
            for key in sorted(ledger.list_obsolete(stage)):
                if quote_name(key.partition("/")[0]) in plates:
                    writer.write(stage, key, "lost", "", error="removed by 'i2r clean'")
        writer.close()
        removed = 0
        for top, depths in _FOLDERS.items():
            removed += _remove_below(experiment.path(top), depths, plates)
        return removed


def _remove_below(folder: str, depths: Collection[int], plates: list[str]) -> int:
    """Remove the plates' files and folders at some levels below a folder."""
    removed = 0
    try:
        names = files.list_folder(folder)
    except InputError:  # a file
        return 0
    for name in names:
        url = files.join_url(folder, name)
        if 0 in depths and any(name == plate + ending for plate in plates for ending in _ENDINGS):
            if name.endswith(".parquet"):
                files.remove_file(url)
            else:
                files.remove_tree(folder, name)
            removed += 1
        elif deeper := [depth - 1 for depth in depths if depth]:
            removed += _remove_below(url, deeper, plates)
    return removed


def _stored_name(experiment: Experiment, plate: str) -> str:
    return experiment.plate_url(plate).rpartition("/")[2].removesuffix(".ome.zarr")
