"""What other packages add to i2r, found by their entry points."""

import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from i2r.errors import InputError


def find_points(group: str) -> tuple[EntryPoint, ...]:
    """Find the entry points of a group; again only after Python looks in other places."""
    return _find_points(group, tuple(sys.path), entry_points)


@lru_cache(maxsize=64)
def _find_points(
    group: str, path: tuple[str, ...], look: Callable[..., Iterable[EntryPoint]]
) -> tuple[EntryPoint, ...]:
    """Look through all installed packages, which takes a twentieth of a second."""
    return tuple(look(group=group))


def list_extensions(group: str) -> list[str]:
    """List the names that other packages offer in a group of entry points."""
    return sorted({point.name for point in find_points(group)})


def find_extension(group: str, name: str, *, what: str, advice: str = "") -> EntryPoint:
    """Find what another package offers under a name.

    Parameters
    ----------
    group, name
        Of the entry point.
    what
        What it is, for the message.
    advice
        What else a user can do than install its package.

    Raises
    ------
    InputError
        If no package offers it.
    """
    for point in find_points(group):
        if point.name == name:
            return point
    raise InputError(
        f"{what} {name!r}: not installed, found {', '.join(list_extensions(group)) or 'none'} "
        f"under the entry point {group!r}. Install its package{advice}."
    )
