"""The segmentation network, trained further on corrected patches and judged on others."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.analysis.segmenters import segment_by_network
from i2r.errors import InputError
from i2r.kernels.metrics import combine_scores, score_segmentation
from i2r.readers.patches import Correction
from i2r.report.images import shrink
from i2r.stages.segmenter_patches import COMPARED_PX, read_field, split_fields
from i2r.store import files

# A step of six windows takes 0.2 s of one core.
LEARNING_RATE = 6e-4
N_WINDOWS = 6
SIDE_PX = 192
CONTEXT_PX = 64
# Share of windows to which nuclei of others are added: patches hold few that touch.
CROWDED = 0.25
# Half a minute apart.
CHECKPOINT_STEPS = 20
# With fewer nuclei to judge by, a difference is mostly chance.
FEW_NUCLEI = 30


class Judgement(NamedTuple):
    """How well a network finds the nuclei of corrected patches that it was not trained on.

    Attributes
    ----------
    n_parts, n_nuclei : int
        Patches, and true nuclei in them.
    mean_f1, f1_half : float
        F1 of all nuclei together: the mean over IoU above 0.50, 0.55 ... 0.90, and above 0.5.
    splits, merges : int
        See `i2r.kernels.metrics.SegmentationScore`.
    """

    n_parts: int
    n_nuclei: int
    mean_f1: float
    f1_half: float
    splits: int
    merges: int


class Sides(NamedTuple):
    """Corrections to train on, and those to judge by; no view is on both sides."""

    train: list[Correction]
    judge: list[Correction]


def split_corrections(
    corrections: Sequence[Correction], fields: Mapping[str, str], *, channel: int | None
) -> Sides:
    """Split corrected parts by their fields, so that what shows the same stays on one side.

    Raises
    ------
    InputError
        If nothing was corrected, or one side has no nuclei.
    """
    if not any(correction.is_changed for correction in corrections):
        raise InputError(
            f"labels: all {len(corrections)} label images are as the network made them, expected "
            "corrected ones. Edit them, or keep the network: it was right everywhere."
        )
    names = sorted({correction.image for correction in corrections})
    small = {}
    for name in names:
        image = read_field(fields[name], channel=channel)
        small[name] = shrink(image, -(-max(image.shape) // COMPARED_PX))
    uses = split_fields(small, {c.image: c.use for c in corrections if c.use is not None})
    sides = Sides(
        [c for c in corrections if uses[c.image] == "train"],
        [c for c in corrections if uses[c.image] == "judge"],
    )
    for what, side in (("train on", sides.train), ("judge by", sides.judge)):
        n_nuclei = sum(len(np.unique(c.labels[c.labels > 0])) for c in side)
        if not n_nuclei:
            raise InputError(
                f"labels: no nucleus in the {len(side)} label images to {what}, expected some. "
                f"Correct label images of patches to {what} (the page of patches says which)."
            )
    return sides


def fine_tune(
    weights: bytes,
    corrections: Sequence[Correction],
    fields: Mapping[str, str],
    *,
    pixel_size_um: float | None,
    channel: int | None,
    n_steps: int,
    seed: int,
    checkpoint_url: str,
    report: Callable[[int, float], None],
) -> bytes:
    """Train a network further on corrected parts.

    Parameters
    ----------
    weights
        To start from.
    corrections
        What is known.
    fields
        URLs by name.
    pixel_size_um, channel
        Of the fields.
    n_steps, seed
        Of the training.
    checkpoint_url
        Where the state of the training is kept until it ends: the same call goes on there, one
        with other weights, labels or settings starts anew.
    report
        Is given the number of steps and the mean loss, every `CHECKPOINT_STEPS` steps.

    Returns
    -------
    bytes
        Weights. They are half precision floats, like those that ship with i2r.
    """
    import torch

    from i2r.models.examples import cut_example
    from i2r.models.fit_unet import UNetSettings, fit_unet, share_equally
    from i2r.models.unet_inference import choose_zoom, pack_weights, unpack_weights

    start = unpack_weights(weights)
    settings = UNetSettings(
        n_steps=n_steps, n_windows=N_WINDOWS, n_parts=1, side_px=SIDE_PX,
        learning_rate=LEARNING_RATE, seed=seed, widths=start.widths,
        magnification=choose_zoom(pixel_size_um), freeze_norm=True, crowded=CROWDED,
    )  # fmt: skip
    hashed = sha256(weights + repr((settings, pixel_size_um, channel)).encode())
    examples = []
    for correction in corrections:
        image = read_field(fields[correction.image], channel=channel)
        examples.append(
            cut_example(image, correction.labels, correction.box, context_px=CONTEXT_PX)
        )
        for tensor in examples[-1]:
            hashed.update(tensor.numpy().tobytes())
    key = hashed.digest()
    checkpoint = files.read_bytes(checkpoint_url) if files.exists(checkpoint_url) else b""
    network = fit_unet(
        examples,
        share_equally([len(examples)]),
        settings=settings,
        start=start,
        device="cuda" if torch.cuda.is_available() else "cpu",
        checkpoint=checkpoint[len(key) :] if checkpoint.startswith(key) else None,
        checkpoint_steps=CHECKPOINT_STEPS,
        save=lambda state: files.write_bytes(checkpoint_url, key, state),
        report=report,
    )
    files.remove_file(checkpoint_url)
    return pack_weights(network)


def judge(
    weights: bytes,
    corrections: Sequence[Correction],
    fields: Mapping[str, str],
    *,
    pixel_size_um: float | None,
    channel: int | None,
) -> Judgement:
    """Segment the fields of corrected parts as the stage 'segment' does, and score the parts."""
    import torch

    from i2r.models.unet_inference import load_network

    network = load_network(weights, device="cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, npt.NDArray[Any]] = {}
    scores = []
    for correction in sorted(corrections, key=lambda c: (c.image, c.box)):
        if correction.image not in found:
            image = read_field(fields[correction.image], channel=channel)
            labels = segment_by_network(image[None], network, pixel_size_um=pixel_size_um)[0]
            found = {correction.image: labels}
        y0, x0, y1, x1 = correction.box
        part = found[correction.image][y0:y1, x0:x1]
        scores.append(score_segmentation(part, correction.labels))
    total = combine_scores(scores)
    hits = 2 * total.true_positives
    f1 = hits / np.maximum(hits + total.false_positives + total.false_negatives, 1)
    return Judgement(
        len(scores), total.n_truth, float(f1.mean()), float(f1[0]), total.splits, total.merges
    )
