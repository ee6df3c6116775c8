"""A tall sample sheet as nf-core/cellpainting takes it: one row per image file."""

import re

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, sheets
from i2r.readers.images import stat_source
from i2r.readers.loaddata_columns import locate_recorded
from i2r.readers.names import Found
from i2r.readers.relocate import move_paths
from i2r.readers.sources import build_sources
from i2r.store import files

# Files looked for before paths are moved.
_SAMPLES = 20
# What tells such a sheet from a load_data.csv.
_REQUIRED = ("channel", "path")


def recognises(source: str) -> bool:
    """Tell whether a source is a table with a file and a channel in each row."""
    if not sheets.is_sheet(source):
        return False
    try:
        return set(_REQUIRED) <= set(sheets.read_sheet(source).columns.str.lower())
    except InputError:
        return False


def scan(source: str, options: ReaderOptions) -> Sources:
    """Read the files of a sample sheet.

    Parameters
    ----------
    source
        Path or URL of the sheet: CSV with the columns ``path``, ``channel``, ``well`` (or ``row``
        and ``col``), and optionally ``plate``, ``site``, ``z``, ``batch`` and ``source``.
    options
        `files_root` is the folder that relative paths are relative to; default: the sheet's own.
        It takes the place of the folder that absolute paths have in common, where none is there.

    Returns
    -------
    Sources
        Files that aren't there have size -1. Where one plate name occurs in several batches, the
        batch is put in front of it: those are different plates.

    Raises
    ------
    InputError
        If columns are missing or a row has no path, and for all that `build_sources` refuses.
    """
    table = sheets.read_sheet(source)
    table.columns = table.columns.str.lower()
    where = files.without_secrets(source)
    for name in _REQUIRED:
        if name not in table:
            raise InputError(
                f"{where}: found the columns {', '.join(table.columns[:8])}, expected {name!r} "
                "too. Add it, or set 'reader: loaddata' for a CellProfiler table."
            )
    columns = sheets.find_columns(table, where)
    root = files.normalise_url(options.files_root or files.parent_url(source))
    paths = [str(path).strip() for path in table["path"]]
    if "" in paths:
        line = paths.index("") + 2
        raise InputError(f"{where} line {line}: found no path. Fill it in, or drop it.")
    urls = [locate_recorded(path, root) for path in paths]
    samples = urls[:: max(1, len(urls) // _SAMPLES)]
    is_absolute = all(re.match(r"[A-Za-z]:[\\/]|[\\/]", path) for path in paths)
    if options.files_root and is_absolute and not any(map(files.exists, samples)):
        urls = move_paths({"path": urls}, root)["path"]
    plates = _name_plates(table.to_dict("list"), columns.get("plate"))
    found = []
    for number, row in enumerate(table.to_dict("records")):
        values = {meaning: str(row[name]).strip() for meaning, name in columns.items()}
        url = urls[number]
        found.append(
            Found(
                plate=plates[number],
                well=sheets.name_well(values),
                field=values.get("field", ""),
                channel=str(row["channel"]),
                z=values.get("z", ""),
                url=url,
                stat=stat_source(url),
            )
        )
    return build_sources(found, options, where=files.parent_url(source))


def _name_plates(table: dict[str, list[str]], column: str | None) -> list[str]:
    """Name every row's plate, with its batch where a plate's name alone is ambiguous."""
    if column is None:
        return [""] * len(table["path"])
    plates = [plate.strip() for plate in table[column]]
    batches = [batch.strip() for batch in table.get("batch", [""] * len(plates))]
    if len(set(zip(batches, plates, strict=True))) == len(set(plates)):
        return plates
    return [
        f"{batch}_{plate}" if batch else plate for batch, plate in zip(batches, plates, strict=True)
    ]
