"""Commands for folders of images without a plate: segment them, and score label images."""

import json
from typing import TYPE_CHECKING

import rich_click as click

from i2r.cli.options import say
from i2r.errors import I2RError, InputError

if TYPE_CHECKING:
    from i2r.readers.agreement import Agreement

_FAILED = 3


@click.command("segment-images")
@click.argument("in_dir")
@click.argument("out_dir")
@click.option(
    "--method",
    default=None,
    show_default="threshold, or unet with --weights",
    help="threshold (classical; mean F1 0.907 on the validation part of BBBC039), unet (trained "
    "network; 0.940 there; takes fifty times as long on a CPU, needs PyTorch), or a segmenter "
    "that another package offers.",
)
@click.option(
    "--pixel-size-um",
    type=click.FloatRange(min=0, min_open=True),
    help="Edge of a pixel in microns. Not given: images are taken as they are, 0.65 um for areas.",
)
@click.option(
    "--channel",
    type=click.IntRange(min=0),
    help="Channel or page that shows the nuclei, from 0; needed for files that hold several.",
)
@click.option("--weights", help="Weights from train-segmenter, for unet (default: i2r's own).")
@click.option("--page", help="Also write an HTML page of some images with the outlines found.")
def segment_images(
    in_dir: str,
    out_dir: str,
    method: str | None,
    pixel_size_um: float | None,
    channel: int | None,
    weights: str | None,
    page: str | None,
) -> int:
    """Find the nuclei in every image of IN_DIR; write label TIFFs of the same names to OUT_DIR.

    Images are TIFF, PNG or JPEG files, bright nuclei on a dark background. In a label image 0 is
    background and 1, 2, ... are nuclei. An image that can't be used is named at the end, the
    others are segmented (exit code 3). A note names images whose nuclei look implausible:
    saturated, nothing found, bright unlabelled, debris, fragments, few nuclei.
    """
    import numpy as np

    from i2r.analysis.nuclei import describe_pictures
    from i2r.kernels.checks import freeze
    from i2r.kernels.quality import measure_evidence
    from i2r.readers.pictures import list_pictures, read_picture
    from i2r.stages.segment.planes import choose_segmenter
    from i2r.store import files
    from i2r.store.pictures import write_label_tiff

    source, target = files.normalise_url(in_dir), files.normalise_url(out_dir)
    pictures = list_pictures(source)
    taken = {name.rpartition(".")[0] for name in files.list_folder(target)}
    if taken & set(pictures):
        raise InputError(
            f"{out_dir}: holds {len(taken & set(pictures))} files with the images' names, expected "
            "none. Name another folder, or delete them."
        )
    if method is None:
        method = "threshold" if weights is None else "unet"
    segment = choose_segmenter(method, pixel_size_um, weights)
    failed = []
    measured = {}
    for stem, url in pictures.items():
        try:
            picture = read_picture(url, channel=channel)
            labels = segment(picture)
        except (I2RError, ValueError) as error:
            failed.append(stem)
            say(f"error: {stem}: {error}")
            continue
        write_label_tiff(files.join_url(target, f"{stem}.tif"), labels)
        areas = np.unique(labels[labels > 0], return_counts=True)[1]
        measured[stem] = measure_evidence(freeze(picture), freeze(labels)), areas.tolist()
    done = len(measured)
    n_nuclei = sum(len(areas) for _, areas in measured.values())
    click.echo(f"{done} of {len(pictures)} images, {n_nuclei} nuclei: {out_dir}")
    if note := describe_pictures(measured):
        say(f"note: {note}")
    if page is not None and done:
        _write_overlays(page, target, source, channel)
    return _FAILED if failed else 0


def _write_overlays(page: str, labels: str, images: str, channel: int | None) -> None:
    """Write a page of fields with their outlines."""
    from i2r.report.overlays import draw_found_fields
    from i2r.store import files

    html = draw_found_fields(labels, images, channel=channel)
    files.write_bytes(files.normalise_url(page), html.encode())
    click.echo(f"outlines: {page}")


