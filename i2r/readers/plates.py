"""What the headers of a plate's files have in common, and which files differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import FieldError, InputError, count_words, join_problems, name_some
from i2r.readers.headers import UNSIGNED
from i2r.readers.images import read_plane, read_shape
from i2r.readers.pixels import MAX_PIXEL, find_factor, needs_factor
from i2r.store import files
from i2r.types import PLATE_FORMATS, Well, find_format, parse_well, smallest_format

# Planes of floats that are read before a run, to know what they are to be multiplied by.
_SAMPLED_PLANES = 8
# Two sizes of a pixel that differ by less are one, written with fewer digits.
_SAME_SIZE = 0.02
_EXAMPLES = 4


class Common(NamedTuple):
    """Shape (y, x) and stored type of most of a plate's planes."""

    shape: tuple[int, int]
    dtype: str


def check_channels(images: pd.DataFrame, listed: list[str], source: str) -> None:
    """Refuse a channel that is absent everywhere, or on a whole plate."""
    present = {str(plate): set(rows["channel"]) for plate, rows in images.groupby("plate")}
    expected = set(listed) | set().union(*present.values())
    problems = [
        f"{source}: plate {plate!r} has no image of the channel {channel!r}, found "
        f"{', '.join(map(repr, sorted(channels)))}. Correct 'channels' or 'pattern'."
        for plate, channels in present.items()
        for channel in sorted(expected - channels)
    ]
    if problems:
        raise InputError(join_problems(problems))


def complete_headers(images: pd.DataFrame) -> pd.DataFrame:
    """Add what headers say, for readers of other packages that don't look into files."""
    if {"problem", "inverted", "dtype", "height_px", "width_px", "pixel_size_um"} <= set(images):
        return images
    shapes, dtypes = [], []
    for url, page in zip(images["url"], images["page"], strict=True):
        try:
            shape, dtype = read_shape(str(url), page=int(page))
        except FieldError:
            shape, dtype = (0, 0), np.dtype(np.void)
        shapes.append(shape)
        dtypes.append(dtype.name if shape != (0, 0) else "")
    return images.assign(
        problem="",
        inverted=False,
        dtype=dtypes,
        height_px=[shape[0] for shape in shapes],
        width_px=[shape[1] for shape in shapes],
        pixel_size_um=0.0,
    )


def choose_format(images: pd.DataFrame, layout: pd.DataFrame, plate: str, given: int | None) -> int:
    """Choose the number of wells of a physical plate: as the user or the source's files say it.

    Parameters
    ----------
    images, layout
        The plate's rows.
    plate
        For messages.
    given
        The option `plate_format`.

    Returns
    -------
    int
        0 where nobody says, or where files say what can't be.

    Raises
    ------
    InputError
        If there is no such plate, or it has not all of the wells.
    """
    wells = [parse_well(str(well)) for well in layout["well"]]
    if given is not None and given not in PLATE_FORMATS:
        raise InputError(
            f"plate_format: found {given}, expected {', '.join(map(str, PLATE_FORMATS))}. Correct "
            "it."
        )
    said = images["plate_format"].unique() if "plate_format" in images else []
    number = given or (int(said[0]) if len(said) == 1 else 0)
    rows, columns = PLATE_FORMATS.get(number, (0, 0))
    outside = [well.name for well in wells if well.row > rows or well.column > columns]
    if number and outside and given:
        raise InputError(
            f"plate_format: found {given}, but plate {plate!r} has the well {outside[0]}. Correct "
            "'plate_format' or the well."
        )
    return 0 if outside else number


def describe_formats(wells: Mapping[str, Sequence[Well]]) -> list[str]:
    """Say of plates whose format nobody gave which one they are taken to have.

    Parameters
    ----------
    wells
        By plate.
    """
    taken: dict[int, list[str]] = {}
    for plate, used in wells.items():
        taken.setdefault(find_format(*smallest_format(used)), []).append(plate)
    return [
        f"plate {name_some(names, _EXAMPLES)}: taken to have {number} wells, the smallest format "
        "that holds those in use ('plate_format' sets another)"
        for number, names in taken.items()
    ]


