"""Errors a user can act on: one string each, so that they survive pickling between workers."""

from collections.abc import Iterable, Sequence


class I2RError(Exception):
    """Something in the user's input, options or surroundings: one clear line, no traceback.

    The message says where, what was found, what was expected and what to do, for example
    ``plate 'P1' well 'B03' field 4: image is (5, 1080, 1024), the plate's other fields are
    (5, 1080, 1080). Export the field again, or drop the row from layout.csv.``
    """


class InputError(I2RError):
    """The experiment as a whole can't be run as described: nothing was written (exit code 2)."""


class RefusedError(InputError, PermissionError):
    """A folder may not be listed."""


class FieldError(I2RError):
    """One field can't be used: it is excluded with a reason and the rest goes on (exit code 3).

    The message starts with the reason code and a colon, for example ``truncated: ...``.
    """


class DamageError(I2RError):
    """What a unit wrote is gone, or is not what it wrote: it has to be made again.

    The message starts with the file, then ``: damaged (``.
    """


class DiskFullError(I2RError):
    """No space is left where the experiment lives: the run stops cleanly and can be resumed."""


def join_problems(problems: list[str], *, shown: int = 5) -> str:
    """Put collected problems into one message: the first five, then how many more there are."""
    lines = problems[:shown]
    if len(problems) > shown:
        lines.append(f"... and {len(problems) - shown} more like these")
    return "\n".join(lines)


def count_words(number: int, word: str, words: str = "") -> str:
    """Write a number of things: ``1 plate``, ``1,200 wells``, ``2 nuclei``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def name_some(names: Sequence[str], most: int = 5) -> str:
    """Write the first of some names, with an ellipsis where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


class SeveralPlanesError(InputError):
    """Fields have several focal planes, and nobody said which of them, or their maximum."""


def find_meant(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Find the known name that somebody probably meant; empty where none is near.

    Parameters
    ----------
    name
        What was given.
    known
        The names that there are.
    cutoff
        Least likeness, from 0 for anything to 1 for the same.
    """
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=cutoff)), "")
