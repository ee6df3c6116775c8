"""CellProfiler load_data.csv: one row per field, with a file per channel."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from i2r.errors import InputError
from i2r.readers import ReaderOptions, Sources, samplesheet, sheets
from i2r.readers.images import stat_source
from i2r.readers.loaddata_columns import Channel, find_channels, locate_file
from i2r.readers.names import Found
from i2r.readers.relocate import find_any, move_paths
from i2r.readers.sources import build_sources
from i2r.store import files


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
        as much of its beginning as is needed to find the files; so does the table's own folder,
        where no file is at its recorded place.

    Returns
    -------
    Sources
        Each ``FileName_X`` (or ``URL_X``) column is a channel, ``FileName_OrigDNA`` the channel
        ``DNA``, and ``Frame_OrigDNA`` and ``Series_OrigDNA`` say which plane of which image in
        the file it is. ``FileName_IllumDNA`` is its illumination function; outlines are passed
        over.
        Files that aren't there have size -1. Relative folders, and files without folder, lie
        beside the table.

    Raises
    ------
    InputError
        If the table can't be read or has no wells or no images, and for all that `build_sources`
        refuses.
    """
    table = sheets.read_sheet(source)
    where = files.without_secrets(source)
    columns = sheets.find_columns(table, where)
    channels, functions, skipped = find_channels(table)
    if not channels:
        raise InputError(
            f"{where}: found the columns {', '.join(map(str, table.columns[:8]))}, expected "
            "FileName_OrigDNA and the like. Give a load_data.csv."
        )
    notes = [f"columns ignored: {', '.join(skipped)}"] if skipped else []
    folder = files.parent_url(source)
    recorded, divisors = (
        {c.name: [locate_file(c, row, folder) for row in table.to_dict("records")] for c in listed}
        for listed in (channels, functions)
    )
    root = None if options.files_root is None else files.normalise_url(options.files_root)
    if root is None and not find_any(recorded):
        if find_any(move_paths(recorded, folder)):
            root = folder
            notes.append(f"no file is where the table says: taken from below {folder}")
        else:
            notes.append(
                "WARNING no file is where the table says: put the table into the folder of the "
                "images, or set 'files_root' of 'convert' to that folder"
            )
    if root is not None:
        recorded, divisors = move_paths(recorded, root), move_paths(divisors, root)
    if divisors:
        notes.append("illumination functions are listed: stage 'illuminate', method 'given'")
    found = list(_name_files(table, columns, channels, recorded, divisors))
    # The folder's name stands for the plate, not the table's.
    return build_sources(found, options, where=folder, notes=notes)


def _name_files(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    channels: Sequence[Channel],
    recorded: Mapping[str, list[str]],
    divisors: Mapping[str, list[str]],
) -> Iterator[Found]:
    stats: dict[str, files.Stat] = {}
    for number, row in enumerate(table.to_dict("records")):
        values = {meaning: str(row[name]).strip() for meaning, name in columns.items()}
        for described in channels:
            channel = described.name
            if url := recorded[channel][number]:
                if url not in stats:  # channels may be planes of one file
                    stats[url] = stat_source(url)
                yield Found(
                    plate=values.get("plate", ""),
                    well=sheets.name_well(values),
                    field=values.get("field", ""),
                    channel=channel,
                    z=values.get("z", ""),
                    url=url,
                    stat=stats[url],
                    frame=str(row[described.frame]) if described.frame else "",
                    series=str(row[described.series]) if described.series else "",
                    illumination=divisors[channel][number] if channel in divisors else "",
                )
