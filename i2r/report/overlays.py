"""Pages of segmented fields: where labels agree least with the truth, or their outlines alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.kernels.metrics import MISSED_AT_IOU, count_overlaps
from i2r.readers.agreement import Agreement, find_worst
from i2r.readers.pictures import list_pictures, read_labels, read_picture
from i2r.report import html
from i2r.report.images import find_outlines, find_window, jpeg_uri, overlay_uri, shrink, to_grey
from i2r.report.nuclei import spread

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
        _check_shapes(folders[0][stem], image, labels)
        fields.append(_draw_field(stem, image, labels, true_labels, agreement))
    body = html.render("worst.html", fields=fields, iou=MISSED_AT_IOU, total=agreement.total)
    title = f"The {len(fields)} fields with the lowest mean F1"
    return html.page(
        [("worst", title, body)],
        made_by="i2r score-segmentation",
        heading="Segmentation: the worst fields",
        source=shorten(truth),
    )


def draw_found_fields(labels: str, images: str, *, channel: int | None = None) -> str:
    """Draw ten fields with the outlines that were found, from the fewest to the most nuclei.

    Parameters
    ----------
    labels
        Folder of label images.
    images, channel
        As for `draw_worst_fields`, which also says what is returned.

    Raises
    ------
    InputError
        If no image has labels, or an image is of another shape than its labels.
    """
    pictures, found = list_pictures(images), list_pictures(labels)
    stems = [stem for stem in found if stem in pictures]
    if not stems:
        raise InputError(
            f"{labels}: no label image has the name of an image in {images}. Name the folder of "
            "the images that were segmented."
        )
    counts = {stem: len(np.unique(read_labels(found[stem]))) for stem in stems}
    ordered = sorted(stems, key=lambda stem: (counts[stem], stem))
    chosen = [ordered[i] for i in spread(len(ordered), N_WORST)]
    fields = []
    for stem in chosen:
        image = read_picture(pictures[stem], channel=channel)
        own = read_labels(found[stem])
        _check_shapes(pictures[stem], image, own)
        edges = find_outlines(own).astype(np.uint8)
        n_nuclei = len(np.unique(own[own > 0]))
        fields.append({"stem": stem, "n_nuclei": n_nuclei, **draw_layers(image, edges, [ORANGE])})
    body = html.render("outlines.html", fields=fields, n_images=len(stems))
    return html.page(
        [("outlines", "Fields", body)],
        made_by="i2r segment-images",
        heading="Segmentation: outlines",
        source=shorten(labels),
    )


def shorten(folder: str) -> str:
    """Name a folder and the one it is in; pages are passed on."""
    return "/".join(folder.split("/")[-2:])


def _check_shapes(url: str, image: npt.NDArray[Any], labels: npt.NDArray[np.integer]) -> None:
    """Refuse labels of another size than their image."""
    if image.shape != labels.shape:
        raise InputError(
            f"{url}: image is {image.shape}, its labels are {labels.shape}. "
            "Name the folder of the images that were segmented."
        )


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
    classes = classify_outlines(labels, true_labels)
    layers = draw_layers(image, classes, [BLUE, ORANGE, MAGENTA])
    return {"stem": stem, "score": agreement.by_image[stem], **layers}


def draw_layers(
    image: npt.NDArray[Any],
    classes: npt.NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
) -> dict[str, Any]:
    """Draw an image and its outlines, each as large as a page has room for."""
    factor = -(-max(image.shape) // FIELD_PX)
    grey = to_grey(shrink(image, factor), find_window(image))
    y, x = grey.shape
    # A line one pixel wide must not fall between the pixels that are left.
    whole = classes[: y * factor, : x * factor].reshape(y, factor, x, factor)
    return {
        "image": jpeg_uri(grey),
        "outlines": overlay_uri(whole.max(axis=(1, 3)), colours),
        "factor": factor,
    }
