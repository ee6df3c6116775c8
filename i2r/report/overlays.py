"""A page of the fields on which a segmentation agrees least with the truth."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from i2r.errors import InputError
from i2r.kernels.metrics import MISSED_AT_IOU, count_overlaps
from i2r.readers.agreement import Agreement, find_worst
from i2r.readers.pictures import list_pictures, read_labels, read_picture
from i2r.report import html
from i2r.report.images import find_outlines, find_window, jpeg_uri, overlay_uri, shrink, to_grey

N_WORST = 10
FIELD_PX = 720
# Found, missed, and not in the truth: told apart with any colour vision.
BLUE, ORANGE, MAGENTA = (0, 200, 255), (255, 150, 0), (255, 60, 220)


def draw_worst_fields(
    agreement: Agreement, predicted: str, truth: str, images: str, *, channel: int | None = None
) -> str:
    """Draw the ten fields with the lowest mean F1, with outlines of what was found and missed.

    Parameters
    ----------
    agreement
        Of the two folders.
    predicted, truth
        Folders of label images.
    images
        Folder of the images, of the same stems.
    channel
        Of the images, where they have several.

    Returns
    -------
    str
        One self-contained HTML page.

    Raises
    ------
    InputError
        If an image is not there, or of another shape than its labels.
    """
    worst = find_worst(agreement, N_WORST)
    folders = [list_pictures(folder) for folder in (images, predicted, truth)]
    absent = [stem for stem in worst if stem not in folders[0]]
    if absent:
        raise InputError(
            f"{images}: no image named {absent[0]}, expected one for each label image in {truth}. "
            "Name the folder of the images that were segmented."
        )
    fields = []
    for stem in worst:
        image = read_picture(folders[0][stem], channel=channel)
        labels, true_labels = (read_labels(folder[stem]) for folder in folders[1:])
        if image.shape != labels.shape:
            raise InputError(
                f"{folders[0][stem]}: image is {image.shape}, its labels are {labels.shape}. "
                "Name the folder of the images that were segmented."
            )
        fields.append(_draw_field(stem, image, labels, true_labels, agreement))
    body = html.render("worst.html", fields=fields, iou=MISSED_AT_IOU, total=agreement.total)
    script = html.read_text("script.js")
    page = html.render(
        "page.html",
        heading="Segmentation: the worst fields",
        description="",
        url="/".join(truth.split("/")[-2:]),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        sections=[("worst", f"The {len(fields)} fields with the lowest mean F1", body)],
        style=Markup(html.read_text("style.css")),
        script=Markup(script),
        script_hash=html.script_hash(script),
    )
    return str(page)


def classify_outlines(
    labels: npt.NDArray[np.integer], true_labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint8]:
    """Mark outlines by what became of their nuclei.

    Parameters
    ----------
    labels, true_labels
        Shape (y, x), 0 = background.

    Returns
    -------
    ndarray of uint8, shape (y, x)
        0 nothing, 1 outline of a found nucleus that matches a true one with an IoU above 0.7,
        2 of a true nucleus without a match, 3 of a found one without a match.
    """
    overlap = count_overlaps(labels, true_labels, min_area_px=0)
    matched = overlap.iou > MISSED_AT_IOU
    names, true_names = (np.unique(image[image > 0]) for image in (labels, true_labels))
    found = np.isin(labels, names[overlap.predicted_index[matched]])
    hit = np.isin(true_labels, true_names[overlap.truth_index[matched]])
    classes = np.zeros(labels.shape, dtype=np.uint8)
    edges, true_edges = find_outlines(labels), find_outlines(true_labels)
    classes[true_edges & ~hit] = 2
    classes[edges & ~found] = 3
    classes[edges & found] = 1
    return classes


def _draw_field(
    stem: str,
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.integer],
    true_labels: npt.NDArray[np.integer],
    agreement: Agreement,
) -> dict[str, Any]:
    factor = -(-max(image.shape) // FIELD_PX)
    grey = to_grey(shrink(image, factor), find_window(image))
    y, x = grey.shape
    step = np.s_[factor // 2 :: factor, factor // 2 :: factor]
    classes = classify_outlines(labels[step][:y, :x], true_labels[step][:y, :x])
    return {
        "stem": stem,
        "score": agreement.by_image[stem],
        "image": jpeg_uri(grey),
        "outlines": overlay_uri(classes, [BLUE, ORANGE, MAGENTA]),
        "factor": factor,
    }
