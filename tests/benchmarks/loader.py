"""The data path of training against the published per-sample loader, and training steps.

``python -m tests.benchmarks.loader`` prints samples per second of one thread, and how much of a
training step is the network's own work. With an NVIDIA GPU it also trains the published network
both ways on the card. The two ways take turns, so that a busy machine slows both; ratios are
medians over the rounds.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from i2r.kernels.regions import frame_field, place_windows, scale_field
from i2r.models.batches import load_crops
from i2r.models.encoder import IMAGENET_MEAN, IMAGENET_STD, EncoderSettings, build_encoder
from i2r.models.pools import NucleusPool, draw_turns
from i2r.models.train_encoder import EncoderTraining, Parts, _Training
from tests.benchmarks.kernels import Bar, print_bars

N_FIELDS, N_NUCLEI, FIELD_PX, WINDOW_PX = 8, 64, 1080, 448
BATCH = 32
PUBLISHED = EncoderSettings(
    architecture="resnet18", view="nucleus+region", classes=("EMPTY", "JUN"), embedding_dim=512,
    nucleus_px=224, region_px=224, window_px=WINDOW_PX, halved=False, scale="nucleus",
)  # fmt: skip
RECIPE = EncoderTraining(
    optimizer="adam", learning_rate=1e-5, weight_decay=5e-4, decay=False, batch_size=BATCH,
    augmentation="flips",
)  # fmt: skip


class Sources(NamedTuple):
    """The same nuclei as files, for the published loader, and in memory, for ours."""

    nuclei: list[Path]
    fields: list[Path]
    of_field: np.ndarray
    centroids: np.ndarray
    full: NucleusPool
    halved: NucleusPool


def write_sources(folder: Path) -> Sources:
    """Write simulated fields and padded nuclei as TIFF, and put them into pools."""
    random = np.random.default_rng(0)
    fields, planes = [], []
    for number in range(N_FIELDS):
        plane = random.gamma(2.0, 900.0, (FIELD_PX, FIELD_PX)).astype(np.uint16)
        fields.append(folder / f"field-{number}.tif")
        tifffile.imwrite(fields[-1], plane, compression="lzw")
        planes.append(plane)
    of_field = np.repeat(np.arange(N_FIELDS), N_NUCLEI)
    centroids = random.uniform(0, FIELD_PX - 1, (of_field.size, 2))
    tiles = np.zeros((of_field.size, 64, 64), np.uint8)
    tiles[:, 16:48, 16:48] = random.integers(1, 256, (of_field.size, 32, 32))
    nuclei = [folder / f"nucleus-{number}.tif" for number in range(of_field.size)]
    for path, tile in zip(nuclei, tiles, strict=True):
        tifffile.imwrite(path, tile)
    pools = []
    for halved in (False, True):
        framed = [frame_field(scale_field(p), size_px=WINDOW_PX, halved=halved) for p in planes]
        places = place_windows(centroids[:, 0], centroids[:, 1], halved=halved)
        pools.append(
            NucleusPool(
                load_crops(tiles[:, None]),
                torch.from_numpy(np.stack(framed)[:, None]),
                torch.from_numpy(np.concatenate([of_field[:, None], places], axis=1)),
                WINDOW_PX // 2 if halved else WINDOW_PX,
            )
        )
    return Sources(nuclei, fields, of_field, centroids, *pools)


class PublishedDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A nucleus and its region from files, as published: the whole field for every nucleus."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources.nuclei)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        field = tifffile.imread(self.sources.fields[self.sources.of_field[index]])
        low, high = np.percentile(field, 0.1), np.percentile(field, 99.9)
        grey = (np.clip((field - low) / high, 0, 1) * 255).astype(np.uint8)
        padded = np.pad(grey, WINDOW_PX, constant_values=int(np.percentile(grey, 1)))
        y, x = self.sources.centroids[index].astype(int) + WINDOW_PX - WINDOW_PX // 2
        region = padded[y : y + WINDOW_PX, x : x + WINDOW_PX]
        return _to_tensor(tifffile.imread(self.sources.nuclei[index])), _to_tensor(region)


def _to_tensor(tile: np.ndarray) -> torch.Tensor:
    """Resize, mirror at random, repeat to three channels, and normalise one image."""
    image = Image.fromarray(tile).resize((224, 224), Image.Resampling.BILINEAR)
    for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
        if torch.rand(1) < 0.5:
            image = image.transpose(flip)
    grey = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).expand(3, -1, -1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (grey - mean) / std


def draw_epoch(pool: NucleusPool, settings: EncoderSettings, *, device: str = "cpu") -> int:
    """Draw every nucleus of a pool once, in minibatches."""
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.permutation(len(pool.crops))).to(pool.device)
    turns = draw_turns(random, len(rows), 2, transposed=False)
    n_drawn = 0
    for part, turn in zip(rows.split(BATCH), turns.split(BATCH), strict=True):
        images = pool.draw(settings, part, turns=turn, device=device)
        n_drawn += len(images["region"])
    return n_drawn


def print_data_path(sources: Sources) -> list[Bar]:
    """Print samples per second of both ways; give the bar."""
    published, few = PublishedDataset(sources), range(0, len(sources.nuclei), 40)
    half = replace(PUBLISHED, halved=True)
    draw_epoch(sources.full, PUBLISHED), draw_epoch(sources.halved, half)
    rates: dict[str, list[float]] = {"published": [], "exact": [], "halved": []}
    for _ in range(5):
        rates["published"].append(len(few) / _time(lambda: [published[n] for n in few]))
        for name, pool, settings in (
            ("exact", sources.full, PUBLISHED), ("halved", sources.halved, half),
        ):  # fmt: skip
            seconds = _time(lambda p=pool, s=settings: draw_epoch(p, s))
            rates[name].append(len(sources.nuclei) / seconds)
    for name, values in rates.items():
        print(f"{name:10} {statistics.median(values):10,.1f} samples/s")
    bars = []
    for name, words in (("exact", "full-size fields"), ("halved", "halved fields")):
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(rates[name], rates["published"], strict=True)
        )
        bars.append(Bar(f"data path, {words}: samples/s, times published", ratio, 20))
    return bars


class Resident:
    """A pool whose images are on the device already: what is left is the network's own work."""

    def __init__(self, images: dict[str, torch.Tensor], crops: torch.Tensor) -> None:
        self.images, self.crops, self.device = images, crops, crops.device

    def draw(self, settings: EncoderSettings, rows: torch.Tensor, **options: Any) -> Any:
        """Give the same images whatever is asked for."""
        return {name: image[: len(rows)] for name, image in self.images.items()}


