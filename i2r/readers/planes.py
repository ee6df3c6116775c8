"""From image files to their planes: what each file holds is looked up, and what is unclear said."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from i2r.errors import FieldError, InputError, count_words, join_problems, name_some
from i2r.readers import ReaderOptions
from i2r.readers.contents import Contents, PlaneAt, Series, describe_planes, read_contents
from i2r.readers.header_cache import recall_contents, remember_contents
from i2r.readers.headers import parse_header
from i2r.readers.images import open_image
from i2r.readers.positions import NOWHERE, Position, is_known
from i2r.store import files
from i2r.types import Well

# Files asked at once: network drives answer late, not slowly. Where the first few take no longer
# than their headers take to parse, threads would only take turns.
_THREADS = 16
_FEW, _QUICK_S = 32, 0.002
# Kinds of files that a note names.
_KINDS = 3
# What a plane's channel is called where neither name nor file has one.
NO_CHANNEL = "channel"


class Plane(NamedTuple):
    """One plane of a source; the first five say which it is.

    Attributes
    ----------
    plate, well, field, channel, z
        ``channel`` is empty where the name has none, until its file was looked at.
    url, page, stat, illumination
        As in `i2r.readers.Sources`.
    has_z
        Whether the name says which focal plane it is.
    frame, series
        Which plane of which image in the file it is, as the source says it; None without.
    time
        From 0.
    problem
        Why it can't be used, beginning with the reason; empty for none.
    inverted, dtype, shape, pixel_size_um, pixel_height_um
        As the file's header has it; empty, (0, 0) and NaN where it can't be read.
    plate_format
        Number of wells of the physical plate; 0 where the source doesn't say.
    position_um
        Centre of the field in its well (x, y).
    stage_um
        The same in the stage's own coordinates, as the file's header has it.
    """

    plate: str
    well: Well
    field: str
    channel: str
    z: int
    url: str
    page: int
    stat: files.Stat
    illumination: str = ""
    has_z: bool = False
    frame: int | None = None
    series: int | None = None
    time: int = 0
    problem: str = ""
    inverted: bool = False
    dtype: str = ""
    shape: tuple[int, int] = (0, 0)
    pixel_size_um: float = math.nan
    plate_format: int = 0
    position_um: Position = NOWHERE
    stage_um: Position = NOWHERE
    pixel_height_um: float = math.nan


def inspect_files(planes: Iterable[Plane], where: str) -> dict[str, Contents | FieldError | None]:
    """Read the headers of all files that are there, and that have changed since the last time.

    Parameters
    ----------
    planes
        Their files, with size and time.
    where
        The source, by which headers are remembered.

    Returns
    -------
    dict
        By URL: what the file holds, or why it can't be read; None where the file system failed,
        which is said when the file is read.
    """
    stats = {plane.url: plane.stat for plane in planes if plane.stat.size_bytes >= 0}
    known = recall_contents(where, stats)
    urls = [url for url in stats if url not in known]
    few, many = urls[:_FEW], urls[_FEW:]
    started = time.perf_counter()
    found = {url: _try_contents(url) for url in few}
    if many and time.perf_counter() - started > _QUICK_S * len(few):
        with ThreadPoolExecutor(_THREADS) as pool:
            found |= zip(many, pool.map(_try_contents, many), strict=True)
    else:
        found |= {url: _try_contents(url) for url in many}
    contents = {url: known.get(url) or found.get(url) for url in stats}
    if urls:
        remember_contents(where, stats, contents)
    return contents


def _try_contents(url: str) -> Contents | FieldError | None:
    try:
        return read_contents(url)
    except FieldError as error:
        return error
    except OSError:
        return None


def expand_planes(
    planes: Sequence[Plane], options: ReaderOptions, where: str
) -> tuple[list[Plane], list[str]]:
    """Look into every file, and list each of its planes.

    Parameters
    ----------
    planes
        One per file, or per plane of it that the source names.
    options
        Which time to take, and what pages are that nothing describes.
    where
        The source, for messages.

    Returns
    -------
    planes : list of Plane
        A file that can't be read, or whose planes are unclear, is expected to hold what most of
        its plate's do; an unclear one has a ``problem``.
    notes : list of str
        What files hold.

    Raises
    ------
    InputError
        If half of the files or more are unclear, or files say that 0 is white and the options
        refuse that.
    """
    contents = inspect_files(planes, where)
    taken: list[tuple[PlaneAt, ...] | None] = []
    problems: dict[str, str] = {}
    usual: dict[tuple[str, str], Counter[tuple[PlaneAt, ...]]] = defaultdict(Counter)
    several: dict[str, bool] = {}
    known: list[Plane] = []
    for listed in planes:
        plane, held = listed, contents.get(listed.url)
        chosen: tuple[PlaneAt, ...] | None = None
        if isinstance(held, Contents):
            plane = _describe(listed, held)
            try:
                chosen, is_guess = _choose(plane, held, options)
                if len(chosen) > 1:
                    several[plane.url] = is_guess
                usual[plane.plate, plane.channel][chosen] += 1
            except FieldError as error:
                problems[plane.url] = str(error)
        elif held is not None and str(held).startswith("ambiguous"):
            problems[plane.url] = str(held)
        taken.append(chosen)
        known.append(plane._replace(problem=problems.get(plane.url, "")))
    n_read = sum(isinstance(held, Contents) or url in problems for url, held in contents.items())
    if problems and 2 * len(problems) >= n_read:
        found = list(dict.fromkeys(text.partition(": ")[2] for text in problems.values()))
        raise InputError(f"{files.without_secrets(where)}: {join_problems(found)}")
    expanded = []
    for plane, chosen in zip(known, taken, strict=True):
        like = usual[plane.plate, plane.channel] or Counter([(PlaneAt(plane.page),)])
        for at in chosen or like.most_common(1)[0][0]:
            z, channel = (at.z if at.z else plane.z), plane.channel or at.channel
            expanded.append(plane._replace(page=at.page, z=z, channel=channel, time=at.time))
    expanded, cut = _read_intact(expanded, contents)
    expanded, inverted = _invert(expanded, contents | cut, options, where)
    unnamed = {plane.url for plane in planes if not plane.channel}
    return _name_channels(expanded, unnamed, options), [
        *_describe_files(contents, several, options),
        *inverted,
        *_describe_problems(problems),
        *_describe_unread(contents, problems),
        *_list_absent(contents),
    ]


def _describe(plane: Plane, held: Contents) -> Plane:
    plane = plane._replace(dtype=held.dtype, shape=held.shape)
    at = plane.series or 0
    if at >= len(held.series):
        return plane
    series = held.series[at]
    if math.isnan(plane.pixel_size_um):
        width, height = series.pixel_size_um, series.pixel_height_um
        plane = plane._replace(pixel_size_um=width, pixel_height_um=height)
    return plane._replace(stage_um=series.position_um)


def _read_intact(
    planes: list[Plane], contents: Mapping[str, Contents | FieldError | None]
) -> tuple[list[Plane], dict[str, Contents]]:
    """Look at the planes of files that can't be read whole: of one cut short, some are there."""
    found: dict[str, Contents] = {}
    described = []
    for listed in planes:
        plane = listed
        if isinstance(contents.get(plane.url), FieldError) and not plane.problem:
            try:
                with open_image(plane.url) as (file, n_bytes):
                    header = parse_header(file, n_bytes, plane.url, plane.page)
            except (FieldError, OSError):  # said of the file, or when it is read
                pass
            else:
                dtype = header.dtype.name
                plane = plane._replace(shape=header.shape, dtype=dtype)
                found[plane.url] = Contents((), header.shape, dtype, header.white_is_zero)
        described.append(plane)
    return described, found


