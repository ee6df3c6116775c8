"""Folders of image files whose names say what they are, read by a regular expression."""

import difflib
import re

from i2r.errors import InputError, count_words, name_some
from i2r.readers import ReaderOptions, Sources, did_you_mean
from i2r.readers.foreign import explain_content
from i2r.readers.names import Found
from i2r.readers.pattern_search import GROUPS, compile_pattern, read_place, search_name
from i2r.readers.selection import choose_time
from i2r.readers.sources import build_sources
from i2r.readers.suggestions import Suggestion, explain_wells, suggest_naming
from i2r.store import files

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_EXAMPLE = r"(?P<well>[A-P]\d\d)_s(?P<field>\d)_w(?P<channel>\d)\.tif$"
# Names compared with a pattern that matches nothing: enough to be of help, quick on any folder.
_COMPARED = 2000


def scan(source: str, options: ReaderOptions) -> Sources:
    r"""Find the image files of a folder and read plate, well, field, channel and z from each path.

    Parameters
    ----------
    source
        Path or URL of the folder; searched with all folders in it.
    options
        `pattern` is searched for in every path below the folder, separated by '/'. Named groups:
        ``well``, or ``row`` and ``column``; and, each optional, ``plate``, ``field``, ``channel``,
        ``z``, ``time``. Without ``field`` every file is field 1; without ``channel`` there is one
        channel called ``channel``.

    Returns
    -------
    Sources
        TIFF, PNG and JPEG files whose path the pattern matches; the others are counted in the
        notes.

    Raises
    ------
    InputError
        If there is no pattern (with one that fits, if there is one) or it can't be read, if it
        matches nothing (with the three nearest names), and for all that `build_sources` refuses.
    """
    where = files.without_secrets(source)
    if not options.pattern:
        raise _no_pattern(where, source)
    pattern = _compile(options.pattern)
    matches: dict[str, re.Match[str]] = {}
    others: list[str] = []

    def accept(path: str) -> bool:
        match = search_name(pattern, path) if _is_image(path) else None
        if match is None:
            others.append(path)
            return False
        matches[path] = match
        return True

    base = files.normalise_url(source)
    listed = list(files.find_files(base, accept))
    times = {path: match.groupdict().get("time") or "" for path, match in matches.items()}
    time = choose_time(where, times.values(), options)
    found = [
        _name_file(matches[file.path], f"{base}/{file.path}", file.stat)
        for file in listed
        if times[file.path] == time
    ]
    if not found:
        raise _nothing_matches(where, source, pattern.pattern, others)
    ignored = f"{count_words(len(others), 'file')} ignored"
    notes = [f"{ignored}, for example {others[0]}"] if others else []
    return build_sources(found, options, where=source, notes=notes)


def _compile(text: str) -> re.Pattern[str]:
    """Compile the pattern and check the names of its groups."""
    pattern = compile_pattern(text)
    for name in pattern.groupindex:
        if name not in GROUPS:
            raise InputError(
                f"pattern '{text}': found the group {name!r}, expected {', '.join(GROUPS)}."
                f"{did_you_mean(name, GROUPS)}"
            )
    groups = set(pattern.groupindex)
    if "well" not in groups and not {"row", "column"} <= groups:
        raise InputError(
            f"pattern '{text}': found no well, expected the group 'well', or 'row' and 'column'. "
            "Put (?P<well>...) around the well's name."
        )
    return pattern


def _name_file(match: re.Match[str], url: str, stat: files.Stat) -> Found:
    said = read_place(match)
    place = said["plate"], said["well"], said["field"], said["channel"], said["z"]
    return Found(*place, url=url, stat=stat)


def list_images(source: str) -> list[str]:
    """List the images of a folder, as paths below it."""
    return [file.path for file in files.find_files(files.normalise_url(source), _is_image)]


def _no_pattern(where: str, source: str) -> InputError:
    """Say that a pattern is needed, and which one would read the files that are there."""
    names = list_images(source)
    if not names:
        return _nothing_there(where, source)
    found = suggest_naming(names)
    unclear = "" if found else explain_wells(names)
    return InputError(
        f"pattern: none given, expected a regular expression such as "
        f"'{found.pattern if found else _EXAMPLE}', "
        f"{describe_naming(found, len(names)) if found else 'adapted to your names'} "
        f"({', '.join(names[:2])}, ...){f'; {unclear}' if unclear else ''}. "
        "Set 'pattern' (init: --pattern)."
    )


def describe_naming(found: Suggestion, n_names: int) -> str:
    """Say how many files a suggested pattern reads, and which it doesn't."""
    if not found.others:
        return f"which fits all {n_names} names"
    return f"which fits {found.n_read} of {n_names} names, not {name_some(found.others, 3)}"


def _is_image(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _nothing_there(where: str, source: str) -> InputError:
    """Say that a folder is missing, and which one is meant perhaps, or that it has no images."""
    base = files.normalise_url(source).rstrip("/")
    if files.exists(base) or files.list_folder(base):
        return InputError(f"{where}: {explain_content(base)}")
    parent, _, name = base.rpartition("/")
    try:
        beside = files.list_folder(parent)
    except (OSError, InputError):  # nobody may look there: then there is nothing to suggest
        beside = []
    return InputError(
        f"{where}: found no files, there is no such folder. Correct the source."
        f"{did_you_mean(name, beside)}"
    )


def _nothing_matches(where: str, source: str, pattern: str, others: list[str]) -> InputError:
    if not others:
        return _nothing_there(where, source)
    # What is literal in the pattern is all that can resemble a name.
    literal = re.sub(r"\(\?P<\w+>|[\\()\[\]{}^$*+?|]", "", pattern)
    images = [path for path in others if _is_image(path)] or others
    nearest = difflib.get_close_matches(literal, images[:_COMPARED], n=3, cutoff=0.0)
    return InputError(
        f"{where}: the pattern '{pattern}' matches none of {len(others)} files; the nearest names "
        f"are {', '.join(map(repr, nearest))}. Correct the pattern."
    )