def time_steps(
    pool: Any, settings: EncoderSettings, training: EncoderTraining, n_nuclei: int, device: str
) -> float:
    """Take training steps on a pool; give the seconds of one."""
    labels = np.arange(n_nuclei) % 2
    rows = np.arange(n_nuclei)
    run = _Training(
        pool, labels, Parts(rows, rows[:0]), settings, training, np.random.SeedSequence(0), device,
        None,
    )  # fmt: skip
    run.encoder.train()
    batches = run._draw(np.random.default_rng(0))
    for batch in batches[:2]:
        run._take_step(*batch)

    def step() -> None:
        for batch in batches:
            run._take_step(*batch)
        if device == "cuda":
            torch.cuda.synchronize()

    return _time(step) / len(batches)


def compare_steps(
    pool: NucleusPool, settings: EncoderSettings, training: EncoderTraining, device: str
) -> float:
    """Give the share of a training step that the same step takes on resident tensors."""
    n_nuclei = len(pool.crops)
    rows = torch.arange(training.batch_size, device=pool.device)
    resident = Resident(pool.draw(settings, rows, device=device), pool.crops)
    shares = []
    for _ in range(3):
        ours = time_steps(pool, settings, training, n_nuclei, device)
        alone = time_steps(resident, settings, training, n_nuclei, device)
        shares.append(alone / ours)
        print(f"step {1e3 * ours:8.1f} ms, on resident tensors {1e3 * alone:8.1f} ms")
    return statistics.median(shares)


def print_steps(sources: Sources) -> list[Bar]:
    """Print steps on this processor: our small network, both branches."""
    settings = EncoderSettings(
        view="nucleus+region", classes=("a", "b"), nucleus_px=64, region_px=112,
        scale="nucleus",
    )  # fmt: skip
    training = EncoderTraining(batch_size=64)
    print("small network, nucleus and region, batch 64:")
    share = compare_steps(sources.halved, settings, training, "cpu")
    return [Bar("CPU: resident step, share of ours (bar is a GPU's)", share, 0.7)]


def print_card(sources: Sources) -> list[Bar]:
    """Print whole training on a card both ways: the published network, one epoch each."""
    if not torch.cuda.is_available():
        print("GPU: not measured, there is none here")
        return []
    print(torch.cuda.get_device_name())
    encoder = build_encoder(PUBLISHED, device="cuda").to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-5, weight_decay=5e-4)
    loader = DataLoader(
        PublishedDataset(sources), BATCH, shuffle=True, num_workers=15, drop_last=True
    )

    def published() -> None:
        for nucleus, region in loader:
            target = torch.arange(len(nucleus), device="cuda") % 2
            logits = encoder({"nucleus": nucleus.cuda(), "region": region.cuda()})
            loss = torch.nn.functional.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        torch.cuda.synchronize()

    published()
    theirs = _time(published) / (len(sources.nuclei) // BATCH)
    pool = sources.full.to("cuda")
    ours = time_steps(pool, PUBLISHED, RECIPE, len(sources.nuclei), "cuda")
    print(f"published {BATCH / theirs:,.0f} samples/s, ours {BATCH / ours:,.0f}")
    share = compare_steps(pool, PUBLISHED, RECIPE, "cuda")
    return [
        Bar("GPU: training, times published", theirs / ours, 10),
        Bar("GPU: resident step, share of ours", share, 0.7),
    ]


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Print everything, the bars at the end."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        sources = write_sources(Path(name))
        print_bars(print_data_path(sources) + print_steps(sources) + print_card(sources))


if __name__ == "__main__":
    main()
