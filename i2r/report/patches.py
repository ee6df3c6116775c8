"""The page of patches that a person corrects, to see what the segmentation network made of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.readers.patches import FOUND, IMAGES, LABELS, Patch
from i2r.report import html
from i2r.report.images import find_outlines
from i2r.report.overlays import ORANGE, draw_layers, shorten


class DrawnPatch(NamedTuple):
    """A patch with its pixels and the labels found in it, both (y, x)."""

    patch: Patch
    image: npt.NDArray[Any]
    labels: npt.NDArray[np.int32]


def draw_patches(folder: str, patches: Sequence[DrawnPatch]) -> str:
    """Draw patches with the outlines that were found, and say what to do with them.

    Parameters
    ----------
    folder
        Where their files are.
    patches
        In the order in which they are shown.

    Returns
    -------
    str
        One self-contained HTML page.
    """
    parts = []
    for patch, image, labels in patches:
        layers = draw_layers(image, find_outlines(labels).astype(np.uint8), [ORANGE])
        parts.append({"patch": patch, "shape": image.shape, **layers})
    body = html.render(
        "patches.html",
        parts=parts,
        n_train=sum(part.patch.use == "train" for part in patches),
        n_judge=sum(part.patch.use == "judge" for part in patches),
        images=IMAGES,
        labels=LABELS,
        found=FOUND,
    )
    return html.page(
        [("patches", "Patches", body)],
        made_by="i2r adapt-segmenter",
        heading="Nuclei to correct",
        source=shorten(folder),
    )