def _choose(
    plane: Plane, held: Contents, options: ReaderOptions
) -> tuple[tuple[PlaneAt, ...], bool]:
    """Choose the planes of a file that a row of the source means.

    Returns
    -------
    planes : tuple of PlaneAt
        One, or all by channel, focal plane and time.
    is_guess : bool
        Whether pages were taken for focal planes because the user says what to do with those.

    Raises
    ------
    FieldError
        With the reason ``ambiguous`` or ``missing``.
    """
    name = files.without_secrets(plane.url)
    if held.is_array:
        return (PlaneAt(plane.page),), False
    if plane.series is None and len(held.series) > 1:
        raise FieldError(
            f"ambiguous: {name} holds {len(held.series)} images, expected one. Export one image "
            "per file, or name them in a load_data.csv with Series_ columns."
        )
    number = plane.series or 0
    if number >= len(held.series):
        raise FieldError(
            f"missing: {name} holds {len(held.series)} images, expected image {number} (counted "
            "from 0). Correct the table."
        )
    series = held.series[number]
    if plane.frame is not None:
        if plane.frame >= len(series.planes):
            raise FieldError(
                f"missing: {name} holds {len(series.planes)} planes, expected plane {plane.frame} "
                "(counted from 0). Correct the table."
            )
        return (PlaneAt(series.planes[plane.frame].page),), False
    planes, is_guess = _read_unknown(series, name, options)
    planes = _choose_time(planes, name, options)
    if len({at.channel for at in planes}) > 1 and plane.channel:
        raise FieldError(
            f"ambiguous: {name} holds {describe_planes(planes)}, but its name or table says that "
            f"it is the channel {plane.channel!r}. Leave the channel out of the pattern; the "
            "option 'channels' names those of the file."
        )
    if len({at.z for at in planes}) > 1 and plane.has_z:
        raise FieldError(
            f"ambiguous: {name} holds {describe_planes(planes)}, but its name or table says that "
            f"it is the focal plane {plane.z}. Leave z out of the pattern, or export one plane "
            "per file."
        )
    return planes, is_guess


