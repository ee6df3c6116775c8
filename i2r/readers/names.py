"""Names as sources write them: of plates, wells, fields, planes and numbers."""

import math
import os
import re
from collections import defaultdict
from typing import NamedTuple

from i2r.errors import InputError, join_problems
from i2r.readers import ReaderOptions
from i2r.readers.planes import Plane
from i2r.readers.positions import NOWHERE, Position
from i2r.store import files
from i2r.types import Well, parse_well

# A table of millions of rows has a few thousand wells; notes name the first of them.
EXAMPLES = 4
# Of a field's name, which becomes a folder.
LONGEST_FIELD = 100


class Found(NamedTuple):
    """One plane as the source describes it; text as written there, empty where it says nothing.

    ``illumination`` is the place of the function by which the plane is to be divided;
    ``pixel_size_um`` what the source says of a pixel's width, NaN for nothing, and
    ``pixel_height_um`` of its height where it says so; ``frame`` and ``series`` say which plane
    of which image in the file it is, where the source says so. ``plate_format`` is the number of
    wells of the physical plate, 0 where the source doesn't say; ``position_um`` the centre of the
    field in its well, x to the right and y down.
    """

    plate: str
    well: str
    field: str
    channel: str
    z: str
    url: str
    stat: files.Stat
    page: int = 0
    illumination: str = ""
    pixel_size_um: float = math.nan
    frame: str = ""
    series: str = ""
    plate_format: int = 0
    position_um: Position = NOWHERE
    pixel_height_um: float = math.nan


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which ``2`` comes before ``10`` and ``s2`` before ``s10``."""
    parts = re.findall(r"\d+|\D+", text)
    # By length first: numbers of thousands of digits are not converted.
    digits = (p.lstrip("0") if p.isdecimal() else None for p in parts)
    return tuple(
        (1, 0, p) if number is None else (0, len(number), number)
        for p, number in zip(parts, digits, strict=True)
    )


def plate_name(options: ReaderOptions, source: str) -> str:
    """Name the plate of a source that has no name for it: the option, or else the folder's name."""
    return options.plate or os.path.basename(files.normalise_url(source)) or "plate"


def normalise_number(text: str) -> str:
    """Write a number in one way: ``01``, ``1`` and ``1.0`` are ``1``; other text stays."""
    match = re.fullmatch(r"0*(\d+)(?:\.0*)?", text.strip())
    return match[1] if match else text.strip()


def read_names(
    found: list[Found], options: ReaderOptions, where: str
) -> tuple[list[Plane], list[str]]:
    """Read wells, fields and planes; collect what can't be read."""
    default = plate_name(options, where)
    wells: dict[str, Well] = {}
    fields: dict[str, str] = {}
    problems: dict[str, None] = {}
    planes = []
    for file in found:
        field = fields.get(file.field) or name_field(file.field)
        fields[file.field] = field
        try:
            well = wells.get(file.well) or parse_well(file.well)
            z = int(normalise_number(file.z) or "0")
            frame, series = (_read_place(text) for text in (file.frame, file.series))
            if not (field.isascii() and field.isalnum()):
                raise ValueError(f"the field is {file.field!r}, expected letters and digits only")
            if len(field) > LONGEST_FIELD:
                raise ValueError(
                    f"the field is {field[:20]}... of {len(field)} characters, expected at most "
                    f"{LONGEST_FIELD}"
                )
        except ValueError as error:
            name = files.without_secrets(file.url).removeprefix(f"{files.without_secrets(where)}/")
            problems[f"{files.without_secrets(where)}: {name}: {error}. Correct the name."] = None
            continue
        wells[file.well] = well
        plate = file.plate.strip() or default
        planes.append(
            Plane(
                plate,
                well,
                field,
                file.channel.strip(),
                z,
                url=file.url,
                page=file.page,
                stat=file.stat,
                illumination=file.illumination,
                # Readers write 0 where there is but one.
                has_z=z > 0,
                frame=frame,
                series=series,
                pixel_size_um=file.pixel_size_um,
                pixel_height_um=file.pixel_height_um,
                plate_format=file.plate_format,
                position_um=file.position_um,
            )
        )
    called: dict[str, set[str]] = defaultdict(set)
    for raw, field in fields.items():
        called[field].add(normalise_number(raw) or "1")
    problems.update(
        (f"{files.without_secrets(where)}: the fields {' and '.join(map(repr, sorted(raws)))} are "
         f"both {field!r} without what is no letter or digit. Correct the names.", None)
        for field, raws in called.items()
        if len(raws) > 1
    )  # fmt: skip
    if problems:
        raise InputError(join_problems(list(problems)))
    notes = []
    if others := [f"{next(iter(raws))!r} is {field}" for field, raws in called.items()
                  if {field} != raws]:  # fmt: skip
        more = f" and {len(others) - EXAMPLES} more" if len(others) > EXAMPLES else ""
        notes.append(f"fields renamed: {', '.join(others[:EXAMPLES])}{more}")
    renamed = [f"{raw!r} is {well.name}" for raw, well in wells.items() if raw != well.name]
    if not renamed:
        return planes, notes
    more = f" and {len(renamed) - EXAMPLES} more" if len(renamed) > EXAMPLES else ""
    return planes, [*notes, f"wells renamed: {', '.join(renamed[:EXAMPLES])}{more}"]


def name_field(text: str) -> str:
    """Write a field's name with letters and digits only, which paths and keys are made of.

    ``01`` is ``1``, ``0_1`` of a grid is ``0x1``, and ``0_illum_corr`` is ``0illumcorr``.
    """
    name = normalise_number(text) or "1"
    return re.sub(r"[ _.-]", "", re.sub(r"(?<=\d)[ _.-]+(?=\d)", "x", name))


def _read_place(text: str) -> int | None:
    """Read the number of a frame or series, counted from 0; None for empty text."""
    number = normalise_number(text)
    if number and not number.isdecimal():
        raise ValueError(f"the frame or series is {text!r}, expected a number from 0")
    return int(number) if number else None
