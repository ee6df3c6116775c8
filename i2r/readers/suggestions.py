"""A regular expression for the names of a folder's images, suggested from the names themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from i2r.readers.instruments import NAMINGS
from i2r.types import parse_well

# A well and where it may begin; "A01", or row and column apart ("A-01", "A_1"), or "r01c01".
_EDGE, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9]|\.[A-Za-z]\d)"
_WELLS = (
    rf"{_EDGE}(?P<well>(?:A[A-F]|[A-P])\d{{1,3}}){_END}",
    rf"{_EDGE}(?P<row>A[A-F]|[A-P])[ _-](?P<column>\d{{1,2}}){_END}",
    rf"{_EDGE}(?P<well>r\d+c\d+)",
    rf"{_EDGE}(?P<well>[a-p]\d{{1,3}}){_END}",
    rf"{_EDGE}(?P<well>[A-Pa-p]\d{{1,3}}){_END}",
)
# What may stand before a well: one that is spelled out first, as a plate "P7" may precede it.
_BEFORE = ("[ _-]", ".*[ _-]", "")
_FIELD = re.compile(r"(?i)(?:^|(?<=[\d _.-]))(?:site|field|fld|fov|pos|xy|s|f)[ _-]?(?=\d)")
# The last part of a name that is a field's number, and no channel's name.
_ONLY_FIELD = re.compile(r"(?i)(?:site|field|fld|fov|pos|xy|s|f)[ _-]?\d+")
_CHANNEL = re.compile(r"(?i)(?:^|(?<=[\d _.-]))(?:channel|chan|ch|wv|c|w)[ _-]?(?=\d)")
_ANY_WELL = re.compile(rf"{_EDGE}(?:A[A-F]|[A-P])\d{{1,2}}{_END}")
# ScanR and CV1000 count wells from 1, and only the plate's format says in which row that is.
_COUNTED = re.compile(r"(?:^|[-_/])(W\d+)(?=--P\d|F\d)")
# More values than this are not channels but times, or numbers that a microscope counts up.
_MOST_CHANNELS = 8
# A pattern is suggested if it reads this part of the images: a folder has some of other kinds.
_LEAST_PART = 0.8
# A part of a well, as CV8000 names the wells of 1,536 plates by those of a smaller one.
_PART_OF_WELL = re.compile(r"[A-P]\d\d\.[a-d]\d")


class Suggestion(NamedTuple):
    """A pattern for some files.

    Attributes
    ----------
    pattern
        The regular expression.
    instrument
        Whose names it reads; empty for one made from the names at hand.
    n_read
        How many of the files it reads.
    others
        Those that it doesn't.
    """

    pattern: str
    instrument: str
    n_read: int
    others: tuple[str, ...]


def suggest_pattern(paths: Sequence[str]) -> str:
    """Give the pattern of `suggest_naming`; empty where there is none. Scripts of labs use it."""
    found = suggest_naming(paths)
    return found.pattern if found else ""


def suggest_naming(paths: Sequence[str]) -> Suggestion | None:
    r"""Suggest a pattern that reads most of some image files' paths, each as another image.

    Parameters
    ----------
    paths
        Paths below the source, such as ``P1/A01_s1_w2.tif``.

    Returns
    -------
    Suggestion or None
        The first of the instruments' own namings and of some usual forms that matches four of
        five paths, with names of wells that are some, at most eight channels, and no two files of
        one plane. None where none does, or where more than one part of the names may be the well.
        It is a suggestion: what a number in a name means, only people know.
    """
    for naming in NAMINGS:
        for pattern in _with_folders(naming.pattern):
            if (others := _list_others(re.compile(pattern), paths)) is not None:
                return Suggestion(
                    pattern, naming.instrument, len(paths) - len(others), tuple(others)
                )
    names = [path.rpartition("/")[2] for path in paths]
    typical = _find_typical(names) if names else ""
    if not names or _COUNTED.search(typical) or _PART_OF_WELL.search(typical):
        return None
    for expression in _list_forms(typical):
        for pattern in _with_folders(expression):
            others = _list_others(re.compile(pattern), paths)
            if others is not None and not _is_ambiguous(re.compile(pattern), paths):
                return Suggestion(pattern, "", len(paths) - len(others), tuple(others))
    return None


def explain_wells(paths: Sequence[str]) -> str:
    """Say what can't be known of the wells in some names; empty where nothing is to be said."""
    name = _find_typical([path.rpartition("/")[2] for path in paths]) if paths else ""
    if counted := _COUNTED.search(name):
        return (
            f"wells are counted ({counted[1]}), and only the plate's format says "
            "which ones they are: give a table of files with their wells, or rename them"
        )
    if part := _PART_OF_WELL.search(name):
        return (
            f"{part[0]} is a part of a well, and which well of the large plate it is, names don't "
            "say: give a table of files with their wells, or rename them"
        )
    several = list(dict.fromkeys(_ANY_WELL.findall(name)))
    if len(several) > 1:
        return f"{', '.join(several)} may each be the well: put (?P<well>...) around the right one"
    return ""


