"""Patches of fields that a person corrects, and the corrected label images that come back."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from i2r.errors import FieldError, InputError
from i2r.kernels.components import label_components
from i2r.readers.pictures import group_pictures, list_pictures, read_labels, read_picture
from i2r.store import files

# Inside the folder of patches.
INDEX = "patches.json"
IMAGES = "images"
LABELS = "labels"
FOUND = "found"
# Of a single label in several parts, each smaller part a stray stroke, not another nucleus.
_MIN_PART_PX = 25


class Patch(BaseModel):
    """A part of a field, as it stands in the folder of patches.

    Attributes
    ----------
    name
        Stem of its image and of its label image.
    image
        The field's file, below the folder of images.
    box
        y0, x0, y1, x1 in the field, half open.
    use
        To train on, or to judge by.
    doubt
        In bits, see `i2r.kernels.doubt.measure_doubt`.
    n_found
        Nuclei that the network found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image: str
    box: tuple[int, int, int, int]
    use: Literal["train", "judge"]
    doubt: float
    n_found: int


class PatchSet(BaseModel):
    """All patches of a folder, and how they were found.

    Attributes
    ----------
    images
        The folder or pattern of the fields.
    pixel_size_um, channel
        Of the fields, None where not told.
    weights
        SHA-256 of the weights that the labels were found with.
    patches
        In the order in which they were chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    pixel_size_um: float | None = Field(None, gt=0)
    channel: int | None = Field(None, ge=0)
    weights: str
    patches: tuple[Patch, ...] = Field(min_length=1)


class Correction(NamedTuple):
    """A part of a field whose nuclei are known.

    Attributes
    ----------
    image
        Name of the field, a key of `list_fields`.
    box
        y0, x0, y1, x1 in the field, half open.
    labels
        Shape (y1 - y0, x1 - x0), 0 = background.
    use
        None where no patch decided it.
    is_changed
        Whether it differs from what was written for it; True for a whole field.
    """

    image: str
    box: tuple[int, int, int, int]
    labels: npt.NDArray[np.integer]
    use: Literal["train", "judge"] | None
    is_changed: bool


def list_fields(images: str) -> dict[str, str]:
    """List the pictures of a folder or pattern: URLs by path below what they have in common.

    Raises
    ------
    InputError
        If there is none.
    """
    urls = [found.path for group in group_pictures(images).values() for found in group]
    parts = [url.split("/")[:-1] for url in urls]
    shared = 0
    while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return {"/".join(url.split("/")[shared:]): url for url in sorted(urls)}


def read_patches(folder: str) -> PatchSet | None:
    """Read the index of a folder of patches; None where there is none.

    Raises
    ------
    InputError
        If it was changed into something else.
    """
    url = files.join_url(folder, INDEX)
    if not files.exists(url):
        return None
    try:
        return PatchSet.model_validate_json(files.read_bytes(url))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{url}: {where or 'content'}: {first['msg']}, expected what 'i2r adapt-segmenter' "
            "wrote. Name another folder by --out and choose patches anew."
        ) from error


def read_corrections(
    labels: str,
    *,
    folder: str,
    patch_set: PatchSet | None,
    fields: dict[str, str],
    channel: int | None,
) -> list[Correction]:
    """Read corrected label images.

    Parameters
    ----------
    labels
        Folder of label images, named like the patches, or like whole fields. Patches without a
        label image were not looked at. A folder of patches stands for the labels in it.
    folder
        The folder of patches, whose images show whether fields changed since.
    patch_set
        Its index; None without one.
    fields
        From `list_fields`.
    channel
        Of the fields.

    Returns
    -------
    list of Correction
        Sorted by file name.

    Raises
    ------
    InputError
        If a label image is of nothing here, can't be read, has another shape than its part or one
        number for several nuclei, or the field it is of changed.
    """
    if files.exists(files.join_url(labels, INDEX)):
        labels = files.join_url(labels, LABELS)
    pictures = list_pictures(labels)
    patches = {patch.name: patch for patch in patch_set.patches} if patch_set else {}
    stems: dict[str, list[str]] = {}
    for name in fields:
        stems.setdefault(name.rpartition("/")[2].rpartition(".")[0], []).append(name)
    corrections = []
    for stem, url in pictures.items():
        patch = patches.get(stem)
        owners = [patch.image] if patch else stems.get(stem, [])
        if len(owners) != 1 or owners[0] not in fields:
            held = f"{len(owners)} images" if len(owners) > 1 else "no patch and no image"
            raise InputError(
                f"{url}: of {held} of this name, expected one. Keep the names of the label "
                f"images in {files.join_url(folder, LABELS)}, and the images where they were; "
                "another folder of patches is named by --out."
            )
        try:
            found = read_labels(url)
            image = read_picture(fields[owners[0]], channel=channel)
        except FieldError as error:
            raise InputError(str(error)) from error
        box = patch.box if patch else (0, 0, *image.shape)
        y0, x0, y1, x1 = box
        if found.shape != (y1 - y0, x1 - x0):
            raise InputError(
                f"{url}: labels are {found.shape}, expected {(y1 - y0, x1 - x0)} as the image "
                "they are of. Save them at the size of the image."
            )
        if found.size and int(found.min()) < 0:
            raise InputError(f"{url}: labels below 0, expected 0 and above. Number nuclei 1, 2 ...")
        _refuse_masks(url, found)
        is_changed = True
        if patch is not None:
            _refuse_changed_fields(folder, patch, image)
            is_changed = not _is_as_found(folder, patch, found)
        corrections.append(
            Correction(owners[0], box, found, patch.use if patch else None, is_changed)
        )
    return corrections


def _refuse_masks(url: str, labels: npt.NDArray[np.integer]) -> None:
    """Refuse a mask of nuclei and background, without a number for each nucleus."""
    numbers = np.unique(labels[labels > 0])
    if numbers.size != 1:
        return
    areas = np.bincount(label_components(labels > 0).ravel())[1:]
    n_parts = int((areas >= _MIN_PART_PX).sum())
    if n_parts > 1:
        raise InputError(
            f"{url}: all {n_parts} nuclei have the number {numbers[0]}, expected 1, 2, 3 ... "
            "Save labels, not a mask."
        )


def _refuse_changed_fields(folder: str, patch: Patch, image: npt.NDArray[np.number]) -> None:
    """Refuse labels of a field that is not what it was when its patches were cut."""
    url = files.join_url(folder, IMAGES, f"{patch.name}.tif")
    if not files.exists(url):
        return
    y0, x0, y1, x1 = patch.box
    if not np.array_equal(read_picture(url), image[y0:y1, x0:x1]):
        raise InputError(
            f"{patch.image}: not the image that {url} was cut from. Name the images, and the "
            "channel, that the patches were chosen from, or choose anew into another --out."
        )


def _is_as_found(folder: str, patch: Patch, labels: npt.NDArray[np.integer]) -> bool:
    """Tell whether labels are as the network found them."""
    url = files.join_url(folder, FOUND, f"{patch.name}.tif")
    return files.exists(url) and np.array_equal(read_labels(url), labels)
