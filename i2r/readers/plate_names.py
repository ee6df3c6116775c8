"""Plates of one name, told apart by where they lie."""

from collections import defaultdict
from collections.abc import Sequence

from i2r.readers.relocate import count_shared
from i2r.store import files

# Notes name the first of them.
_EXAMPLES = 4


def tell_apart(plates: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Tell plates of one name apart by their places.

    Parameters
    ----------
    plates
        Names, and the folder or file that each comes from.

    Returns
    -------
    names : list of str
        Where a name has several places, what these don't have in common stands behind it.
    notes : list of str
        What was renamed.
    """
    places: dict[str, dict[str, None]] = defaultdict(dict)
    for name, place in plates:
        places[name][files.without_secrets(files.normalise_url(place))] = None
    own: dict[tuple[str, str], str] = {}
    notes = []
    for name, found in places.items():
        if len(found) < 2:
            continue
        parts = {place: place.split("/") for place in found}
        shared = count_shared(list(parts.values()))
        ends = count_shared([path[:shared:-1] for path in parts.values()])
        middles = {place: path[shared : len(path) - ends] for place, path in parts.items()}
        if len({tuple(path[-1:]) for path in middles.values()}) == len(middles):
            middles = {place: path[-1:] for place, path in middles.items()}
        for place, path in middles.items():
            text = "_".join(part.removesuffix(".zarr") for part in path)
            own[name, place] = f"{name}_{text}" if text else name
        renamed = ", ".join(repr(own[name, place]) for place in list(found)[:_EXAMPLES])
        notes.append(
            f"{len(found)} plates are called {name!r}; their places tell them apart: {renamed}"
        )
    names = [
        own.get((name, files.without_secrets(files.normalise_url(place))), name)
        for name, place in plates
    ]
    return names, notes
