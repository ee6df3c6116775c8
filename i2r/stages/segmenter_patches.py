"""Patches of a user's images that show best what the segmentation network does not know."""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.analysis.segmenters import MAX_SIDE_PX, segment_by_network
from i2r.errors import FieldError, InputError
from i2r.kernels.doubt import Candidate, choose_doubtful, list_candidates, measure_doubt
from i2r.kernels.duplicates import group_duplicates
from i2r.readers.patches import FOUND, IMAGES, INDEX, LABELS, Patch, PatchSet
from i2r.readers.pictures import read_picture
from i2r.report.images import shrink
from i2r.report.patches import DrawnPatch, draw_patches
from i2r.store import files
from i2r.store.pictures import write_image_tiff, write_label_tiff

if TYPE_CHECKING:
    from i2r.models.unet import NucleusUNet

Use = Literal["train", "judge"]

# Fields looked at, spread over all: a minute or two on one core.
MAX_FIELDS = 60
# Sides of a patch in pixels as the network sees them, and in diameters of large nuclei.
PATCH_PX = 192
PATCH_DIAMETERS = 4.0
MAX_PATCH_PX = 512
# Fewer patches say too little, more are too much work, however few nuclei they seem to hold.
TRAIN_PATCHES = (6, 40)
JUDGE_PATCHES = (4, 20)
# Another magnification, in which nuclei that the network knows look the same to it.
SECOND_VIEW = 0.75
# Fields are shrunk to this side before they are compared with each other.
COMPARED_PX = 512
PAGE = "patches.html"


class Look(NamedTuple):
    """What the network says about a field, or a part of a large one.

    Attributes
    ----------
    origin
        y0, x0 of the part in the field.
    doubt
        Shape (y, x), float16, see `i2r.kernels.doubt.measure_doubt`.
    labels
        Shape (y, x), int32.
    """

    origin: tuple[int, int]
    doubt: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int32]


