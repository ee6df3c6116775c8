"""The command that adapts the segmentation network to a user's images."""

import json
import shlex
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import rich_click as click

from i2r.cli.options import say
from i2r.errors import I2RError, InputError

if TYPE_CHECKING:
    from i2r.readers.patches import PatchSet

WEIGHTS = "weights.pt"
JUDGEMENT = "judgement.json"
CHECKPOINT = "training.checkpoint"


@click.command("adapt-segmenter")
@click.argument("images")
@click.option(
    "--labels",
    help="Second call: folder of corrected label TIFFs, named like the patches (or OUT itself). "
    "Label images of whole images, with the images' names, are taken as well, also without a "
    "first call.",
)
@click.option(
    "--out",
    default="adapted",
    show_default=True,
    help="Folder of the patches, of the page that shows them, and of the adapted weights.",
)
@click.option("--weights", help="Weights to start from (default: i2r's own).")
@click.option(
    "--pixel-size-um",
    type=click.FloatRange(min=0, min_open=True),
    help="Edge of a pixel in microns, as the pipeline will tell it. Not given: images are taken "
    "as they are.",
)
@click.option(
    "--channel",
    type=click.IntRange(min=0),
    help="Channel or page that shows the nuclei, from 0; needed for files that hold several.",
)
@click.option(
    "--nuclei",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="First call: about how many nuclei to show for training; half as many to judge by.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Second call: steps of training; 200 take about a minute on a free core.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def adapt_segmenter(
    images: str,
    labels: str | None,
    out: str,
    weights: str | None,
    pixel_size_um: float | None,
    channel: int | None,
    nuclei: int,
    steps: int,
    seed: int,
    threads: int,
) -> None:
    """Adapt the segmentation network to your own images, by correcting about 150 nuclei.

    IMAGES is a folder, searched with all folders in it, or a pattern such as 'plate/*_w1.tif':
    TIFF, PNG or JPEG files, bright nuclei on a dark background.

    First call, without --labels: looks at up to 60 images and writes to OUT the patches about
    which the network is least sure, and some at random from other images to judge by: 'images',
    'labels' (what the network found), and 'patches.html' to look at. Correct the TIFFs of
    'labels' in napari or any other editor of labels. Delete those that you did not look at;
    those that you leave as they are count as right.

    Second call, with --labels OUT: trains the network further on the corrected patches, and
    scores it before and after on the patches to judge by. Images that show the same thing are
    never on both sides. If it is not worse there, OUT/weights.pt is written: segment with
    'method: unet' and 'weights: OUT/weights.pt', or i2r segment-images --weights. If it is
    worse, nothing is written. A call that was stopped goes on where it was.
    """
    import torch

    from i2r.readers.patches import list_fields, read_patches
    from i2r.stages.segmenter_weights import read_weights
    from i2r.store import files

    torch.set_num_threads(threads)
    source, folder = files.normalise_url(images), files.normalise_url(out)
    fields = list_fields(source)
    patch_set = read_patches(folder)
    content = read_weights(None if weights is None else files.normalise_url(weights))
    digest = sha256(content).hexdigest()
    if patch_set is not None:
        _refuse_other_options(
            patch_set, folder, digest=digest, pixel_size_um=pixel_size_um, channel=channel
        )
        pixel_size_um, channel = patch_set.pixel_size_um, patch_set.channel
    if labels is None:
        _show(
            fields, content, patch_set, folder, images=source, digest=digest, n_nuclei=nuclei,
            pixel_size_um=pixel_size_um, channel=channel,
        )  # fmt: skip
        again = [images, "--labels", out]
        again += ["--out", out] if out != "adapted" else []
        again += ["--weights", weights] if weights is not None else []
        click.echo(f"correct the label images, then: i2r adapt-segmenter {shlex.join(again)}")
        return
    _adapt(
        fields, content, patch_set, folder, files.normalise_url(labels), digest=digest,
        pixel_size_um=pixel_size_um, channel=channel, n_steps=steps, seed=seed,
    )  # fmt: skip


def _refuse_other_options(
    patch_set: "PatchSet",
    folder: str,
    *,
    digest: str,
    pixel_size_um: float | None,
    channel: int | None,
) -> None:
    """Refuse what the patches were not chosen with."""
    differing = [
        f"--{name.replace('_', '-')} {value}, chosen with {chosen}"
        for name, value, chosen in (
            ("pixel_size_um", pixel_size_um, patch_set.pixel_size_um),
            ("channel", channel, patch_set.channel),
        )
        if value is not None and value != chosen
    ]
    if digest != patch_set.weights:
        differing.append("other --weights than they were chosen with")
    if differing:
        raise InputError(
            f"{folder}: holds patches; found {differing[0]}. Give the same options again, or name "
            "another folder by --out."
        )


