"""CellProfiler load_data.csv: one row per field, with a file per channel."""

import gzip
import io
import re
import zlib
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pandas as pd

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources
from i2r.readers.pattern import join_well
from i2r.readers.sources import Found, build_sources
from i2r.store import files

# Names of the columns in lower case, without 'Metadata_'; the first that is there counts.
_COLUMNS = {
    "plate": ("plate", "platename", "plateid", "plate_barcode"),
    "well": ("well", "wellname", "wellid", "well_position"),
    "row": ("row", "wellrow"),
    "column": ("col", "column", "wellcolumn"),
    "field": ("site", "field", "fieldid", "fov", "position"),
    "z": ("z", "plane", "planeid", "zindex"),
}
_GONE = files.Stat(-1, 0)


class _Channel(NamedTuple):
    """Where the table has a channel's files: names with folders, or URLs."""

    name: str
    file: str
    folder: str
    is_url: bool


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
    table = _read_table(source)
    where = files.without_secrets(source)
    columns = _find_columns(table, where)
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
    missing = sum(file.stat == _GONE for file in found)
    if missing:
        notes.append(f"{missing} of {len(found)} files are missing")
    # The folder's name stands for the plate, not the table's.
    return build_sources(found, options, where=folder, notes=notes)


def _read_table(source: str) -> pd.DataFrame:
    """Read everything as text: '01' stays '01'."""
    where = files.without_secrets(source)
    try:
        data = files.read_bytes(source)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{where}: no such file. Give the path of a load_data.csv.") from error
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        table = pd.read_csv(
            io.StringIO(data.decode("utf-8-sig")),
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{where}: no CSV table in UTF-8 ({str(error).splitlines()[0]}). Export it again."
        ) from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    if table.empty:
        raise InputError(
            f"{where}: the table has no rows, expected one per field. Export it again."
        )
    return table


def _find_columns(table: pd.DataFrame, where: str) -> dict[str, str]:
    """Find the columns that name plate, well, field and z."""
    known = {re.sub(r"^metadata_", "", str(name).lower()): str(name) for name in table.columns}
    columns = {
        meaning: known[names[0]]
        for meaning, aliases in _COLUMNS.items()
        if (names := [alias for alias in aliases if alias in known])
    }
    if "well" not in columns and not {"row", "column"} <= set(columns):
        raise InputError(
            f"{where}: found the columns {', '.join(map(str, table.columns[:8]))}, expected "
            "Metadata_Well, or Metadata_Row and Metadata_Col. Add one of them."
        )
    return columns


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
        well = values.get("well") or join_well(
            _whole(values.get("row", "")), _whole(values.get("column", ""))
        )
        for channel, located in recorded.items():
            if url := located[number]:
                yield Found(
                    plate=values.get("plate", ""),
                    well=well,
                    field=values.get("field", ""),
                    channel=channel,
                    z=values.get("z", ""),
                    url=url,
                    stat=_stat(url),
                )


def _whole(text: str) -> str:
    """Write ``3.0``, which spreadsheets make of a row's number, as ``3``."""
    return re.sub(r"\.0*$", "", text)


def _stat(url: str) -> files.Stat:
    try:
        return files.stat(url)
    except (FileNotFoundError, NotADirectoryError):
        return _GONE