def spread_fields(names: Sequence[str]) -> list[str]:
    """Take at most `MAX_FIELDS` names, evenly spread."""
    n = min(len(names), MAX_FIELDS)
    return [names[i * len(names) // n] for i in range(n)]


def look_at_field(
    image: npt.NDArray[Any], network: "NucleusUNet", *, pixel_size_um: float | None, name: str
) -> Look:
    """Predict a field from three views, and measure where they leave doubt.

    Of a field larger than the network sees at once, a part is looked at, whose place depends on
    the field's name.
    """
    from i2r.models.unet_inference import choose_zoom, measure_brightness, normalise, predict_maps

    zoom = choose_zoom(pixel_size_um)
    side = int(MAX_SIDE_PX / max(zoom, 1.0))
    digest = int(sha1(name.encode(), usedforsecurity=False).hexdigest(), 16)
    height, width = image.shape
    y0 = digest % (max(height - side, 0) + 1)
    x0 = digest // 2**32 % (max(width - side, 0) + 1)
    part = normalise(image[y0 : y0 + side, x0 : x0 + side], measure_brightness(image))
    views = [
        predict_maps(network, part[None], zoom=zoom)[0],
        predict_maps(network, part[None], zoom=zoom * SECOND_VIEW)[0],
        predict_maps(network, np.ascontiguousarray(part.T)[None], zoom=zoom)[0].transpose(0, 2, 1),
    ]
    labels = segment_by_network(
        image[None, y0 : y0 + side, x0 : x0 + side], network, pixel_size_um=pixel_size_um
    )[0]
    return Look((y0, x0), measure_doubt(views).astype(np.float16), labels)


def choose_patches(
    fields: Mapping[str, str],
    network: "NucleusUNet",
    *,
    images: str,
    digest: str,
    pixel_size_um: float | None,
    channel: int | None,
    n_nuclei: int,
    report: Callable[[int, int], None],
) -> PatchSet:
    """Choose what to show: patches full of doubt to train on, random ones to judge by.

    Parameters
    ----------
    fields
        URLs by name.
    network
        From `i2r.models.unet_inference.load_network`.
    images, digest
        The user's name of the fields, and the SHA-256 of the weights.
    pixel_size_um, channel
        Of the fields.
    n_nuclei
        Nuclei in all patches that are trained on; half as many to judge by.
    report
        Is given the number of fields looked at, and how many there are.

    Returns
    -------
    PatchSet
        Fields that show the same thing are all for training or all for judging.

    Raises
    ------
    InputError
        If a field can't be read, or all fields show the same thing.
    """
    names = spread_fields(sorted(fields))
    looks, small = {}, {}
    for i, name in enumerate(names):
        image = read_field(fields[name], channel=channel)
        if image.min() < image.max():
            small[name] = shrink(image, -(-max(image.shape) // COMPARED_PX))
            looks[name] = look_at_field(image, network, pixel_size_um=pixel_size_um, name=name)
        report(i + 1, len(names))
    uses = split_fields(small, {})
    side = _choose_side([look.labels for look in looks.values()], pixel_size_um)
    candidates = {
        name: [
            _move(part, look.origin)
            for part in list_candidates(look.doubt.astype(np.float32), look.labels, side_px=side)
        ]
        for name, look in looks.items()
    }
    chosen: list[tuple[str, Candidate, Use]] = []
    train = [name for name in looks if uses[name] == "train"]
    judge = [name for name in looks if uses[name] == "judge"]
    found = choose_doubtful(
        [candidates[name] for name in train], n_nuclei=n_nuclei, n_least=TRAIN_PATCHES[0],
        n_most=TRAIN_PATCHES[1],
    )  # fmt: skip
    chosen += [(train[i], part, "train") for i, part in found]
    found = choose_doubtful(
        [_shuffle(candidates[name], name) for name in judge], n_nuclei=n_nuclei // 2,
        n_least=JUDGE_PATCHES[0], n_most=JUDGE_PATCHES[1],
    )  # fmt: skip
    chosen += [(judge[i], part, "judge") for i, part in found]
    return PatchSet(
        images=images,
        pixel_size_um=pixel_size_um,
        channel=channel,
        weights=digest,
        patches=tuple(
            Patch(
                name=f"{number:03d}_{name.rpartition('/')[2].rpartition('.')[0]}",
                image=name, box=part.box, use=use, doubt=round(part.doubt, 2),
                n_found=part.n_nuclei,
            )
            for number, (name, part, use) in enumerate(chosen, 1)
        ),
    )  # fmt: skip


def read_field(url: str, *, channel: int | None) -> npt.NDArray[np.number]:
    """Read a field.

    Raises
    ------
    InputError
        If it can't be read, or holds NaN or infinite pixels.
    """
    try:
        image = read_picture(url, channel=channel)
    except FieldError as error:
        raise InputError(f"{error} Or move the image away.") from error
    if not np.isfinite(image).all():
        raise InputError(
            f"{files.without_secrets(url)}: NaN or infinite pixels, expected finite intensities. "
            "Move the image away."
        )
    return image


def split_fields(
    images: Mapping[str, npt.NDArray[np.number]], decided: Mapping[str, Use]
) -> dict[str, Use]:
    """Say of every field whether it is trained on or judged by; what shows the same stays together.

    Parameters
    ----------
    images
        By name, shrunk.
    decided
        Of some fields it was decided before. A field to judge by makes its whole group one.

    Returns
    -------
    dict
        By name. A third of the groups is to judge by; of those that nobody decided, the first
        ones by the SHA-1 of their first name.

    Raises
    ------
    InputError
        If there is one group alone.
    """
    names = sorted(images)
    first = group_duplicates([images[name] for name in names])
    groups: dict[str, list[str]] = {}
    for name, i in zip(names, first, strict=True):
        groups.setdefault(names[i], []).append(name)
    if len(groups) < 2:
        raise InputError(
            f"images: {len(groups)} different views in {len(names)} images, expected at least two: "
            "one to train on, one to judge by. Add fields."
        )
    uses: dict[str, Use] = {}
    open_groups = []
    for group, members in groups.items():
        told = {decided[name] for name in members if name in decided}
        if told:
            uses[group] = "judge" if "judge" in told else "train"
        else:
            open_groups.append(group)
    open_groups.sort(key=lambda name: sha1(name.encode(), usedforsecurity=False).hexdigest())
    n_judge = max(round(len(groups) / 3), 1) - sum(use == "judge" for use in uses.values())
    for i, group in enumerate(open_groups):
        uses[group] = "judge" if i < n_judge else "train"
    return {name: uses[names[i]] for name, i in zip(names, first, strict=True)}


def _choose_side(labels: Sequence[npt.NDArray[np.int32]], pixel_size_um: float | None) -> int:
    """Choose the side of a patch: several of the larger nuclei have to be whole in it."""
    from i2r.models.unet_inference import choose_zoom

    areas = np.array([n for image in labels for n in np.bincount(image.ravel())[1:]])
    diameter = math.sqrt(4 / math.pi * np.percentile(areas, 75)) if areas.size else 0.0
    least = round(PATCH_PX / choose_zoom(pixel_size_um))
    return min(max(least, round(PATCH_DIAMETERS * diameter)), max(MAX_PATCH_PX, least))


def _move(part: Candidate, origin: tuple[int, int]) -> Candidate:
    y, x = origin
    y0, x0, y1, x1 = part.box
    return part._replace(box=(y0 + y, x0 + x, y1 + y, x1 + x))


def _shuffle(parts: Sequence[Candidate], name: str) -> list[Candidate]:
    """Rank parts by chance alone, those that seem to hold a nucleus first."""
    digest = sha1(name.encode(), usedforsecurity=False).digest()[:8]
    random = np.random.default_rng(int.from_bytes(digest))
    return [
        part._replace(doubt=float(chance) + (part.n_nuclei > 0))
        for part, chance in zip(parts, random.random(len(parts)), strict=True)
    ]


def write_patches(
    folder: str,
    patch_set: PatchSet,
    fields: Mapping[str, str],
    segment: Callable[[npt.NDArray[Any]], npt.NDArray[np.int32]],
    *,
    report: Callable[[int, int], None],
) -> str:
    """Write images and label images of patches, and the page to look at; again to go on.

    Parameters
    ----------
    folder
        Where.
    patch_set
        What; its index is written first.
    fields
        URLs by name.
    segment
        Labels a field.
    report
        Is given the number of patches written, and how many there are.

    Returns
    -------
    str
        The page's URL. What was written before stays, edited or deleted.
    """
    files.write_bytes(files.join_url(folder, INDEX), patch_set.model_dump_json(indent=1).encode())
    drawn = []
    known: dict[str, npt.NDArray[np.int32]] = {}
    for i, patch in enumerate(patch_set.patches):
        y0, x0, y1, x1 = patch.box
        image = read_field(fields[patch.image], channel=patch_set.channel)
        if patch.image not in known:
            known = {patch.image: segment(image)}
        labels = _number_anew(known[patch.image][y0:y1, x0:x1])
        part = image[y0:y1, x0:x1]
        drawn.append(DrawnPatch(patch, part, labels))
        file = f"{patch.name}.tif"
        if not files.exists(files.join_url(folder, FOUND, file)):
            write_image_tiff(files.join_url(folder, IMAGES, file), part)
            write_label_tiff(files.join_url(folder, LABELS, file), labels)
            write_label_tiff(files.join_url(folder, FOUND, file), labels)
        report(i + 1, len(patch_set.patches))
    page = files.join_url(folder, PAGE)
    files.write_bytes(page, draw_patches(folder, drawn).encode())
    return page


def _number_anew(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    numbers = np.unique(labels)
    return np.searchsorted(numbers[numbers > 0], labels, side="right").astype(np.int32) * (
        labels > 0
    )
