"""Which output of done units is gone, or is not what was written."""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from i2r.errors import DamageError
from i2r.store import files
from i2r.store.documents import parse_json
from i2r.store.outputs import OUTPUTS, Mark, damaged, mark_bytes
from i2r.store.shards import check_shard, is_own_shard, parse_type

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment
    from i2r.store.unit_result import Entry

# Looking at a file is waiting: for a disk, a network, a store.
_THREADS = 16
_AT_ONCE = 64
# Results without any of these words list no file.
_LISTS_OUTPUTS = rf'"({OUTPUTS}|wrote|left_out|encoders)"'


class Output(NamedTuple):
    """A file that a done unit wrote.

    Attributes
    ----------
    stage, key
        The unit: of several that wrote it, the last one.
    path
        Where it is in the experiment.
    mark
        What it should be; None where an earlier i2r did not note it.
    """

    stage: str
    key: str
    path: str
    mark: Mark | None


class Damage(NamedTuple):
    """A file that is gone or changed, the unit that wrote it, and a line that says so."""

    stage: str
    key: str
    line: str


def iterate_outputs(
    experiment: "Experiment", *, stages: Collection[str] | None = None
) -> Iterator[Output]:
    """Go through what done units wrote, each file once; only some of them are held at a time.

    Parameters
    ----------
    experiment
        The experiment.
    stages
        Only what units of these stages wrote; None for all.
    """
    hashes = np.fromiter(
        (hash(output.path) for output, _ in _iterate_written(experiment)), np.int64
    )
    hashes.sort()
    # Files that several units wrote, and perhaps a few others with the same hash.
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    del hashes
    latest: dict[str, tuple[tuple[int, int], Output]] = {}
    for output, position in _iterate_written(experiment):
        if hash(output.path) in repeated:
            before = latest.get(output.path)
            if before is None or position >= before[0]:
                latest[output.path] = position, output
        elif stages is None or output.stage in stages:
            yield output
    for _, output in latest.values():
        if stages is None or output.stage in stages:
            yield output


def _iterate_written(experiment: "Experiment") -> Iterator[tuple[Output, tuple[int, int]]]:
    """Go through what done units wrote, with the run and line at which they were done."""
    for entry in experiment.ledger.entries(matching=_LISTS_OUTPUTS):
        if entry.event == "done":
            for output in _list_of_unit(experiment, entry):
                yield output, (entry.run, entry.line)


def _list_of_unit(experiment: "Experiment", entry: "Entry") -> Iterator[Output]:
    """List what one unit wrote; of an earlier i2r, what units of its kind always write."""
    noted = entry.result.get(OUTPUTS)
    if isinstance(noted, dict):
        for path, mark in noted.items():
            yield Output(entry.stage, entry.key, path, Mark(*mark))
        return
    if entry.key not in experiment.wells:
        return
    urls, report = [], entry.report
    fields = [n for n in experiment.wells[entry.key].fields if n not in report.excluded]
    if report.wrote == "source":
        urls = [f"{experiment.image_url(entry.key, field)}/0/c/0/0/0" for field in fields]
    elif report.left_out is not None:
        urls = [f"{experiment.crops_url(entry.stage, entry.key)}/zarr.json"]
    elif report.encoders is not None:
        names = report.encoders
        urls = [experiment.embeddings_url(entry.stage, entry.key, encoder=n) for n in names]
        urls = [f"{url}/zarr.json" for url in urls]
    if report.wrote in ("source", "labels") or report.left_out is not None:
        urls.append(experiment.part_url(entry.stage, entry.key))
    for url in urls:
        yield Output(entry.stage, entry.key, url.removeprefix(f"{experiment.url}/"), None)


def find_damage(
    experiment: "Experiment", outputs: Iterable[Output], *, content: bool = False
) -> list[Damage]:
    """Look at files that units wrote.

    Parameters
    ----------
    experiment
        The experiment.
    outputs
        Some of `iterate_outputs`.
    content
        Whether to read them, and compare all checksums; else they have to be there with the
        size that was written.
    """
    check: Callable[[str, Mark | None], None] = _check_content if content else _check_presence

    def look(some: Iterable[Output]) -> list[Damage]:
        found = []
        for output in some:
            try:
                check(experiment.path(output.path), output.mark)
            except DamageError as error:
                found.append(Damage(output.stage, output.key, str(error)))
        return found

    # Threads that hand over after every file would cost more than looking at it.
    stream, found = iter(outputs), list[Damage]()
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(stream, _AT_ONCE * 4 * _THREADS)):
            parts = (some[at : at + _AT_ONCE] for at in range(0, len(some), _AT_ONCE))
            for damages in pool.map(look, parts):
                found += damages
    return found


def find_owner(experiment: "Experiment", url: str) -> tuple[str, str] | None:
    """Give stage and key of the unit that wrote a file or an array; None where none did."""
    path = url.partition(f"{experiment.url.partition('://')[2] or experiment.url}/")[2]
    if not path:
        return None
    for output in iterate_outputs(experiment):
        if output.path == path or output.path.startswith(f"{path.removesuffix('/zarr.json')}/"):
            return output.stage, output.key
    return None


def _check_presence(url: str, mark: Mark | None) -> None:
    try:
        n_bytes = files.stat(url).size_bytes
    except (FileNotFoundError, NotADirectoryError) as error:
        raise damaged(url, "missing") from error
    if mark is not None and n_bytes != mark.n_bytes:
        raise damaged(url, f"{n_bytes} bytes, {mark.n_bytes} were written")


def _check_content(url: str, mark: Mark | None) -> None:
    _check_presence(url, mark)
    array = _array_of(url)
    if array is None:
        if mark is not None and mark_bytes(files.read_bytes(url)) != mark:
            raise damaged(url, "its content is not what was written")
        return
    try:
        data = files.read_bytes(f"{array}/zarr.json")
    except FileNotFoundError as error:
        raise damaged(array, "its zarr.json is missing") from error
    if mark is not None and mark_bytes(data).crc32c != mark.crc32c:
        raise damaged(array, "its zarr.json is not what was written")
    try:
        document = parse_json(data)
        parse_type(document["data_type"])
        is_own = is_own_shard(document)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise damaged(array, "its zarr.json is not what was written") from error
    if is_own:
        with files.open_file(url) as file:
            check_shard(file, document, where=array)


def _array_of(url: str) -> str | None:
    """Give the array that a file is the only shard of; None for any other file."""
    folder, *rest = url.rsplit("/c/0", 1)
    return folder if rest and not rest[0].strip("/0") else None