def _read_unknown(
    series: Series, name: str, options: ReaderOptions
) -> tuple[tuple[PlaneAt, ...], bool]:
    """Say what pages are that nothing describes: as the user says it."""
    if not series.unknown or options.pages == "z":
        return series.planes, False
    if options.pages == "channel":
        return tuple(PlaneAt(at.page, str(n)) for n, at in enumerate(series.planes)), False
    if options.pages == "time":
        return tuple(PlaneAt(at.page, time=n) for n, at in enumerate(series.planes)), False
    if options.z != "refuse":
        return series.planes, True
    raise FieldError(
        f"ambiguous: {name} has {len(series.planes)} pages, and nothing in it says whether they "
        "are channels, focal planes or times. Set 'pages' to channel, z or time."
    )


def _choose_time(
    planes: tuple[PlaneAt, ...], name: str, options: ReaderOptions
) -> tuple[PlaneAt, ...]:
    times = sorted({at.time for at in planes})
    if options.time == "refuse":
        if len(times) > 1:
            raise FieldError(
                f"ambiguous: {name} holds {describe_planes(planes)}, expected one time. Set "
                f"'time' to one of {times[0]} to {times[-1]}."
            )
        return planes
    if len(times) > 1 and options.time not in times:
        raise FieldError(
            f"missing: {name} holds the times {times[0]} to {times[-1]}, expected {options.time}. "
            "Set 'time' to one of them."
        )
    return tuple(at for at in planes if len(times) == 1 or at.time == options.time)


def place_in_wells(planes: Sequence[Plane]) -> list[Plane]:
    """Give planes their field's place in the well where only the stage's position is known.

    The stage counts from a corner of its own; here the first field along either axis is at 0.
    """
    corners: dict[tuple[Any, ...], list[float]] = {}
    for plane in planes:
        if is_known(plane.stage_um):
            corner = corners.setdefault(plane[:2], [math.inf, math.inf])
            corner[:] = np.minimum(corner, plane.stage_um).tolist()
    placed = []
    for plane in planes:
        at = plane.position_um
        if not is_known(at) and is_known(plane.stage_um):
            corner = corners[plane[:2]]
            at = plane.stage_um[0] - corner[0], plane.stage_um[1] - corner[1]
        placed.append(plane._replace(position_um=at))
    return placed


