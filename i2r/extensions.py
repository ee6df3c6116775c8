"""What other packages add to i2r, found by their entry points."""

from importlib.metadata import EntryPoint, entry_points

from i2r.errors import InputError


def list_extensions(group: str) -> list[str]:
    """List the names that other packages offer in a group of entry points."""
    return sorted({point.name for point in entry_points(group=group)})


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
    for point in entry_points(group=group):
        if point.name == name:
            return point
    raise InputError(
        f"{what} {name!r}: not installed, found {', '.join(list_extensions(group)) or 'none'} "
        f"under the entry point {group!r}. Install its package{advice}."
    )
