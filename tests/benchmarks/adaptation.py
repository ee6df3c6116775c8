"""Adaptation of the segmentation network to images of a kind that it has never seen.

``python -m tests.benchmarks.adaptation FOLDER`` leaves whole groups of the Data Science Bowl 2018 out
(by the size of their images: each size is another microscope and magnification) and trains a network
without them, ``FOLDER/base.pt``; the state is kept beside it, so that the same command goes on where
it was cut. It then calls ``i2r adapt-segmenter`` twice on a part of each group, with the true labels
in place of a person's, and scores the network before and after on the rest of the group, beside the
network that ships with i2r, whose training had seen the group. ``--base`` names the first network;
``--nuclei`` is handed on.

Reads the data sets from the folder named by ``I2R_DATA``.
"""

import argparse
import json
import os
import time
from pathlib import Path

import tifffile
import torch

from i2r.cli.adapt_segmenter import adapt_segmenter
from i2r.kernels.metrics import SegmentationScore
from i2r.models.examples import make_example
from i2r.models.fit_unet import UNetSettings, fit_unet, share_equally
from i2r.models.unet_inference import load_network, pack_weights, read_packaged_weights
from i2r.readers.labelled import LabelledField, keep_fifth_out, list_labelled, read_labelled
from i2r.readers.patches import LABELS, read_patches
from tests.benchmarks.segmenter import score_fields, segment_with

# Sizes of the images that the base is trained on; all others are left out.
SEEN = {(256, 256), (256, 320), (520, 696)}
# Groups left out that have enough images to adapt to and to score.
GROUPS = {"360 x 360 px": (360, 360), "512 x 640 px": (512, 640)}
# A fifth of the steps, on half of the windows, that the network that ships with i2r had.
SETTINGS = UNetSettings(n_steps=1500, n_windows=6, n_parts=1, side_px=160)


def train_base(target: Path, data: Path) -> None:
    """Train a network without the groups that are left out, or go on with it."""
    fields: list[LabelledField] = list_labelled(str(data / "dsb2018_fluo"))
    seen = [field for field in fields if read_labelled(field)[0].shape in SEEN]
    sets = [list_labelled(str(data / "bbbc039/training")), seen]
    state = target.with_suffix(".checkpoint")
    network = fit_unet(
        [make_example(*read_labelled(field)) for part in sets for field in part],
        share_equally([len(part) for part in sets]),
        settings=SETTINGS,
        checkpoint=state.read_bytes() if state.exists() else None,
        save=state.write_bytes,
        report=lambda step, loss: print(f"step {step}: loss {loss:.4f}", flush=True),
    )
    target.write_bytes(pack_weights(network))


def measure_gap(name: str, shape: tuple[int, int], base: Path, folder: Path, asked) -> None:
    """Adapt the base to a part of a group, and print how much of the gap that closes."""
    data = Path(os.environ["I2R_DATA"])
    group = [f for f in list_labelled(str(data / "dsb2018_fluo")) if is_shaped(f, shape)]
    # The fifth is what the network that ships with i2r was not trained on.
    train, test = keep_fifth_out(group)
    if len(test) < 4:
        train, test = group[::2], group[1::2]
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for field in train:
        target = images / Path(field.image_url).name
        if not target.exists():
            target.symlink_to(field.image_url)
    out = folder / "out"
    options = [str(images), "--out", str(out), "--weights", str(base), "--threads", "1"]
    start = time.process_time()
    adapt_segmenter.main([*options, "--nuclei", str(asked.nuclei)], standalone_mode=False)
    shown = time.process_time() - start
    n_nuclei = correct_labels(out, {Path(f.image_url).name: f for f in train})
    start = time.process_time()
    adapt_segmenter.main(
        [*options, "--labels", str(out), "--steps", str(asked.steps)], standalone_mode=False
    )
    trained = time.process_time() - start
    print(
        f"\n{name}: {len(train)} images to adapt to, {n_nuclei} nuclei labelled; {len(test)} scored"
    )
    print(f"processor seconds: {shown:.0f} to choose patches, {trained:.0f} to train and judge")
    print(f"{'':36} {'F1 .5-.9':>8} {'@.5':>6} {'@.9':>6} {'AP@.5':>6} splits merges")
    is_kept = json.loads((out / "judgement.json").read_text())["switched"]
    # A network that was worse on the held-out fields is not taken.
    adapted = (out / "weights.pt") if is_kept else base
    weights = {"before": base.read_bytes(), "adapted": adapted.read_bytes()}
    weights["ships with i2r, had seen the group"] = read_packaged_weights()
    scores: dict[str, SegmentationScore] = {}
    for method, content in weights.items():
        s = scores[method] = score_fields(segment_with(None, load_network(content)), test)
        print(
            f"{method:36} {s.mean_f1:8.3f} {s.f1[0]:6.3f} {s.f1[8]:6.3f} "
            f"{s.average_precision[0]:6.3f} {s.splits:6} {s.merges:6}"
        )
    before, after, seen = scores.values()
    for what, of in (
        ("mean F1", lambda s: s.mean_f1),
        ("AP at 0.5", lambda s: float(s.average_precision[0])),
    ):
        closed = (of(after) - of(before)) / (of(seen) - of(before))
        print(f"share of the gap closed, {what}: {closed:.2f} (wanted 0.50)")


def is_shaped(field: LabelledField, shape: tuple[int, int]) -> bool:
    """Tell whether a field has this size."""
    return read_labelled(field)[0].shape == shape


def correct_labels(out: Path, fields: dict[str, LabelledField]) -> int:
    """Put the true labels in place of what was found; gives the number of nuclei."""
    patch_set = read_patches(str(out))
    assert patch_set is not None
    n_nuclei = 0
    for patch in patch_set.patches:
        y0, x0, y1, x1 = patch.box
        labels = read_labelled(fields[patch.image])[1][y0:y1, x0:x1]
        n_nuclei += len(set(labels.ravel().tolist()) - {0})
        tifffile.imwrite(out / LABELS / f"{patch.name}.tif", labels)
    return n_nuclei


def main() -> None:
    """Train the base if it is not there, and measure every group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--nuclei", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--group", choices=GROUPS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = asked.base or asked.folder / "base.pt"
    if not base.exists():
        asked.folder.mkdir(parents=True, exist_ok=True)
        train_base(base, Path(os.environ["I2R_DATA"]))
    for name, shape in GROUPS.items():
        if asked.group in (None, name):
            folder = asked.folder / name.replace(" ", "")
            measure_gap(name, shape, base, folder, asked)


if __name__ == "__main__":
    main()
