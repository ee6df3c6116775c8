"""How large nuclei are in a few fields: whether a pixel size that no file states can be right."""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from i2r.errors import FieldError
from i2r.readers.images import read_plane
from i2r.readers.plates import describe_oblong

# Fields that are looked at, the fewest nuclei that say anything, and as many as say enough.
_FIELDS, _FEWEST, _ENOUGH = 4, 10, 100
# Diameters of the nuclei of cultured cells are 8 to 25 um; beyond these it is the pixel size.
LEAST_UM, USUAL_UM, GREATEST_UM = 6.0, 15.0, 32.0
# How channels of nuclei are called.
_STAINS = ("dna", "dapi", "hoechst", "hoescht", "hechst", "draq", "nuc", "h2b")
_SPECK_PX = 12
# What a new pipeline says where nobody knows: 6.5 um at 10x.
DEFAULT_UM = 0.65


def check_pixel_size(images: pd.DataFrame, pixel_size_um: float) -> str:
    """Say whether nuclei would have an implausible size.

    Parameters
    ----------
    images
        Rows of `i2r.readers.Sources.images` of one plate.
    pixel_size_um
        Edge of a pixel as somebody says it.

    Returns
    -------
    str
        Empty where the size is plausible, or too few nuclei are found to tell.
    """
    diameters, weights, n_fields = np.empty(0), np.empty(0), 0
    for plane in _read_planes(images):
        n_fields += 1
        # Every other pixel shows as well that nothing is wrong, in a quarter of the time.
        rough = measure_diameters([plane[::2, ::2]])
        if len(rough[0]) >= _ENOUGH and _is_plausible(*rough, 2 * pixel_size_um):
            return ""
        more = measure_diameters([plane])
        diameters, weights = np.append(diameters, more[0]), np.append(weights, more[1])
        # Four fields take as long as most else that is done before a run.
        if len(diameters) >= _ENOUGH and _is_plausible(diameters, weights, pixel_size_um):
            return ""
    if len(diameters) < _FEWEST or _is_plausible(diameters, weights, pixel_size_um):
        return ""
    median = _find_median(diameters, weights)
    return (
        f"WARNING nuclei are about {median * pixel_size_um:.3g} um across at {pixel_size_um:g} um "
        f"per pixel (median of {len(diameters)} in {n_fields} fields), expected 8 to 25: they "
        f"would be {USUAL_UM:g} at {USUAL_UM / median:.2g}. Check 'pixel_size_um': the camera's "
        "pixel over the magnification"
    )


def _is_plausible(
    diameters: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], pixel_size_um: float
) -> bool:
    return LEAST_UM <= _find_median(diameters, weights) * pixel_size_um <= GREATEST_UM


def _find_median(diameters: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Give the diameter below which objects have half of all weight."""
    order = np.argsort(diameters)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(diameters[order][middle])


def propose_pixel_size(images: pd.DataFrame, given: float | None) -> tuple[float | None, list[str]]:
    """Propose a pixel size for a new pipeline.

    Parameters
    ----------
    images
        `i2r.readers.Sources.images`.
    given
        The user's, in microns; None takes the files'.

    Returns
    -------
    pixel_size_um : float or None
        `DEFAULT_UM` where nobody says it; None where files differ, or pixels are not square.
    notes : list of str
        Where it is from, or what makes it doubtful.
    """
    if oblong := describe_oblong(images):
        return given, [f"WARNING {oblong}"]
    stated = sorted({round(float(size), 6) for size in images["pixel_size_um"]} - {0.0})
    is_one = len(stated) > 0 and stated[-1] / stated[0] < 1.02
    if stated and not is_one:
        sizes = ", ".join(f"{size:g}" for size in stated[:4])
        return given, [
            f"files say that a pixel is {sizes} um: leave 'pixel_size_um' out to take each plate's"
        ]
    if is_one and given is not None and abs(stated[0] / given - 1) > 0.02:
        return given, [f"WARNING files say {stated[0]:g} um per pixel, not {given:g}"]
    if is_one:
        return given or stated[0], [f"{stated[0]:g} um per pixel, as the files say"]
    return given or DEFAULT_UM, list_doubts(images, given or DEFAULT_UM)


def list_doubts(images: pd.DataFrame, pixel_size_um: float) -> list[str]:
    """Check the pixel size of the plates whose files don't state it; the first doubt is enough."""
    unstated = images[images["pixel_size_um"] == 0]
    for plate, rows in unstated.groupby("plate", sort=False):
        if doubt := check_pixel_size(rows, pixel_size_um):
            return [f"plate {plate!r}: {doubt}"]
    return []


def find_nuclear_channel(channels: Iterable[str]) -> str | None:
    """Find the channel that shows nuclei by its name; a channel alone is taken for it."""
    names = list(channels)
    if len(names) == 1:
        return names[0]
    found = [name for name in names if any(stain in name.lower() for stain in _STAINS)]
    return found[0] if len(found) == 1 else None


def measure_diameters(
    planes: Iterable[npt.NDArray[np.number]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure bright objects roughly, without knowing how large they are.

    Returns
    -------
    diameters : ndarray
        Of circles of the objects' areas, in pixels; objects at the border are left out.
    weights : ndarray
        Their areas: specks are many, and count little.
    """
    areas: list[float] = []
    for plane in planes:
        smooth = np.sqrt(ndimage.gaussian_filter(plane.astype(np.float32), 1.5))
        labels, number = ndimage.label(_fill_holes(smooth > _split(smooth)))
        if not number:
            continue
        sizes = np.bincount(labels.ravel(), minlength=number + 1).astype(float)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        sizes[np.unique(edge)] = 0
        areas += sizes[1:][sizes[1:] >= _SPECK_PX].tolist()
    found = np.asarray(areas)
    return 2 * np.sqrt(found / math.pi), found


def _fill_holes(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Add what is enclosed, as `scipy.ndimage.binary_fill_holes` does in four times as long."""
    around, number = ndimage.label(~mask)
    is_filled = np.ones(number + 1, dtype=np.bool_)  # 0 is the mask itself
    for edge in (around[:1], around[-1:], around[:, :1], around[:, -1:]):
        is_filled[edge[edge > 0]] = False
    filled: npt.NDArray[np.bool_] = is_filled[around]
    return filled


def _split(values: npt.NDArray[np.float32]) -> float:
    """Give the threshold between two classes of the least variance (Otsu 1979).

    https://doi.org/10.1109/TSMC.1979.4310076
    """
    counts, edges = np.histogram(values, 256)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where(np.isfinite(between), between, -1))])


def _read_planes(images: pd.DataFrame) -> Iterable[npt.NDArray[np.number]]:
    """Read the nuclear channel of a few fields, spread over the plate."""
    channel = find_nuclear_channel(sorted(images["channel"].unique()))
    usable = images[(images["channel"] == channel) & (images["dtype"] != "")]
    usable = usable[usable["problem"] == ""].drop_duplicates(["well", "field"])
    step = max(1, len(usable) // _FIELDS)
    for row in usable.iloc[::step][:_FIELDS].itertuples():
        try:
            plane = read_plane(str(row.url), page=int(row.page), inverted=bool(row.inverted))
        except (FieldError, OSError):  # said when the field is converted
            continue
        yield np.clip(np.nan_to_num(plane), 0, None)