def _name_channels(planes: list[Plane], unnamed: set[str], options: ReaderOptions) -> list[Plane]:
    """Call a channel alone ``channel`` where only files name it: names matter from two on."""
    names = {plane.channel for plane in planes if plane.url in unnamed}
    alone = len(names) == 1 and not names & set(options.channels)
    return [
        plane._replace(channel=NO_CHANNEL)
        if not plane.channel or (alone and plane.url in unnamed)
        else plane
        for plane in planes
    ]


def _invert(
    planes: list[Plane],
    contents: Mapping[str, Contents | FieldError | None],
    options: ReaderOptions,
    where: str,
) -> tuple[list[Plane], list[str]]:
    """Turn files that say that 0 is white, as the options have it."""
    white = {
        url for url, held in contents.items() if isinstance(held, Contents) and held.white_is_zero
    }
    if not white:
        return planes, []
    first = files.without_secrets(next(iter(white)))
    say = count_words(len(white), "file says", "files say")
    said = f"{say} that 0 is white (WhiteIsZero), for example {first}"
    if options.white_is_zero == "refuse":
        raise InputError(
            f"{files.without_secrets(where)}: {said}. Set 'white_is_zero' to invert or keep."
        )
    if options.white_is_zero == "keep":
        return planes, [f"{said}: values are taken as they are stored"]
    turned = [p._replace(inverted=p.url in white) for p in planes]
    return turned, [f"{said}: black and white are turned ('white_is_zero: keep' leaves them)"]


def _describe_files(
    contents: Mapping[str, Contents | FieldError | None],
    several: Mapping[str, bool],
    options: ReaderOptions,
) -> list[str]:
    """Say what files of several planes hold."""
    kinds: Counter[str] = Counter()
    for url, held in contents.items():
        if not isinstance(held, Contents) or url not in several:
            continue
        series = held.series[0]
        what = {"channel": "channels", "time": "times"}.get(options.pages, "focal planes")
        meant = f"{len(series.planes)} pages, taken as {what}"
        because = " because 'z' is set: say so with 'pages'" if several[url] else ""
        kinds[meant + because if series.unknown else describe_planes(series.planes)] += 1
    return [
        f"{count_words(number, 'file holds', 'files hold')} {kind}"
        for kind, number in kinds.most_common(_KINDS)
    ]


def _describe_unread(
    contents: Mapping[str, Contents | FieldError | None], problems: Mapping[str, str]
) -> list[str]:
    """Say which files can't be read whole, and why the first can't."""
    errors = [
        str(held)
        for url, held in contents.items()
        if isinstance(held, FieldError) and url not in problems
    ]
    if not errors:
        return []
    first = errors[0].partition(": ")[2]
    return [f"{count_words(len(errors), 'file')} can't be read whole, for example: {first}"]


def _list_absent(contents: Mapping[str, Contents | FieldError | None]) -> list[str]:
    """Name the files of sets that are not there, by what the OME-XML of the others lists."""
    sets: dict[tuple[str, tuple[str, ...]], str] = {}
    for url, held in contents.items():
        names = held.series[0].set_names if isinstance(held, Contents) and held.series else ()
        if url.rpartition("/")[2] in names:  # else they all were given other names
            sets.setdefault((files.parent_url(url), names), url)
    lines = []
    for (folder, names), url in sets.items():
        places = {name: files.join_url(folder, *name.split("/")) for name in names}
        gone = [n for n, at in places.items() if at not in contents and not files.exists(at)]
        if gone:
            lines.append(
                f"{files.without_secrets(url)} belongs to a set of {len(names)} files, of which "
                f"{count_words(len(gone), 'is', 'are')} missing: "
                f"{name_some(gone, _KINDS)}. Copy the set again, or go on without"
            )
    return lines[:_KINDS]


def _describe_problems(problems: Mapping[str, str]) -> list[str]:
    if not problems:
        return []
    first = next(iter(problems.values())).partition(": ")[2]
    number = count_words(len(problems), "file")
    return [f"fields of {number} will be excluded, for example: {first}"]
