"""Fields with known nuclei: folders with 'images' and 'labels', and what to test on."""

from hashlib import sha1
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.kernels.duplicates import group_duplicates
from i2r.readers.pictures import list_pictures, read_labels, read_picture
from i2r.store import files


class LabelledField(NamedTuple):
    """Where a field and its true labels are."""

    stem: str
    image_url: str
    labels_url: str


def list_labelled(folder: str) -> list[LabelledField]:
    """List the fields of a data set, sorted by stem.

    Parameters
    ----------
    folder
        Has the folders ``images`` and ``labels``, with files of the same stems.

    Raises
    ------
    InputError
        If an image has no labels. Labels without an image are passed over.
    """
    images = list_pictures(files.join_url(folder, "images"))
    labels = list_pictures(files.join_url(folder, "labels"))
    absent = sorted(set(images) - set(labels))
    if absent:
        raise InputError(
            f"{folder}/labels: no label image named {absent[0]} ({len(absent)} missing), expected "
            f"one for each of the {len(images)} images. Add them, or move the images away."
        )
    return [LabelledField(stem, images[stem], labels[stem]) for stem in sorted(images)]


def read_labelled(
    field: LabelledField,
) -> tuple[npt.NDArray[np.number], npt.NDArray[np.integer]]:
    """Read a field and its true labels, both (y, x).

    Raises
    ------
    FieldError
        If a file can't be read.
    InputError
        If their shapes differ.
    """
    image, labels = read_picture(field.image_url), read_labels(field.labels_url)
    if image.shape != labels.shape:
        raise InputError(
            f"{field.labels_url}: labels are {labels.shape}, the image is {image.shape}. Export "
            "them at the image's own size."
        )
    return image, labels


def keep_fifth_out(
    fields: list[LabelledField],
) -> tuple[list[LabelledField], list[LabelledField]]:
    """Split a data set into training and test so that no view is on both sides.

    Fields that show the same thing (`i2r.kernels.duplicates.group_duplicates`) make a group,
    named by its first stem. Groups whose name's SHA-1 is divisible by 5 are kept out: the same
    ones on every machine, and still the same when other groups are added.

    Returns
    -------
    training, test
        Both sorted; about four fifths and one fifth of the groups.
    """
    first = group_duplicates([read_picture(field.image_url) for field in fields])
    is_out = [
        int(sha1(fields[i].stem.encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0
        for i in first
    ]
    return (
        [field for field, out in zip(fields, is_out, strict=True) if not out],
        [field for field, out in zip(fields, is_out, strict=True) if out],
    )
