"""Names shared by every layer: wells and the roles of perturbations."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from i2r.errors import InputError

Role = Literal["treated", "negative_control", "positive_control", "empty"]
ROLES: tuple[Role, ...] = ("treated", "negative_control", "positive_control", "empty")

# Plate formats by number of wells: (rows, columns), ANSI/SLAS footprints.
PLATE_FORMATS: dict[int, tuple[int, int]] = {
    6: (2, 3),
    12: (3, 4),
    24: (4, 6),
    48: (6, 8),
    96: (8, 12),
    384: (16, 24),
    1536: (32, 48),
}


def find_format(rows: object, columns: object) -> int:
    """Give the number of wells of a usual plate with so many rows and columns; 0 for others."""
    sizes = {size: number for number, size in PLATE_FORMATS.items()}
    try:
        return sizes.get((int(str(rows)), int(str(columns))), 0)
    except ValueError:
        return 0


# Three digits at most: "W00001" is the first well that a microscope counts, not row W.
_LETTERED = re.compile(r"^\s*([A-Za-z]{1,2})[-_ ]?0{0,2}([1-9]\d?)\s*$")
_NUMBERED = re.compile(r"^\s*[rR]0*([1-9]\d?)[-_ ]?[cC]0*([1-9]\d?)\s*$")
# Opera and Columbus: three digits each of row and column.
_DIGITS = re.compile(r"^\s*0([0-9]\d)0([0-9]\d)\s*$")


class Well(NamedTuple):
    """A position on a plate, counted from one."""

    row: int
    column: int

    @property
    def row_name(self) -> str:
        """Row letters: ``A`` to ``Z``, then ``AA`` to ``AF`` (1,536-well plates)."""
        first, second = divmod(self.row - 1, 26)
        return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + second)

    @property
    def name(self) -> str:
        """The name for people: ``B03``."""
        return f"{self.row_name}{self.column:02d}"

    @property
    def path(self) -> str:
        """The path inside an OME-Zarr plate: ``B/3``."""
        return f"{self.row_name}/{self.column}"


def smallest_format(wells: Iterable[Well]) -> tuple[int, int]:
    """Give rows and columns of the smallest usual plate that holds the wells."""
    wells = list(wells)
    last_row, last_column = max(w.row for w in wells), max(w.column for w in wells)
    for rows, columns in PLATE_FORMATS.values():
        if last_row <= rows and last_column <= columns:
            return rows, columns
    raise InputError(
        f"wells: found row {last_row} and column {last_column}, expected at most 32 rows and 48 "
        "columns (1,536 wells). Correct the wells' names."
    )


def parse_well(text: str) -> Well:
    """Read a well's name as people and instruments write it.

    Parameters
    ----------
    text
        ``A1``, ``A01``, ``a01``, ``A-01``, ``r01c01`` and ``001001`` are one well.

    Returns
    -------
    Well
        Row and column, counted from one; at most 32 rows and 48 columns (1,536 wells).

    Raises
    ------
    ValueError
        If the text is not a well name. The message is the whole complaint.
    """
    lettered, numbered = _LETTERED.match(text), _NUMBERED.match(text) or _DIGITS.match(text)
    if lettered:
        row = 0
        for letter in lettered[1].upper():
            row = row * 26 + ord(letter) - ord("A") + 1
        column = int(lettered[2])
    elif numbered:
        row, column = int(numbered[1]), int(numbered[2])
    else:
        raise ValueError(f"{text!r} is no well name; expected one like A01, a1 or r01c01")
    if not row or not column:
        raise ValueError(f"well {text!r} is counted from 0, expected rows and columns from 1")
    if row > 32 or column > 48:
        raise ValueError(f"well {text!r} lies outside the largest plate (32 rows, 48 columns)")
    return Well(row, column)


def unit_key(plate: str, well: str) -> str:
    """Name the unit of work of one well: ``PLATE/B03``."""
    return f"{plate}/{well}"
