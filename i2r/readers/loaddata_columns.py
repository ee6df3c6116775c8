"""Columns of a load_data table that name files: channels and their illumination functions."""

import re
from collections.abc import Hashable, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pandas as pd

from i2r.store import files


class Channel(NamedTuple):
    """Where the table has a channel's files: names with folders, or URLs.

    ``frame`` and ``series`` are the columns that say which plane of which image in the file it
    is; empty where there are none.
    """

    name: str
    file: str
    folder: str
    is_url: bool
    frame: str = ""
    series: str = ""


def find_channels(table: pd.DataFrame) -> tuple[list[Channel], list[Channel], list[str]]:
    """Find the channels, the illumination functions of theirs, and image columns that are none."""
    channels: dict[str, Channel] = {}
    functions: dict[str, Channel] = {}
    skipped = []
    names = [str(name) for name in table.columns]
    # File names before URLs, original images before others of the same stain.
    for prefix in ("FileName_Orig", "FileName_", "URL_Orig", "URL_"):
        for name in names:
            stain = name.removeprefix(prefix)
            if stain in ("", name) or (prefix.endswith("_") and stain.startswith("Orig")):
                continue
            suffix = name.partition("_")[2]
            folder, frame, series = (
                f"{kind}_{suffix}" if f"{kind}_{suffix}" in names else ""
                for kind in ("PathName", "Frame", "Series")
            )
            described = Channel(stain, name, folder, prefix.startswith("URL"), frame, series)
            if "outline" in stain.lower():
                skipped.append(name)
            elif stain.startswith("Illum"):
                lit = stain.removeprefix("Illum")
                functions.setdefault(lit, described._replace(name=lit))
            else:
                channels.setdefault(stain, described)
    of_none = [found.file for lit, found in functions.items() if lit not in channels]
    known = [found for lit, found in functions.items() if lit in channels]
    return list(channels.values()), known, [*of_none, *skipped]


def locate_file(channel: Channel, row: Mapping[Hashable, str], folder: str) -> str:
    """Name a file as the table has it; empty where it has none."""
    name = row[channel.file].strip()
    if not name:
        return ""
    if channel.is_url:
        # CellProfiler writes file:/folder/name, percent-encoded.
        if not name.startswith("file:"):
            return name
        path = unquote(urlsplit(name).path)
        return path.lstrip("/") if re.match(r"/[A-Za-z]:/", path) else path
    path = row[channel.folder].strip() if channel.folder else ""
    full = f"{path}/{name}" if path else name
    return locate_recorded(full, folder)


def locate_recorded(path: str, folder: str) -> str:
    """Name a file that a table records, perhaps one written on Windows.

    Parameters
    ----------
    path
        Absolute, or relative to the table's folder. A path of a drive or a share stays as it is,
        with slashes; it is found nowhere here unless it is moved (`i2r.readers.relocate`).
    folder
        The table's.
    """
    # On this machine a backslash may be part of a name.
    if "\\" in path and not (
        files.is_local(path) and files.exists(files.resolve_url(path, folder))
    ):
        path = path.replace("\\", "/")
    if re.match(r"[A-Za-z]:/|//", path):
        return re.sub("/+", "/", path)
    return files.resolve_url(path, folder)