@click.command("score-segmentation")
@click.argument("pred_dir")
@click.argument("truth_dir", required=False)
@click.option("--json", "json_file", help="Write everything, also image by image, to this file.")
@click.option(
    "--page",
    help="Write an HTML page with the ten worst fields, or, without TRUTH_DIR, with the outlines "
    "of ten fields; needs --images.",
)
@click.option("--images", help="Folder of the images themselves, for --page.")
@click.option("--channel", type=click.IntRange(min=0), help="Channel of the images, from 0.")
def score_segmentation(
    pred_dir: str,
    truth_dir: str | None,
    json_file: str | None,
    page: str | None,
    images: str | None,
    channel: int | None,
) -> None:
    """Score label images against true ones of the same names (Caicedo et al. 2019).

    Objects under 25 px are ignored. F1, precision and recall at IoU above 0.50 to 0.90, missed
    nuclei by size, splits and merges (more than one partner above IoU 0.1), average precision
    and panoptic quality as StarDist reports them; ratios are means over images. Without TRUTH_DIR,
    --page and --images show outlines over ten fields, from the fewest to the most nuclei.
    """
    from i2r.readers.agreement import describe_score, score_folders
    from i2r.store import files

    if (page is None) != (images is None):
        raise InputError("--page and --images: found one of them, expected both or none.")
    if truth_dir is None:
        if page is None or images is None or json_file is not None:
            raise InputError(
                "TRUTH_DIR: not given, so nothing can be scored. Name the folder of true labels, "
                "or give --page and --images (without --json) to look at outlines alone."
            )
        _write_overlays(page, files.normalise_url(pred_dir), files.normalise_url(images), channel)
        return
    folders = files.normalise_url(pred_dir), files.normalise_url(truth_dir)
    agreement = score_folders(*folders)
    click.echo(format_agreement(agreement))
    if json_file is not None:
        content = {
            "total": describe_score(agreement.total),
            "by_image": {stem: describe_score(s) for stem, s in agreement.by_image.items()},
        }
        files.write_bytes(files.normalise_url(json_file), json.dumps(content, indent=1).encode())
    if page is not None and images is not None:
        from i2r.report.overlays import draw_worst_fields

        html = draw_worst_fields(agreement, *folders, files.normalise_url(images), channel=channel)
        files.write_bytes(files.normalise_url(page), html.encode())


def format_agreement(agreement: "Agreement") -> str:
    """Write a score as a table for people."""
    from i2r.kernels.metrics import IOU_THRESHOLDS, SIZE_BINS_PX

    total = agreement.total
    lines = [
        f"{total.n_images} images, {total.n_truth} true and {total.n_predicted} predicted nuclei",
        f"mean F1 (0.50 to 0.90)  {total.mean_f1:.3f}",
        f"{'IoU above':>10} {'F1':>7} {'precision':>10} {'recall':>7} {'AP':>7} {'PQ':>7}",
    ]
    for i, threshold in enumerate(IOU_THRESHOLDS):
        lines.append(
            f"{threshold:10.2f} {total.f1[i]:7.3f} {total.precision[i]:10.3f} "
            f"{total.recall[i]:7.3f} {total.average_precision[i]:7.3f} "
            f"{total.panoptic_quality[i]:7.3f}"
        )
    names = [
        f"{low} to {high} px" if high else f"{low} px and more"
        for low, high in zip(SIZE_BINS_PX, [*SIZE_BINS_PX[1:], 0], strict=True)
    ]
    missed = [
        f"{name} {n} of {of}"
        for name, n, of in zip(names, total.missed, total.truth_by_size, strict=True)
    ]
    lines.append(f"missed (IoU 0.7): {', '.join(missed)}")
    lines.append(f"splits {total.splits}, merges {total.merges}")
    return "\n".join(lines)
