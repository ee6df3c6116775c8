"""Run every GPU path once and print the figures: ``python -m tests.gpu [--device cuda|cpu]``.

On a card the sizes are those of the GPU bars, and all parts together take about five minutes;
``tests/gpu/run.sh`` installs before. On a CPU the sizes are tiny and no bar counts: the same code runs
in every test, so that it can't rot between two cards.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader

from i2r.analysis.segmenters import segment_by_network
from i2r.cluster.packing import choose_packing, measure_packings
from i2r.kernels.metrics import score_segmentation
from i2r.models.batches import load_crops
from i2r.models.embedding import embed_pool
from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.examples import make_example
from i2r.models.fit_unet import UNetSettings, fit_unet
from i2r.models.occlusion import map_occlusion
from i2r.models.pools import NucleusPool
from i2r.models.train_classifier import TrainingSettings, fit_classifier
from i2r.models.train_encoder import EncoderTraining, Parts, train_encoder
from i2r.models.unet_inference import (
    load_network,
    pack_weights,
    read_packaged_weights,
    unpack_weights,
)
from i2r.testing import describe_pipeline, write_plate
from tests.benchmarks.kernels import simulate_field
from tests.benchmarks.loader import (
    PUBLISHED,
    RECIPE,
    PublishedDataset,
    compare_steps,
    time_steps,
    write_sources,
)


class Sizes(NamedTuple):
    """How much each part does."""

    fields: int
    field_px: int
    nuclei: int
    network_px: int
    batch: int
    steps: int
    loader_workers: int
    seconds: float


CARD = Sizes(
    fields=64, field_px=1080, nuclei=200_000, network_px=224, batch=32, steps=400,
    loader_workers=15, seconds=5.0,
)  # fmt: skip
TINY = Sizes(
    fields=2, field_px=256, nuclei=64, network_px=32, batch=4, steps=4, loader_workers=0,
    seconds=0.2,
)  # fmt: skip


class Figure(NamedTuple):
    """A number, and the least that is wanted of it on a card (None: nothing)."""

    name: str
    value: float
    least: float | None = None


SMALL = EncoderSettings(
    classes=("a", "b"), embedding_dim=64, nucleus_px=64, scale="nucleus", high=(65535.0,)
)


def draw_crops(number: int, *, size_px: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs of two sizes, with noise; give crops (n, 1, y, x), uint16, and classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    y, x = np.mgrid[:size_px, :size_px] - (size_px - 1) / 2
    discs = [np.hypot(y, x) < size_px * share for share in (0.2, 0.3)]
    few = random.integers(1_000, 60_000, (64, size_px, size_px), dtype=np.uint16)
    crops = few[random.integers(0, 64, number)] * np.stack(discs)[labels]
    return crops.astype(np.uint16)[:, None], labels.astype(np.int64)


def segment(device: str, sizes: Sizes) -> list[Figure]:
    """Segment fields by the network that ships with i2r."""
    network = load_network(read_packaged_weights(), device=device)
    plane, _ = simulate_field(size_px=sizes.field_px, n_nuclei=max(4, sizes.field_px // 7))
    planes = np.stack([plane] * sizes.fields)
    segment_by_network(planes[:1], network, pixel_size_um=0.656)
    seconds, labels = clock(
        lambda: segment_by_network(planes, network, pixel_size_um=0.656), device
    )
    assert labels.shape == planes.shape
    assert labels.max() > 3
    here = load_network(read_packaged_weights())
    alike = score_segmentation(
        labels[0], segment_by_network(planes[:1], here, pixel_size_um=0.656)[0]
    )
    return [
        Figure("segmentation: fields/s", sizes.fields / seconds),
        Figure("segmentation: F1 at IoU 0.9 against the CPU's labels", float(alike.f1[8]), 0.95),
    ]


def adapt_segmenter(device: str, sizes: Sizes) -> list[Figure]:
    """Train the segmentation network further, as 'adapt-segmenter' does, and segment with it."""
    plane, labels = simulate_field(size_px=sizes.field_px, n_nuclei=max(4, sizes.field_px // 7))
    start = unpack_weights(read_packaged_weights())
    settings = UNetSettings(
        n_steps=sizes.steps // 4, n_windows=6, n_parts=1, side_px=min(192, sizes.field_px // 4),
        learning_rate=1e-4, freeze_norm=True,
    )  # fmt: skip
    seconds, network = clock(
        lambda: fit_unet(
            [make_example(plane, labels)], np.ones(1), settings=settings, start=start, device=device
        ),
        device,
    )
    adapted = load_network(pack_weights(network), device=device)
    found = segment_by_network(plane[None], adapted, pixel_size_um=0.656)[0]
    return [
        Figure("adapting: windows/s in training", settings.n_steps * 6 / seconds),
        Figure("adapting: F1 at IoU 0.5 afterwards",
               float(score_segmentation(found, labels).f1[0]), 0.9),
    ]  # fmt: skip


def train_classifiers(device: str, sizes: Sizes) -> list[Figure]:
    """Train the screen's small network as one fold does."""
    number = min(sizes.nuclei, 2_000)
    crops, labels = draw_crops(number)
    wells = np.char.add("w", (np.arange(number) % 8).astype(str))
    settings = TrainingSettings(min_steps=sizes.steps, max_steps=sizes.steps, batch_size=64)

    def train() -> Any:
        return fit_classifier(crops, labels == 1, wells, settings=settings, seed=0, device=device)

    train()
    seconds, trained = clock(train, device)
    assert np.isfinite(trained.history.loss).all()
    return [Figure("cnn: nuclei/s in training", sizes.steps * 64 / seconds)]


