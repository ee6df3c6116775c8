"""The command that trains the segmentation network."""

from dataclasses import replace
from typing import TYPE_CHECKING

import rich_click as click

from i2r.cli.options import say
from i2r.errors import I2RError, InputError

if TYPE_CHECKING:
    from i2r.models.unet import NucleusUNet
    from i2r.readers.labelled import LabelledField


@click.command("train-segmenter")
@click.argument("weights")
@click.option(
    "--data",
    multiple=True,
    help="Folder with 'images' and 'labels' (same stems), used whole; may be given several times.",
)
@click.option(
    "--split-data",
    multiple=True,
    help="Folder like that, of which a fifth is kept out: images that show the same thing make a "
    "group, and groups whose first name has a SHA-1 divisible by 5 are tested on.",
)
@click.option("--test-data", multiple=True, help="Folder like that, only tested on.")
@click.option(
    "--start",
    help="Weights to go on from, at a quarter of the rate; default: random ones.",
)
@click.option(
    "--outlines",
    type=click.FloatRange(0, 2),
    default=0.0,
    show_default=True,
    help="How much the overlap (IoU) of each single nucleus counts in the loss, beside that of "
    "all pixels.",
)
@click.option(
    "--crowded",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of training windows to which nuclei from elsewhere in the same image are added, "
    "so that more of them touch.",
)
@click.option("--steps", type=click.IntRange(min=1), default=3400, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def train_segmenter(
    weights: str,
    data: tuple[str, ...],
    split_data: tuple[str, ...],
    test_data: tuple[str, ...],
    start: str | None,
    outlines: float,
    crowded: float,
    steps: int,
    seed: int,
    threads: int,
) -> None:
    """Train the segmentation network; write its weights to the file WEIGHTS.

    Every folder counts the same, whatever its number of images. The state is kept in
    WEIGHTS.checkpoint every few minutes: the same command goes on from there. At the end the
    network is scored on what was kept out and on the test data. About an hour on two cores;
    a GPU is used where there is one.
    """
    import torch

    from i2r.models.examples import make_example
    from i2r.models.fit_unet import UNetSettings, fit_unet, share_equally
    from i2r.models.unet_inference import load_network, pack_weights, unpack_weights
    from i2r.readers.labelled import keep_fifth_out, list_labelled, read_labelled
    from i2r.stages.segmenter_weights import read_weights
    from i2r.store import files

    if not data and not split_data:
        raise InputError("--data and --split-data: found none, expected a folder to train on.")
    sets = [list_labelled(files.normalise_url(folder)) for folder in data]
    tests = {folder: list_labelled(files.normalise_url(folder)) for folder in test_data}
    for folder in split_data:
        used, kept = keep_fifth_out(list_labelled(files.normalise_url(folder)))
        sets.append(used)
        tests[f"{folder}, the fifth kept out"] = kept
    say(f"training on {' + '.join(str(len(part)) for part in sets)} images")
    torch.set_num_threads(threads)
    begun = None if start is None else unpack_weights(read_weights(files.normalise_url(start)))
    settings = UNetSettings(n_steps=steps, seed=seed, outlines=outlines, crowded=crowded)
    if begun is not None:
        rate = settings.learning_rate / 4
        settings = replace(settings, learning_rate=rate, widths=begun.widths)
    target = files.normalise_url(weights)
    state = f"{target}.checkpoint"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = fit_unet(
            [make_example(*read_labelled(field)) for part in sets for field in part],
            share_equally([len(part) for part in sets]),
            settings=settings,
            start=begun,
            device=device,
            checkpoint=files.read_bytes(state) if files.exists(state) else None,
            save=lambda content: files.write_bytes(state, content),
            report=lambda step, loss: say(f"step {step} of {steps}: loss {loss:.4f}"),
        )
    except ValueError as error:
        raise I2RError(f"{weights}: {error}. Delete {state} to start anew.") from error
    packed = pack_weights(network)
    files.write_bytes(target, packed)
    files.remove_file(state)
    click.echo(f"{weights}: {len(packed)} bytes")
    for name, fields in tests.items():
        _print_score(load_network(packed, device=device), name, fields)


def _print_score(network: "NucleusUNet", name: str, fields: "list[LabelledField]") -> None:
    """Segment fields that the network has not seen, and print how well."""
    from i2r.analysis.segmenters import segment_by_network
    from i2r.kernels.metrics import combine_scores, score_segmentation
    from i2r.readers.labelled import read_labelled

    if not fields:
        return
    scores = []
    for field in fields:
        image, labels = read_labelled(field)
        found = segment_by_network(image[None], network, pixel_size_um=None)[0]
        scores.append(score_segmentation(found, labels))
    total = combine_scores(scores)
    click.echo(
        f"{name}: {len(fields)} images, mean F1 {total.mean_f1:.3f}, F1 at 0.5 {total.f1[0]:.3f}, "
        f"at 0.7 {total.f1[4]:.3f}, AP at 0.5 {total.average_precision[0]:.3f}, "
        f"splits {total.splits}, merges {total.merges}"
    )
