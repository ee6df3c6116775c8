"""Fields with known nuclei as minibatches: windows, deformed and varied in brightness.

Everything random comes from a generator that the caller seeds per minibatch, so a training that
was interrupted goes on with the very minibatches it would have had.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.unet_inference import measure_brightness, normalise

MAGNIFICATION = 1.3
"""Middle of the magnifications in training: the network works at half the resolution, and small
nuclei are told apart better when they are magnified first."""

MARGIN_PX = 16
"""Labels are known this far beyond the window, so that targets know nuclei that it cuts."""


class Example(NamedTuple):
    """A field with its true labels, in memory.

    Attributes
    ----------
    image
        Shape (y, x), float32, normalised.
    labels
        Shape (y, x), float32, 0 = background, -1 = not known; exact up to 2**24 nuclei.
    """

    image: Tensor
    labels: Tensor


class Windows(NamedTuple):
    """A minibatch.

    Attributes
    ----------
    images
        Shape (window, 1, y, x), float32, normalised.
    labels
        Shape (window, y + 2 margins, x + 2 margins), int64, 0 = background.
    inside
        Like the labels, bool: False where the window reaches beyond its field, and where labels
        are not known.
    """

    images: Tensor
    labels: Tensor
    inside: Tensor


def make_example(image: npt.NDArray[Any], labels: npt.NDArray[np.integer]) -> Example:
    """Normalise a field for training.

    Parameters
    ----------
    image
        Shape (y, x), any number type, finite.
    labels
        Shape (y, x), integers, 0 = background.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if image.shape != labels.shape or image.ndim != 2:
        raise ValueError(f"image is {image.shape}, labels {labels.shape}, expected one (y, x)")
    scaled = normalise(image, measure_brightness(image))
    return Example(torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.float32)))


def cut_example(
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.integer],
    box: tuple[int, int, int, int],
    *,
    context_px: int,
) -> Example:
    """Make a training example of a part of a field, the only part whose nuclei are known.

    Parameters
    ----------
    image
        Shape (y, x), the whole field: its brightness is that of the field.
    labels
        Shape (y1 - y0, x1 - x0), integers, 0 = background: those of the part.
    box
        y0, x0, y1, x1 of the part, half open.
    context_px
        How much of the field around the part the network sees.

    Returns
    -------
    Example
        Not known: what lies around the part, and nuclei that the part's edge cuts, since their
        centres may be outside; the field's own edge cuts nothing off.

    Raises
    ------
    ValueError
        If labels and box differ in shape.
    """
    y0, x0, y1, x1 = box
    height, width = image.shape
    if labels.shape != (y1 - y0, x1 - x0):
        raise ValueError(f"labels are {labels.shape}, expected {(y1 - y0, x1 - x0)}")
    edges = [
        labels[side]
        for side, is_cut in (
            (np.s_[:1], y0 > 0), (np.s_[-1:], y1 < height),
            (np.s_[:, :1], x0 > 0), (np.s_[:, -1:], x1 < width),
        )
        if is_cut
    ]  # fmt: skip
    cut = np.unique(np.concatenate([edge.ravel() for edge in edges])) if edges else labels[:0, 0]
    known = labels.astype(np.float32)
    known[np.isin(labels, cut[cut > 0])] = -1
    top, left = max(y0 - context_px, 0), max(x0 - context_px, 0)
    part = image[top : y1 + context_px, left : x1 + context_px]
    whole = np.full(part.shape, -1, dtype=np.float32)
    whole[y0 - top : y1 - top, x0 - left : x1 - left] = known
    scaled = normalise(part, measure_brightness(image))
    return Example(torch.from_numpy(scaled), torch.from_numpy(whole))


def draw_windows(
    examples: Sequence[Example],
    probabilities: npt.NDArray[np.float64],
    *,
    n_windows: int,
    side_px: int,
    random: np.random.Generator,
    magnification: float = MAGNIFICATION,
    crowded: float = 0.0,
) -> Windows:
    """Draw a minibatch of windows.

    A third of the windows are turned by right angles only and magnified once or 1.5 times; the
    others are turned by any angle, magnified 0.6 to 2.9 times (mostly 1 to 1.7 times) and partly
    bent. All may be mirrored. Brightness is varied by `vary_brightness`.

    Parameters
    ----------
    examples
        Fields to draw from, any sizes.
    probabilities
        Shape (example,), sums to 1.
    n_windows, side_px
        Size of the minibatch.
    random
        Source of all randomness.
    magnification
        Another middle of the magnifications than `MAGNIFICATION`; all above change with it.
    crowded
        Share of the windows to which nuclei of another window are added, so that they touch
        more often than they do in the fields.

    Returns
    -------
    Windows
        Beyond a field its image is mirrored, and ``inside`` is False.
    """
    drawn = []
    for chosen in random.choice(len(examples), size=n_windows, p=probabilities):
        example = examples[int(chosen)]
        window = _cut_window(example, side_px + 2 * MARGIN_PX, magnification, random)
        if crowded and random.random() < crowded:
            other = _cut_window(example, side_px + 2 * MARGIN_PX, magnification, random)
            window = _add_nuclei(window, other, random)
        drawn.append(window)
    labels = torch.stack([labels for _, labels in drawn]).long()
    cut = slice(MARGIN_PX, -MARGIN_PX)
    images = torch.stack([vary_brightness(image[:, cut, cut], random) for image, _ in drawn])
    return Windows(images, (labels - 1).clamp(min=0), labels > 0)