def train_published(device: str, sizes: Sizes) -> list[Figure]:
    """Train the published network from the pool and by the published loader, in turns."""
    px = sizes.network_px
    settings = replace(PUBLISHED, nucleus_px=px, region_px=px)
    recipe = replace(RECIPE, batch_size=sizes.batch)
    with tempfile.TemporaryDirectory() as folder:
        sources = write_sources(Path(folder))
        encoder = build_encoder(settings, device=device)
        optimizer = torch.optim.Adam(encoder.parameters(), 1e-5, weight_decay=5e-4)
        loader = DataLoader(
            PublishedDataset(sources), sizes.batch, num_workers=sizes.loader_workers
        )
        steps = len(sources.nuclei) // sizes.batch if device == "cuda" else 2

        def published() -> None:
            for _, (nucleus, region) in zip(range(steps), loader, strict=False):
                images = {"nucleus": nucleus, "region": region}
                shown = {
                    name: torch.nn.functional.interpolate(image.to(device), size=px)
                    for name, image in images.items()
                }
                target = torch.arange(len(nucleus), device=device) % 2
                loss = torch.nn.functional.cross_entropy(encoder(shown), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

        number = len(sources.nuclei) if device == "cuda" else 2 * sizes.batch
        pool = NucleusPool(sources.full.crops[:number], sources.full.fields,
                           sources.full.places[:number], sources.full.window_px)  # fmt: skip
        pool = pool.to(device)
        if device == "cuda":
            published()
        theirs = clock(published, device)[0] / steps
        ours = time_steps(pool, settings, recipe, number, device)
        share = compare_steps(pool, settings, recipe, device)
    return [
        Figure("published network: samples/s", sizes.batch / ours),
        Figure("published network: times the published loop", theirs / ours, 10),
        Figure("published network: resident step, share of ours", share, 0.7),
    ]


def train_and_resume(device: str, sizes: Sizes) -> list[Figure]:
    """Cut a training after an epoch, go on from its checkpoint, and compare with one in one go."""
    crops, labels = draw_crops(256)
    pool, rows = NucleusPool(load_crops(crops)).to(device), np.arange(256)
    parts = Parts(rows[rows % 4 > 0], rows[rows % 4 == 0])
    training = EncoderTraining(batch_size=32, max_epochs=2, precision="float32")
    kept: list[bytes] = []

    def train(**options: Any) -> Any:
        return train_encoder(
            pool, labels, parts, settings=SMALL, training=training,
            seed=np.random.SeedSequence(1), device=device, **options,
        )  # fmt: skip

    whole = train(save=kept.append)
    resumed = train(checkpoint=kept[0])
    pairs = zip(
        whole.encoder.state_dict().values(), resumed.encoder.state_dict().values(), strict=True
    )
    apart = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    assert apart < 1e-3, apart
    return [Figure("training: largest difference of weights after resuming", apart)]


def embed(device: str, sizes: Sizes) -> list[Figure]:
    """Embed nuclei, and see that the CPU gives the same."""
    encoder = build_encoder(SMALL, device=device).eval()
    crops, _ = draw_crops(sizes.nuclei)
    pool = NucleusPool(load_crops(crops)).to(device)
    few = NucleusPool(pool.crops[:64])
    embed_pool(encoder, few, batch_size=4096)
    seconds, found = clock(lambda: embed_pool(encoder, pool, batch_size=4096), device)
    assert found.shape[0] == sizes.nuclei
    here = build_encoder(SMALL).eval()
    here.load_state_dict({name: value.cpu() for name, value in encoder.state_dict().items()})
    exact = embed_pool(encoder, few, precision="float32")
    np.testing.assert_allclose(
        exact, embed_pool(here, few.to("cpu"), precision="float32"), rtol=1e-3, atol=1e-3
    )
    return [Figure("embedding: nuclei/s", sizes.nuclei / seconds, 100_000)]


def occlude(device: str, sizes: Sizes) -> list[Figure]:
    """Hide parts of nuclei and see how far the class' probability falls."""
    encoder = build_encoder(SMALL, device=device).eval()
    crops, labels = draw_crops(16)
    pool = NucleusPool(load_crops(crops)).to(device)
    images = pool.draw(SMALL, torch.arange(16, device=pool.device), device=device)
    seconds, maps = clock(lambda: map_occlusion(encoder, images, labels), device)
    assert np.isfinite(maps["nucleus"]).all()
    return [Figure("occlusion: nuclei/s", 16 / seconds)]


def pack(device: str, sizes: Sizes) -> list[Figure]:
    """Measure how many trainings at once make the most of the device."""
    found = measure_packings(device, most=4 if device == "cuda" else 1, seconds=sizes.seconds)
    best = max(packing.nuclei_per_s for packing in found)
    return [
        Figure("packing: trainings at once", choose_packing(found)),
        Figure("packing: nuclei/s of all", best),
    ]


def run_out_of_memory(device: str, sizes: Sizes) -> list[Figure]:
    """Leave too little memory for a batch: it is halved, and the result is the same."""
    encoder = build_encoder(SMALL, device=device).eval()
    crops, _ = draw_crops(min(sizes.nuclei, 8_192))
    pool = NucleusPool(load_crops(crops)).to(device)
    whole = embed_pool(encoder, pool, batch_size=256, precision="float32")
    with little_memory(encoder, device):
        tight = embed_pool(encoder, pool, batch_size=len(crops), precision="float32")
    np.testing.assert_allclose(tight, whole, rtol=1e-3, atol=1e-3)
    return [Figure("out of memory: nuclei embedded all the same", len(tight))]


@contextmanager
def little_memory(encoder: torch.nn.Module, device: str) -> Iterator[None]:
    """Let a card have 600 MB for this process; on a CPU refuse more than 16 nuclei at a time."""
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, 600e6 / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    embed_images = encoder.embed

    def tight(images: Any) -> Any:
        if len(images["nucleus"]) > 16:
            raise torch.OutOfMemoryError("out of memory")
        return embed_images(images)

    encoder.embed = tight  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        encoder.embed = embed_images  # type: ignore[method-assign]


def run_pipeline(device: str, sizes: Sizes) -> list[Figure]:
    """Run a screen by networks on GPU workers beside CPU workers, and see who did what."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = write_plate(folder / "plate", shape=(96, 128))
        content = describe_pipeline(plate, screen=True)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
        n_gpu: Any = "auto" if device == "cuda" else 1
        cluster = {"type": "local", "cpu": {"n_workers": 1}, "gpu": {"n_workers": n_gpu}}
        (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster))
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "i2r", "run", str(folder / "pipeline.yaml"), str(folder / "e"),
             "--cluster", str(folder / "cluster.yaml"), "--progress", "none"],
            check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        done = [
            json.loads(line)
            for path in (folder / "e" / "ledger").glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
    workers: dict[str, set[str]] = {}
    for event in done:
        if event.get("event") == "done" and event.get("worker"):
            workers.setdefault(event["stage"], set()).add(str(event["worker"]))
    assert all(w.startswith("gpu") for w in workers["screen"]), workers
    assert all(w.startswith("cpu") for w in workers["convert"]), workers
    return [Figure("pipeline on CPU and GPU workers: seconds", seconds)]


PARTS: dict[str, Callable[[str, Sizes], list[Figure]]] = {
    "segment": segment,
    "adapt": adapt_segmenter,
    "cnn": train_classifiers,
    "published": train_published,
    "resume": train_and_resume,
    "embed": embed,
    "occlusion": occlude,
    "packing": pack,
    "memory": run_out_of_memory,
    "pipeline": run_pipeline,
}


def clock(function: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Time a call, with all that it left to the card."""
    start = time.perf_counter()
    value = function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


def main() -> None:
    """Run the parts that are asked for; exit code 1 if one fails or misses its bar on a card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"],
                        default="cuda" if torch.cuda.is_available() else "cpu")  # fmt: skip
    parser.add_argument("--part", action="append", choices=list(PARTS), help="default: all")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    sizes = CARD if options.device == "cuda" else TINY
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU, tiny sizes, no bars"
    print(f"{name}, torch {torch.__version__}", flush=True)
    failed = False
    for part in options.part or PARTS:
        start = time.perf_counter()
        try:
            figures = PARTS[part](options.device, sizes)
        except Exception as error:
            failed = True
            print(
                f"{part}: FAILED after {time.perf_counter() - start:.1f} s: {error!r}", flush=True
            )
            continue
        for figure in figures:
            missed = (
                options.device == "cuda"
                and figure.least is not None
                and figure.value < figure.least
            )
            failed |= missed
            bar = f"  bar {figure.least:g}{' MISSED' if missed else ''}" if figure.least else ""
            print(f"{figure.name:58} {figure.value:12,.2f}{bar}")
        print(f"{part}: {time.perf_counter() - start:.1f} s", flush=True)
    sys.exit(int(failed))
