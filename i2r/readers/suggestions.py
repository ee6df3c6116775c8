"""A regular expression for the names of a folder's images, suggested from the names themselves."""

import re
from collections.abc import Iterator, Sequence
from itertools import product

from i2r.types import parse_well

# A well and where it may begin; "A01", or row and column apart ("A-01", "A_1"), or "r01c01".
_WELLS = (
    r"(?P<well>[A-P]\d+)",
    r"(?P<row>[A-P])[ _-](?P<column>\d+)",
    r"(?P<well>r\d+c\d+)",
    r"(?P<well>[a-p]\d+)",
    r"(?P<well>[A-Pa-p]\d+)",
)
# What may stand before a well: one that is spelled out first, as a plate "P7" may precede it.
_BEFORE = ("[ _-]", ".*[ _-]", "")
_FIELD = re.compile(r"(?i)(?:^|(?<=[\d _.-]))(?:site|field|fov|pos|xy|s|f)[_-]?(?=\d)")
_CHANNEL = re.compile(r"(?i)(?:^|(?<=[\d _.-]))(?:channel|chan|ch|c|w)[_-]?(?=\d)")
# More values than this are no channels but times, or numbers that a microscope counts up.
_MOST_CHANNELS = 8


def suggest_pattern(paths: Sequence[str]) -> str:
    r"""Suggest a pattern that reads all of some image files' paths, each as another image.

    Parameters
    ----------
    paths
        Paths below the source, such as ``P1/A01_s1_w2.tif``.

    Returns
    -------
    str
        The first of some usual forms that matches every path, with names of wells that are some,
        at most eight channels, and no two files of one plate, well, field and channel. Empty
        where none does. It is a suggestion: what a number in a name means, only people know.
    """
    names = [path.rpartition("/")[2] for path in paths]
    for expression in _list_forms(names[0]) if names else ():
        for in_folders in ("", r"(?P<plate>[^/]+)/[^/]*"):
            pattern = f"{in_folders}{expression}"
            if _reads_all(re.compile(pattern), paths):
                return pattern
    return ""


def _list_forms(name: str) -> Iterator[str]:
    """Make the forms that one name allows, those that say most first."""
    stem, _, suffix = name.rpartition(".")
    fields = [(m.start(), f"{m[0]}(?P<field>\\d+)") for m in _FIELD.finditer(stem)]
    channels = [(m.start(), f"{m[0]}(?P<channel>\\d+)") for m in _CHANNEL.finditer(stem)]
    for m in re.finditer(r"[ _-](?=[A-Za-z0-9]+$)", stem):
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


def _reads_all(pattern: re.Pattern[str], paths: Sequence[str]) -> bool:
    """Tell whether a pattern reads every path as a well, and no two as the same image."""
    seen: set[tuple[str, ...]] = set()
    channels = set()
    for path in paths:
        match = pattern.search(path)
        if match is None:
            return False
        groups = match.groupdict()
        name = groups.get("well") or f"{groups['row']}{groups['column']}"
        try:
            well = parse_well(name)
        except ValueError:
            return False
        channels.add(groups.get("channel", ""))
        image = (groups.get("plate", ""), well.name, groups.get("field", ""))
        if (*image, groups.get("channel", "")) in seen or len(channels) > _MOST_CHANNELS:
            return False
        seen.add((*image, groups.get("channel", "")))
    return True