def find_common(images: pd.DataFrame, plate: str) -> Common:
    """Find the shape and type of most of a plate's planes.

    Parameters
    ----------
    images
        The plate's rows of `i2r.readers.Sources.images`.
    plate
        For messages.

    Raises
    ------
    InputError
        If no header can be read.
    """
    known = images[images["dtype"] != ""]
    if known.empty:
        first = images.iloc[0]
        try:
            read_shape(str(first["url"]), page=int(first["page"]))
            reason = str(first.get("problem", ""))
        except FieldError as error:
            reason = str(error)
        raise InputError(f"plate {plate!r}: none of {len(images)} images can be read. {reason}")
    columns = (known[name].tolist() for name in ("height_px", "width_px", "dtype"))
    (height, width, dtype), _ = Counter(zip(*columns, strict=True)).most_common(1)[0]
    return Common((int(height), int(width)), str(dtype))


def choose_factor(
    images: pd.DataFrame, common: Common, plate: str, scale: float | None
) -> tuple[float, list[str]]:
    """Choose what a plate's stored values are multiplied by, and say so.

    Parameters
    ----------
    images
        The plate's rows.
    common
        What most of its files are.
    plate
        For messages.
    scale
        The user's factor; None looks at some planes.

    Returns
    -------
    factor : float
        1 for integers, unless the user gives one.
    notes : list of str
        Empty for integers without a factor.

    Raises
    ------
    InputError
        If fractions are not from 0 to 1, or no plane looked at fits into 16 bits.
    """
    if np.dtype(common.dtype) in UNSIGNED:
        return 1.0, []
    said = f"plate {plate!r}: {common.dtype} values are multiplied by"
    if scale is not None:
        return scale, [f"{said} {scale:g} and rounded, as 'scale' says"]
    usable = images[(images["dtype"] == common.dtype) & (images["problem"] == "")]
    planes = []
    for row in usable.iloc[:: max(1, len(usable) // _SAMPLED_PLANES)].itertuples():
        try:
            planes.append(read_plane(str(row.url), page=int(row.page), inverted=bool(row.inverted)))
        except FieldError:  # said when the field is converted
            continue
    if not needs_factor(common.dtype):
        ranges = [(int(plane.min()), int(plane.max())) for plane in planes]
        if ranges and not any(low >= 0 and high <= MAX_PIXEL for low, high in ranges):
            least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
            advice = "Add an offset" if least < 0 else "Set 'scale' to what they are multiplied by"
            raise InputError(
                f"plate {plate!r}: {common.dtype} values from {least} to {most} in {len(planes)} "
                f"images, expected 0 to {MAX_PIXEL} in each. {advice}, or export as 16 bit "
                "unsigned."
            )
        return 1.0, []
    factor, low, high = find_factor(planes)
    if factor is None and low > high:
        raise InputError(
            f"plate {plate!r}: no finite number in {len(planes)} images looked at, expected pixels "
            "of 0 or more. Export the raw images."
        )
    if factor is None:
        raise InputError(
            f"plate {plate!r}: {common.dtype} values from {low:g} to {high:g} in {len(planes)} "
            f"images, expected whole numbers up to {MAX_PIXEL}, or values from 0 to 1. Set 'scale' "
            "to what they are to be multiplied by (1 rounds them)."
        )
    return factor, [f"{said} {factor:g}: {low:g} to {high:g} in {len(planes)} images looked at"]


def choose_pixel_size(
    images: pd.DataFrame, plate: str, given: float | None
) -> tuple[float, list[str]]:
    """Choose a plate's pixel size, and compare the user's with the files'.

    Parameters
    ----------
    images
        The plate's rows.
    plate
        For messages.
    given
        The user's, in microns; None takes the files'.

    Raises
    ------
    InputError
        If neither the user nor the files say it, files of one plate differ, or pixels are not
        square.
    """
    doubts = []
    if oblong := describe_oblong(images):
        if given is None:
            raise InputError(f"plate {plate!r}: {oblong}.")
        doubts = [f"WARNING plate {plate!r}: {oblong}"]
    stated = images["pixel_size_um"][images["pixel_size_um"] > 0]
    sizes = Counter(round(float(size), 6) for size in stated)
    if not sizes:
        if given is None:
            raise InputError(
                f"plate {plate!r}: its files don't say how large a square pixel is. Set "
                "'pixel_size_um': the camera's pixel over the magnification, e.g. 0.65 at 10x."
            )
        return given, doubts
    size, number = sizes.most_common(1)[0]
    others = [other for other in sizes if abs(other / size - 1) > _SAME_SIZE]
    if others:
        found = ", ".join(f"{other:g}" for other in [size, *others][:_EXAMPLES])
        if given is None:
            raise InputError(
                f"plate {plate!r}: its files say that a pixel is {found} um, expected one size. "
                "Set 'pixel_size_um', or 'plates' to those of one."
            )
        doubts.append(f"plate {plate!r}: its files say that a pixel is {found} um")
    if given is None:
        return size, [f"plate {plate!r}: {size:g} um per pixel, as {number} images say"]
    if abs(size / given - 1) > _SAME_SIZE:
        doubts.append(
            f"WARNING plate {plate!r}: 'pixel_size_um' is {given:g}, but its files say {size:g} "
            f"({number} images): all lengths and areas will be off by {given / size:.3g}. Leave "
            "the option out to take the files'"
        )
    return given, doubts


def describe_oblong(images: pd.DataFrame) -> str:
    """Say which files have pixels that are not square, and what to do; empty for none.

    Parameters
    ----------
    images
        Rows of `i2r.readers.Sources.images`.
    """
    odd = images[images["oblong"] != ""] if "oblong" in images else images[:0]
    if odd.empty:
        return ""
    first, number = odd.iloc[0], odd["url"].nunique()
    name = files.without_secrets(str(first["url"])).rpartition("/")[2]
    others = f" (and {count_words(number - 1, 'file')} more)" if number > 1 else ""
    return (
        f"{name}{others} says that a pixel is {first['oblong']}; i2r measures with square pixels, "
        "and takes neither. Correct the file, or set 'pixel_size_um': lengths along one axis are "
        "off where pixels are not square"
    )


def list_odd(images: pd.DataFrame, layout: pd.DataFrame) -> list[str]:
    """Name fields that will be excluded, by what the headers say: other sizes, types, no file."""
    plates = layout.drop_duplicates("plate").set_index("plate")
    expected = plates.loc[images["plate"], ["height_px", "width_px", "stored_dtype"]]
    found = images[["height_px", "width_px", "dtype"]].to_numpy(dtype=object)
    is_read = (images["dtype"] != "").to_numpy()
    differs = is_read & (found != expected.to_numpy(dtype=object)).any(axis=1)
    lines = []
    for is_odd, what in (
        (differs, "of another size or type than most of their plate"),
        (~is_read & (images["size_bytes"] >= 0).to_numpy(), "that can't be read"),
    ):
        odd = images[is_odd]
        if len(odd):
            first = odd.iloc[0]
            name = files.without_secrets(str(first["url"])).rpartition("/")[2]
            kind = f", {first['height_px']} x {first['width_px']} px {first['dtype']}"
            places = odd.drop_duplicates(["plate", "well", "field"])
            lines.append(
                f"{count_words(len(odd), 'image')} {what}: "
                f"{count_words(len(places), 'field is', 'fields are')} excluded, for example well "
                f"{first['well']} field {first['field']} ({name}{kind if first['dtype'] else ''})"
            )
    return lines
