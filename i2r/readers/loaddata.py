"""CellProfiler load_data.csv: one row per field, with a file per channel."""

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pandas as pd

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, samplesheet, sheets
from i2r.readers.images import GONE, stat_source
from i2r.readers.sources import Found, build_sources
from i2r.store import files


class _Channel(NamedTuple):
    """Where the table has a channel's files: names with folders, or URLs."""

    name: str
    file: str
    folder: str
    is_url: bool


def recognises(source: str) -> bool:
    """Tell whether a source is a table that names the file of each channel."""
    return sheets.is_sheet(source) and not samplesheet.recognises(source)


def scan(source: str, options: ReaderOptions) -> Sources:
    """Read the files of a load_data table.

    Parameters
    ----------
    source
        Path or URL of the table: CSV, also compressed with gzip.
    options
        `files_root` takes the place of the folder that the recorded paths have in common, or of
        as much of its beginning as is needed to find the files.

    Returns
    -------
    Sources
        Each ``FileName_X`` (or ``URL_X``) column is a channel, ``FileName_OrigDNA`` the channel
        ``DNA``; illumination functions and outlines are none. Files that aren't there have size
        -1. Relative folders, and files without folder, lie beside the table.

    Raises
    ------
    InputError
        If the table can't be read or has no wells or no images, and for all that `build_sources`
        refuses.
    """
    table = sheets.read_sheet(source)
    where = files.without_secrets(source)
    columns = sheets.find_columns(table, where)
    channels, skipped = _find_channels(table)
    if not channels:
        raise InputError(
            f"{where}: found the columns {', '.join(map(str, table.columns[:8]))}, expected "
            "FileName_OrigDNA and the like. Give a load_data.csv."
        )
    notes = [f"columns ignored: {', '.join(skipped)}"] if skipped else []
    folder = files.parent_url(source)
    recorded = {
        c.name: [_locate(c, row, folder) for row in table.to_dict("records")] for c in channels
    }
    if options.files_root is not None:
        recorded = _move(recorded, files.normalise_url(options.files_root))
    found = list(_name_files(table, columns, recorded))
    missing = sum(file.stat == GONE for file in found)
    if missing:
        notes.append(f"{missing} of {len(found)} files are missing")
    # The folder's name stands for the plate, not the table's.
    return build_sources(found, options, where=folder, notes=notes)


def _find_channels(table: pd.DataFrame) -> tuple[list[_Channel], list[str]]:
    """Find the channels, and the image columns that are none."""
    channels: dict[str, _Channel] = {}
    skipped = []
    names = [str(name) for name in table.columns]
    # File names before URLs, original images before others of the same stain.
    for prefix in ("FileName_Orig", "FileName_", "URL_Orig", "URL_"):
        for name in names:
            stain = name.removeprefix(prefix)
            if stain in ("", name) or (prefix.endswith("_") and stain.startswith("Orig")):
                continue
            if stain.lower().startswith("illum") or "outline" in stain.lower():
                skipped.append(name)
            elif stain not in channels:
                suffix = name.partition("_")[2]
                folder = f"PathName_{suffix}" if f"PathName_{suffix}" in names else ""
                channels[stain] = _Channel(stain, name, folder, prefix.startswith("URL"))
    return list(channels.values()), skipped


def _locate(channel: _Channel, row: Mapping[Hashable, str], folder: str) -> str:
    """Name a file as the table has it; empty where it has none."""
    name = row[channel.file].strip()
    if not name:
        return ""
    if channel.is_url:
        # CellProfiler writes file:/folder/name, percent-encoded.
        return unquote(urlsplit(name).path) if name.startswith("file:") else name
    path = row[channel.folder].strip() if channel.folder else ""
    full = f"{path}/{name}" if path else name
    if re.match(r"[A-Za-z]:|\\\\", full):
        full = full.replace("\\", "/")
    if re.match(r"[A-Za-z]:|//", full):  # recorded on Windows: a path as it is, found nowhere here
        return re.sub("/+", "/", full)
    return files.resolve_url(full, folder)


def _move(recorded: dict[str, list[str]], root: str) -> dict[str, list[str]]:
    """Look for the files below another root.

    The same number of leading folders goes from all paths, and never more than all paths have in
    common: files of different plates stay different files.
    """
    paths = [path for located in recorded.values() for path in located if path]
    folders = {path.rpartition("/")[0] for path in paths}
    n_shared = _count_shared([folder.split("/") for folder in folders])
    samples = paths[:: max(1, len(paths) // 20)]

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


def _count_shared(folders: list[list[str]]) -> int:
    """Count the names with which all paths begin."""
    n_shared = 0
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        n_shared += 1
    return n_shared


def _name_files(
    table: pd.DataFrame, columns: Mapping[str, str], recorded: Mapping[str, list[str]]
) -> Iterator[Found]:
    for number, row in enumerate(table.to_dict("records")):
        values = {meaning: str(row[name]).strip() for meaning, name in columns.items()}
        for channel, located in recorded.items():
            if url := located[number]:
                yield Found(
                    plate=values.get("plate", ""),
                    well=sheets.name_well(values),
                    field=values.get("field", ""),
                    channel=channel,
                    z=values.get("z", ""),
                    url=url,
                    stat=stat_source(url),
                )