def _find_typical(names: Sequence[str]) -> str:
    """Find a name of the most common form, with letters and digits taken as such."""
    forms = [re.sub(r"\d+", "0", re.sub(r"[A-Za-z]+", "a", name)) for name in names]
    return names[forms.index(Counter(forms).most_common(1)[0][0])]


def _with_folders(expression: str) -> Iterator[str]:
    """Give an expression as it is, and with the folder or what is before the well as the plate."""
    yield expression
    if "(?P<plate>" not in expression:
        yield rf"(?P<plate>[^/]+)/(?:[^/]*/)*?[^/]*?{expression}"
        if expression.startswith(_EDGE):
            yield rf"(?:^|/)(?P<plate>[^/]+?)[ _-]{expression}"


def _list_forms(name: str) -> Iterator[str]:
    """Make the forms that one name allows, those that say most first."""
    stem, _, suffix = name.rpartition(".")
    fields = [(m.start(), f"{m[0]}(?P<field>\\d+)") for m in _FIELD.finditer(stem)]
    channels = [(m.start(), f"{m[0]}(?P<channel>\\d+)") for m in _CHANNEL.finditer(stem)]
    for m in re.finditer(r"[ _-](?=[A-Za-z0-9]+$)", stem):
        if _ONLY_FIELD.fullmatch(stem[m.end() :]):
            continue
        ending = f"{m[0]}(?P<channel>[A-Za-z0-9]+)\\.{re.escape(suffix)}$"
        channels.append((m.start(), ending))
    # What reads less is tried last: a form without a channel fits wherever one with it does.
    for channel, field, well, before in product(
        [*channels, None], [*fields, None], _WELLS, _BEFORE
    ):
        found = re.search(before + well, stem)
        if found is None:
            continue
        start = found.start("well" if "well" in found.groupdict() else "row")
        pieces = sorted(piece for piece in ((start, before + well), field, channel) if piece)
        yield ".*".join(expression for _, expression in pieces)


def _list_others(pattern: re.Pattern[str], paths: Sequence[str]) -> list[str] | None:
    """List the paths that a pattern doesn't read; None if it doesn't serve for the others.

    It serves if it reads most of them, each as a well, and no two as the same plane.
    """
    seen: set[tuple[str, ...]] = set()
    channels = set()
    others = []
    for path in paths:
        match = pattern.search(path)
        if match is None:
            others.append(path)
            if len(others) > (1 - _LEAST_PART) * len(paths):
                return None
            continue
        groups = {name: text or "" for name, text in match.groupdict().items()}
        try:
            well = parse_well(groups.pop("well", "") or groups.pop("row") + groups.pop("column"))
        except ValueError:
            return None
        channels.add(groups.get("channel", ""))
        plane = (well.name, *groups.values())
        if plane in seen or len(channels) > _MOST_CHANNELS:
            return None
        seen.add(plane)
    return others if seen else None


def _is_ambiguous(pattern: re.Pattern[str], paths: Sequence[str]) -> bool:
    """Tell whether all files are of one well, and another part of their names may be it too."""
    matches = [match for path in paths if (match := pattern.search(path))]
    if "well" not in pattern.groupindex or len({match["well"] for match in matches}) > 1:
        return False
    names = {match.string.rpartition("/")[2] for match in matches}
    return any(len(set(_ANY_WELL.findall(name))) > 1 for name in names)