def _show(
    fields: dict[str, str],
    weights: bytes,
    patch_set: "PatchSet | None",
    folder: str,
    *,
    images: str,
    digest: str,
    n_nuclei: int,
    pixel_size_um: float | None,
    channel: int | None,
) -> None:
    """Choose patches, or take those that were chosen, and write what is missing of them."""
    from i2r.analysis.segmenters import segment_by_network
    from i2r.models.unet_inference import load_network
    from i2r.stages.segmenter_patches import PAGE, choose_patches, write_patches
    from i2r.store import files

    page = files.join_url(folder, PAGE)
    if patch_set is not None and files.exists(page):
        click.echo(f"{folder}: {len(patch_set.patches)} patches are there: {page}")
        return
    if patch_set is None and (held := files.list_folder(folder)):
        raise InputError(
            f"{folder}: holds {held[0]} and no patches, expected an empty folder or none. Name "
            "another folder by --out."
        )
    network = load_network(weights)
    if patch_set is None:
        patch_set = choose_patches(
            fields, network, images=images, digest=digest, pixel_size_um=pixel_size_um,
            channel=channel, n_nuclei=n_nuclei,
            report=partial(_say_progress, "looked at {} of {} images"),
        )  # fmt: skip
    write_patches(
        folder, patch_set, fields,
        lambda image: segment_by_network(image[None], network, pixel_size_um=pixel_size_um)[0],
        report=partial(_say_progress, "wrote {} of {} patches"),
    )  # fmt: skip
    n_train = sum(patch.use == "train" for patch in patch_set.patches)
    n_found = sum(patch.n_found for patch in patch_set.patches)
    click.echo(
        f"{n_train} patches to train on and {len(patch_set.patches) - n_train} to judge by, "
        f"{n_found} nuclei found: {page}"
    )


def _say_progress(text: str, done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        say(text.format(done, total))


def _adapt(
    fields: dict[str, str],
    weights: bytes,
    patch_set: "PatchSet | None",
    folder: str,
    labels: str,
    *,
    digest: str,
    pixel_size_um: float | None,
    channel: int | None,
    n_steps: int,
    seed: int,
) -> None:
    """Train on corrected label images, judge, and write the weights if they are not worse."""
    from i2r.readers.patches import read_corrections
    from i2r.stages.segmenter_adaptation import FEW_NUCLEI, fine_tune, judge, split_corrections
    from i2r.store import files

    corrections = read_corrections(
        labels, folder=folder, patch_set=patch_set, fields=fields, channel=channel
    )
    sides = split_corrections(corrections, fields, channel=channel)
    n_same = sum(not correction.is_changed for correction in corrections)
    say(
        f"training on {len(sides.train)} label images, judging by {len(sides.judge)}; {n_same} are "
        "as the network made them and count as right"
    )
    options: dict[str, Any] = {"pixel_size_um": pixel_size_um, "channel": channel}
    before = judge(weights, sides.judge, fields, **options)
    say(f"before: {_describe(before)}")
    try:
        adapted = fine_tune(
            weights, sides.train, fields, n_steps=n_steps, seed=seed,
            checkpoint_url=files.join_url(folder, CHECKPOINT),
            report=lambda step, loss: say(f"step {step} of {n_steps}: loss {loss:.4f}"), **options,
        )  # fmt: skip
    except FloatingPointError as error:
        raise I2RError(f"{labels}: {error}. Look at the label images.") from error
    after = judge(adapted, sides.judge, fields, **options)
    is_kept = after.mean_f1 >= before.mean_f1
    say(f"after: {_describe(after)}")
    if after.n_nuclei < FEW_NUCLEI:
        say(f"judged by {after.n_nuclei} nuclei only: correct more patches to be sure")
    target = files.join_url(folder, WEIGHTS)
    if is_kept:
        files.write_bytes(target, adapted)
    record = {
        "switched": is_kept, "before": before._asdict(), "after": after._asdict(),
        "start_sha256": digest, "n_train": len(sides.train), "n_steps": n_steps, "seed": seed,
        **options,
    }  # fmt: skip
    files.write_bytes(files.join_url(folder, JUDGEMENT), json.dumps(record, indent=1).encode())
    if is_kept:
        click.echo(
            f"better or as good on held-out fields ({before.mean_f1:.3f} to {after.mean_f1:.3f}): "
            f"{target}"
        )
        return
    left = f"; {target} is of an earlier call" if files.exists(target) else ""
    click.echo(
        f"worse on held-out fields ({before.mean_f1:.3f} to {after.mean_f1:.3f}): the network "
        f"stays as it was{left}"
    )


def _describe(judgement: Any) -> str:
    return (
        f"mean F1 {judgement.mean_f1:.3f}, F1 at 0.5 {judgement.f1_half:.3f}, "
        f"{judgement.splits} splits, {judgement.merges} merges of {judgement.n_nuclei} nuclei in "
        f"{judgement.n_parts} held-out patches"
    )
