"""Source images that were moved: compared with what was converted, so that nothing is done anew.

A unit's fingerprint has the path and the time of change of its source files. Where the files of
another folder are the same, byte for byte, fingerprints go on having the old path and time.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd

from i2r.errors import FieldError, InputError, join_problems
from i2r.readers.arrays import is_array
from i2r.readers.images import GONE, hash_source, stat_source
from i2r.readers.relocate import move_paths
from i2r.store import files, tables
from i2r.store.experiment import Experiment

# Columns of the source table that say where and when a file was recorded first.
RECORDED = ("recorded_url", "recorded_mtime_ns")
_MOVES = "moves.parquet"


class Move(NamedTuple):
    """Files that were found again.

    Attributes
    ----------
    files, size_bytes
        How many, and how large together.
    hashed
        How many of them were compared byte for byte, and arrays plane by plane; the others were
        never converted, and are compared by size.
    """

    files: int
    size_bytes: int
    hashed: int


class Converted(NamedTuple):
    """What was read of a file or of an array: its digest, and the planes in their order."""

    sha256: str
    pages: tuple[int, ...]


def relocate_sources(
    experiment: Experiment, root: str, *, say: Callable[[int, int], None] = lambda done, of: None
) -> Move:
    """Find an experiment's source files below another folder, and take them from there.

    Parameters
    ----------
    experiment
        The experiment; its list of source files is written anew, and nothing else.
    root
        The folder that takes the place of the recorded one, or of as much of its beginning as is
        needed to find the files.
    say
        Called with the number of files compared, and how many there are.

    Raises
    ------
    InputError
        If a file is not there, or has another size or other bytes than the one that was
        converted. Nothing is written.
    """
    sources = _name_recorded(experiment.sources)
    root = files.normalise_url(root)
    known = sources.drop_duplicates("url")
    urls = [str(url) for url in known["url"]]
    if not urls:
        raise InputError(f"{experiment.url}: has no source images. There is nothing to relocate.")
    moved = dict(zip(urls, move_paths({"": urls}, root)[""], strict=True))
    converted = _read_converted(experiment)
    problems, rows, n_hashed = list[str](), list[tuple[str, str, int, int, int]](), 0
    for number, row in enumerate(known.itertuples(), start=1):
        url = moved[str(row.url)]
        found = stat_source(url)
        known_as = converted.get(str(row.recorded_url), Converted("", ()))
        if row.size_bytes == GONE.size_bytes and found == GONE:
            rows.append((url, str(row.recorded_url), *found, int(row.recorded_mtime_ns)))
            continue
        if found == GONE:
            problems.append(f"{url}: not there, expected {row.url}. Name the folder that has it.")
        elif found.size_bytes != row.size_bytes:
            problems.append(
                f"{url}: {found.size_bytes} bytes, {row.url} had {row.size_bytes}. Copy it again."
            )
        elif known_as.sha256 and not _is_same(url, known_as):
            what = "pixels" if is_array(url) else "bytes"
            problems.append(
                f"{url}: other {what} than the file that was converted ({row.url}), of the same "
                "size. Copy it again, or run the pipeline to convert what is there."
            )
        n_hashed += bool(known_as.sha256)
        rows.append((url, str(row.recorded_url), *found, int(row.recorded_mtime_ns)))
        say(number, len(known))
    if problems:
        raise InputError(join_problems(problems))
    names = ["url", "recorded_url", "size_bytes", "mtime_ns", "recorded_mtime_ns"]
    moves = pd.DataFrame(rows, columns=names)
    tables.write_table(experiment.path(_MOVES), moves)
    renamed = sources.assign(url=sources["url"].map(moved))
    times = moves.set_index("url")["mtime_ns"]
    renamed["mtime_ns"] = renamed["url"].map(times).astype("int64")
    Experiment(experiment.url, layout=experiment.layout, sources=renamed).save_description()
    sizes = moves["size_bytes"].clip(lower=0)
    return Move(len(moves), int(sizes.sum()), n_hashed)


def recall_sources(sources: pd.DataFrame, url: str) -> pd.DataFrame:
    """Say of files that were relocated where and when they were recorded first.

    Parameters
    ----------
    sources
        As a survey finds them.
    url
        The experiment.

    Returns
    -------
    DataFrame
        With the columns `RECORDED` where files were relocated. A file that has changed since is
        one of its own again.
    """
    try:
        moves = tables.read_table(files.join_url(url, _MOVES))
    except FileNotFoundError:
        return sources
    keys = ["url", "size_bytes", "mtime_ns"]
    known = moves.set_index(keys)[list(RECORDED)]
    at = known.index.get_indexer(pd.MultiIndex.from_frame(sources[keys]))
    named = _name_recorded(sources)
    for name in RECORDED:
        named[name] = named[name].where(at < 0, known[name].to_numpy()[at])
    return named.astype({"recorded_mtime_ns": "int64"})


def _name_recorded(sources: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `RECORDED` where they are not there."""
    if set(RECORDED) <= set(sources):
        return sources
    return sources.assign(recorded_url=sources["url"], recorded_mtime_ns=sources["mtime_ns"])


def _is_same(url: str, known_as: Converted) -> bool:
    """Tell whether a file's bytes, or an array's planes, are those that were converted."""
    try:
        return hash_source(url, known_as.pages) == known_as.sha256
    except FieldError:  # planes that can't be read
        return False


def _read_converted(experiment: Experiment) -> dict[str, Converted]:
    """Read what was converted, by the URL that it had then."""
    converted: dict[str, Converted] = {}
    for key, table in _read_conversions(experiment):
        used = table[table["channel"].isin(experiment.locate(key)[0].channels)]
        for url, rows in used.groupby("url", sort=False):
            if digest := str(rows["sha256"].iloc[0] or ""):
                converted[str(url)] = Converted(digest, tuple(int(page) for page in rows["page"]))
    return converted


def _read_conversions(experiment: Experiment) -> Iterator[tuple[str, pd.DataFrame]]:
    entries = (experiment.last_pipeline() or {}).get("stages", [])
    names = [str(e.get("name") or e["stage"]) for e in entries if e["stage"] == "convert"]
    for name in names:
        for key in experiment.ledger.done_keys(name):
            if key in experiment.wells:
                url = experiment.part_url(name, key)
                columns = ["url", "page", "channel", "sha256"]
                yield key, tables.read_table(url, columns=columns)
