"""Recorded paths looked for below another root: tables that were written on another machine."""

from collections.abc import Mapping

from i2r.store import files

# Files looked for at each depth.
_SAMPLES = 20


def move_paths(recorded: Mapping[str, list[str]], root: str) -> dict[str, list[str]]:
    """Look for the files below another root.

    Parameters
    ----------
    recorded
        Paths by channel; empty text where there is none.
    root
        The folder that takes the place of as many leading folders as are needed to find any file;
        of all that the paths have in common, if none is found.

    Returns
    -------
    dict
        The same number of leading folders goes from all paths, and never more than all paths have
        in common: files of different plates stay different files.
    """
    paths = [path for located in recorded.values() for path in located if path]
    folders = {path.rpartition("/")[0] for path in paths}
    n_shared = count_shared([folder.split("/") for folder in folders])
    samples = _sample(recorded)

    def moved(path: str, n_dropped: int) -> str:
        return f"{root}/{'/'.join(path.split('/')[n_dropped:])}" if path else ""

    for n_dropped in range(1, n_shared + 1):
        if any(files.exists(moved(path, n_dropped)) for path in samples):
            break
    else:
        n_dropped = n_shared
    return {
        name: [moved(path, n_dropped) for path in located] for name, located in recorded.items()
    }


def find_any(recorded: Mapping[str, list[str]]) -> bool:
    """Tell whether a file is there, of some of the paths by channel; on other machines it is."""
    return any(not files.is_local(path) or files.exists(path) for path in _sample(recorded))


def _sample(recorded: Mapping[str, list[str]]) -> list[str]:
    paths = [path for located in recorded.values() for path in located if path]
    return paths[:: max(1, len(paths) // _SAMPLES)]


def count_shared(folders: list[list[str]]) -> int:
    """Count the names with which all paths begin."""
    n_shared = 0
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        n_shared += 1
    return n_shared
