"""Vendor files and how they are found: one module per kind of source, found by path.

A reader is a module in this folder with a function ``scan(source, options) -> Sources``; the
first line of its docstring says what it reads. With a function ``recognises(source) -> bool`` it
is found by ``reader: auto``; with ``takes_pattern(source)``, also where the user gives a pattern.
Other modules here help them. A reader of another package is such a
module under the entry point group ``i2r.readers``; it is asked before those that ship with i2r.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple

from i2r.errors import InputError, RefusedError, find_meant
from i2r.extensions import find_points

if TYPE_CHECKING:
    import pandas as pd

GROUP = "i2r.readers"
# How the names of tables of images end.
SHEETS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class ReaderOptions:
    """What a user may say about a source.

    Attributes
    ----------
    pattern
        Regular expression with named groups, for sources that are folders of files.
    channels
        Names for the source's own channel names. If given, other channels are left out.
    plate
        The plate's name where the source has none; None takes the folder's name.
    z
        What to do with several focal planes of one field: refuse them, take their maximum, or
        take the plane of this number.
    files_root
        Where the files are now, for tables that were written on another machine.
    time
        Which time of files that hold several to take, from 0; or refuse those.
    acquisition
        Which acquisition of a plate that was imaged several times; None refuses those.
    pages
        What the pages of a file are that doesn't say so; or refuse those. With a `z` that is set
        they are taken for focal planes.
    white_is_zero
        What to do with files that say that 0 is white: turn black and white, keep values as they
        are stored, or refuse those.
    """

    pattern: str | None = None
    channels: Mapping[str, str] = field(default_factory=dict)
    plate: str | None = None
    z: Literal["refuse", "max"] | int = "refuse"
    files_root: str | None = None
    time: Literal["refuse"] | int = "refuse"
    acquisition: int | None = None
    pages: Literal["refuse", "z", "channel", "time"] = "refuse"
    white_is_zero: Literal["invert", "keep", "refuse"] = "invert"


class Sources(NamedTuple):
    """The image files of a source.

    Attributes
    ----------
    images
        One row per image plane: plate, well (``B03``), field, channel (text); z (int); url
        (text), page (int, 0 in files of one page); size_bytes (-1 where the file is missing) and
        mtime_ns (int); illumination (text), the place of the function by which the plane is to
        be divided, empty where the source names none. Sorted by plate, well, field, channel, z.
        As the headers have it: problem (text), why the field can't be used, empty for none;
        inverted (bool), whether black and white are turned; dtype (text) as stored, empty where
        the header can't be read; height_px, width_px (int); pixel_size_um (float, 0 unknown);
        oblong (text), a pixel's width and height where they differ, empty else: such a pixel has
        no size.
    notes
        What a user should know: renamed wells, ignored files.
    """

    images: "pd.DataFrame"
    notes: tuple[str, ...]


Scan = Callable[[str, ReaderOptions], Sources]


def list_readers() -> dict[str, str]:
    """List the readers of i2r by name, with the first line of what each says about itself."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(loaded, "scan"):
            found[module.name] = (loaded.__doc__ or "").partition("\n")[0]
    return found


def find_reader(name: str, source: str, *, pattern: str | None = None) -> Scan:
    """Find a reader's ``scan``.

    Parameters
    ----------
    name
        The reader's name, or ``auto``: the first reader that recognises the source; with a
        pattern, or where none does, the reader ``pattern``.
    source
        The path or URL to be read.
    pattern
        The user's regular expression, if there is one.

    Raises
    ------
    InputError
        If there is no such reader.
    """
    installed = {point.name: point for point in find_points(GROUP)}
    readers = [*installed, *(reader for reader in list_readers() if reader not in installed)]
    if name == "auto":
        # A pattern is meant for folders; tables say themselves what they are.
        question = "recognises"
        if pattern and not source.lower().endswith(SHEETS):
            question = "takes_pattern"
        name = next(
            (r for r in readers if _ask(_load_reader(r, installed), question, source)), "pattern"
        )
    if name not in readers:
        raise InputError(
            f"reader {name!r}: there is none of this name, expected auto, {', '.join(readers)}."
            f"{did_you_mean(name, ['auto', *readers])}"
        )
    scan: Scan = _load_reader(name, installed).scan
    return scan


def _load_reader(name: str, installed: Mapping[str, EntryPoint]) -> ModuleType:
    """Import a reader: another package's, or one of i2r."""
    if name in installed:
        found: ModuleType = installed[name].load()
        return found
    return importlib.import_module(f"{__name__}.{name}")


def _ask(module: ModuleType, question: str, source: str) -> bool:
    """Ask a reader whether a source is of its kind, or one whose names it reads by a pattern.

    It isn't where the reader may not look: another one may need less of the source.
    """
    try:
        return hasattr(module, question) and bool(getattr(module, question)(source))
    except RefusedError:
        return False


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give `` Did you mean 'x'?`` for a word that nearly is a known one, else nothing."""
    meant = find_meant(word, known)
    return f" Did you mean {meant!r}?" if meant else ""