def _cut_window(
    example: Example, side: int, magnification: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a window: its image (1, y, x), and its labels (y, x) plus 1, 0 where not known."""
    grid = _draw_grid(example.image.shape, side, magnification, random)
    image = functional.grid_sample(
        example.image[None, None], grid, padding_mode="reflection", align_corners=False
    )
    # One is added so that what lies outside, filled with 0, is told from background.
    labels = functional.grid_sample(
        example.labels[None, None] + 1, grid, mode="nearest", align_corners=False
    )
    return image[0], labels[0, 0]


def _add_nuclei(
    window: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Add nuclei of another window of the same field where little of them would be covered.

    Light adds up, so the sum of two images is what a camera would have seen. A nucleus is added
    whole, or where up to a tenth of it lies on others, which keep those pixels.
    """
    (image, labels), (added, numbers) = window, other
    n = int(numbers.max()) + 1
    area = torch.bincount(numbers.flatten().long(), minlength=n)
    covered = torch.bincount(
        numbers.flatten().long(), weights=(labels != 1).flatten().float(), minlength=n
    )
    fits = (covered <= 0.1 * area) & (torch.from_numpy(random.random(n)) < 0.7)
    fits[:2] = False
    chosen = fits[numbers.long()]
    # A soft rim, so that no edge shows that the light itself does not have.
    mask = functional.max_pool2d(chosen[None].float(), 5, 1, 2)
    mask = functional.avg_pool2d(mask[None], 3, 1, 1)[0]
    dark = added[(numbers == 1)[None]]
    background = dark.median() if dark.numel() else added.min()
    image = image + mask * (added - background).clamp(min=0)
    free = chosen & (labels == 1)
    return image, torch.where(free, numbers + labels.max(), labels)


def _draw_grid(
    shape: Sequence[int], side: int, magnification: float, random: np.random.Generator
) -> Tensor:
    """Draw where a window's pixels lie in a field, in the coordinates of `grid_sample`."""
    height, width = shape
    upright = random.random() < 0.35
    if upright:
        zoom = (1.0 if random.random() < 0.4 else 1.5) * magnification / MAGNIFICATION
        angle = int(random.integers(4)) * math.pi / 2
    else:
        spread = 0.28 if random.random() < 0.6 else 0.8
        zoom = magnification * math.exp(random.uniform(-spread, spread))
        angle = random.uniform(0, 2 * math.pi)
    mirror = 1.0 if random.random() < 0.5 else -1.0
    half = side / 2 / zoom
    centre_y = random.uniform(min(half, height / 2), max(height - half, height / 2))
    centre_x = random.uniform(min(half, width / 2), max(width - half, width / 2))
    if upright:
        centre_y, centre_x = round(centre_y), round(centre_x)
    steps = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2) / zoom
    down, along = torch.meshgrid(steps, steps * mirror, indexing="ij")
    cosine, sine = math.cos(angle), math.sin(angle)
    y = centre_y - 0.5 + cosine * down + sine * along
    x = centre_x - 0.5 - sine * down + cosine * along
    if not upright and random.random() < 0.6:
        # Smooth random displacements: Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801.
        n_knots = int(random.integers(3, 8))
        knots = torch.from_numpy(random.standard_normal((1, 2, n_knots, n_knots), np.float32))
        bend = functional.interpolate(knots, size=(side, side), mode="bicubic", align_corners=True)
        strength = random.uniform(0, 0.12) * side / n_knots / zoom
        y, x = y + strength * bend[0, 0], x + strength * bend[0, 1]
    return torch.stack([2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1], dim=-1)[None]


def vary_brightness(image: Tensor, random: np.random.Generator) -> Tensor:
    """Vary a window's focus, contrast, exposure, background and noise.

    Parameters
    ----------
    image
        Shape (1, y, x), normalised.
    random
        Source of all randomness.

    Returns
    -------
    Tensor
        Same shape. Each change is made in a part of the windows only.
    """
    if random.random() < 0.3:
        image = _blur(image, random.uniform(0.4, 1.6))
    if random.random() < 0.5:
        gamma = math.exp(random.uniform(-0.4, 0.4))
        image = image.clamp(min=0) ** gamma + image.clamp(max=0)
    image = image * math.exp(random.uniform(-0.5, 0.5))
    if random.random() < 0.3:
        angle, size = random.uniform(0, 2 * math.pi), random.uniform(0, 0.15)
        rows, columns = (torch.linspace(-1, 1, n) for n in image.shape[1:])
        ramp = math.cos(angle) * rows[:, None] + math.sin(angle) * columns[None]
        image = image * (1 + 2 * size * ramp) + size / 2 * (ramp + 1)
    else:
        image = image + random.uniform(-0.03, 0.08)
    if random.random() < 0.4:
        sigma = math.exp(random.uniform(math.log(0.005), math.log(0.1)))
        noise = torch.from_numpy(random.standard_normal(image.shape, dtype=np.float32))
        # Half of it grows with the root of the intensity, as photon noise does.
        image = image + sigma * (
            noise * image.clamp(0, 1).sqrt() if random.random() < 0.5 else noise
        )
    return image


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Smooth with a Gaussian of this standard deviation in pixels."""
    reach = max(round(3 * sigma), 1)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = functional.pad(image[None], (reach, reach, reach, reach), mode="reflect")
    rows = functional.conv2d(padded, weights[None, None, :, None])
    return functional.conv2d(rows, weights[None, None, None, :])[0]
