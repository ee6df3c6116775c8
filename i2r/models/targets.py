"""What the segmentation network has to predict for known labels, and how wrong it is."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.examples import MARGIN_PX
from i2r.models.unet import OFFSET_UNIT_PX

SPOT_SIZE = 0.2
"""Standard deviation of the spot around a centre, in roots of the nucleus' area."""

MIN_SPOT_PX = 1.2
"""Smallest such standard deviation in pixels."""

MIN_AREA_PX = 25
"""The overlap of smaller nuclei, or of parts that a window's edge leaves, does not count."""

REACH_PX = 3
"""Background this near to a nucleus counts against it where it is taken for foreground."""

TYPICAL_AREA_PX = 300
"""Offsets of smaller nuclei weigh more, of larger ones less, in inverse proportion."""


class Targets(NamedTuple):
    """What to predict, without the margin of the labels, and how much every pixel counts.

    Attributes
    ----------
    foreground, centre
        Shape (window, y, x): 1 in nuclei, and 1 at centres, falling to 0 around them.
    offset
        Shape (window, 2, y, x): to the centre along y and x, in `OFFSET_UNIT_PX`; 0 in background.
    weight, offset_weight
        Shape (window, y, x): of the maps, 0 outside the field; of the offsets, 0 in background.
    nearest
        Shape (window, y, x), int64: the nucleus of each pixel and of the background within
        `REACH_PX` of it, 1 to n over all windows, 0 elsewhere.
    """

    foreground: Tensor
    centre: Tensor
    offset: Tensor
    weight: Tensor
    offset_weight: Tensor
    nearest: Tensor


def make_targets(labels: Tensor, inside: Tensor) -> Targets:
    """Turn labels into what the network has to predict.

    Parameters
    ----------
    labels
        Shape (window, y, x), int64, with a margin of `MARGIN_PX`.
    inside
        Same shape, bool: where labels are known.

    Returns
    -------
    Targets
        A nucleus' centre is that of its visible pixels, margin included. Pixels within 2 px of
        an edge weigh 2.5 times as much as others, and those between two nuclei 5.5 times
        (after Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28).
    """
    n, height, width = labels.shape
    above = int(labels.max()) + 1
    ids = (labels + above * torch.arange(n)[:, None, None]).flatten()
    y = torch.arange(height, dtype=torch.float32)[None, :, None].expand(n, height, width)
    x = torch.arange(width, dtype=torch.float32)[None, None].expand(n, height, width)
    area = torch.bincount(ids, minlength=n * above).float().clamp(min=1)
    foreground = labels > 0
    offset = torch.stack(
        [
            ((torch.bincount(ids, weights=v.flatten(), minlength=n * above) / area)[ids])
            .view(n, height, width)
            .sub(v)
            .mul(foreground)
            for v in (y, x)
        ],
        dim=1,
    )
    areas = area[ids].view(n, height, width)
    variance = (SPOT_SIZE**2 * areas).clamp(min=MIN_SPOT_PX**2)
    centre = torch.exp(-offset.square().sum(dim=1) / (2 * variance)) * foreground

    highest = _find_highest(labels, reach_px=2)
    lowest = -_find_highest(-labels, reach_px=2)
    upside_down = torch.where(labels > 0, above - labels, 0)
    lowest_nucleus = above - _find_highest(upside_down, reach_px=2)
    is_edge = highest != lowest
    is_contact = (highest > 0) & (lowest_nucleus != highest)
    weight = (1.0 + 1.5 * is_edge + 3.0 * is_contact) * inside
    offset_weight = (TYPICAL_AREA_PX / areas).clamp(0.25, 3.0) * (foreground & inside)

    cut = (slice(None), slice(MARGIN_PX, -MARGIN_PX), slice(MARGIN_PX, -MARGIN_PX))
    return Targets(
        foreground=foreground[cut].float(),
        centre=centre[cut].float(),
        offset=offset[(slice(None), *cut)].float() / OFFSET_UNIT_PX,
        weight=weight[cut].float(),
        offset_weight=offset_weight[cut].float(),
        nearest=_number_regions(labels, above)[cut],
    )


def _number_regions(labels: Tensor, above: int) -> Tensor:
    """Give background near nuclei the number of the nearest; numbers differ between windows."""
    grown = labels
    for _ in range(REACH_PX):
        grown = torch.where(grown > 0, grown, _find_highest(grown, reach_px=1))
    return (grown + above * torch.arange(len(labels))[:, None, None]) * (grown > 0)


def _find_highest(values: Tensor, *, reach_px: int) -> Tensor:
    """Give the maximum of the square around each pixel, which reaches so far on all sides.

    Maxima of shifted copies are ten times as fast as `max_pool2d`, which also notes where each is.
    """
    for axis in (-2, -1):
        n = values.shape[axis]
        for _ in range(reach_px):
            highest = values.clone()
            later, earlier = highest.narrow(axis, 1, n - 1), highest.narrow(axis, 0, n - 1)
            torch.maximum(later, values.narrow(axis, 0, n - 1), out=later)
            torch.maximum(earlier, values.narrow(axis, 1, n - 1), out=earlier)
            values = highest
    return values


def measure_loss(maps: Tensor, targets: Targets, *, outlines: float = 0.0) -> Tensor:
    """Measure how wrong predicted maps are.

    Parameters
    ----------
    maps
        Shape (window, 4, y, x), from `i2r.models.unet.NucleusUNet`.
    targets
        From `make_targets`.
    outlines
        How much the overlap of single nuclei counts, small ones like large ones: it is what a
        segmentation is scored by, and a pixel of the outline decides it.

    Returns
    -------
    Tensor
        A scalar: cross-entropy and overlap (Dice; Milletari et al. 2016,
        doi:10.1109/3DV.2016.79) of the foreground, cross-entropy of the centres, and a smooth
        absolute error of the offsets.
    """
    weight = targets.weight
    known = (weight > 0).float()
    foreground = _mean_cross_entropy(maps[:, 0], targets.foreground, weight)
    probability = torch.sigmoid(maps[:, 0]) * known
    truth = targets.foreground * known
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    centre = _mean_cross_entropy(maps[:, 1], targets.centre, known * (1 + 4 * targets.centre))
    error = functional.smooth_l1_loss(maps[:, 2:], targets.offset, reduction="none", beta=0.25)
    offset = (error.sum(dim=1) * targets.offset_weight).sum()
    offset = offset / targets.offset_weight.sum().clamp(min=1)
    loss = foreground + 0.3 * dice + centre + 0.5 * offset
    return loss + outlines * _miss_nuclei(probability, targets) if outlines else loss


def _miss_nuclei(probability: Tensor, targets: Targets) -> Tensor:
    """Give the mean over nuclei of 1 - IoU, of probabilities with the truth around each."""
    numbers, region = torch.unique(targets.nearest, return_inverse=True)
    region = region.flatten()
    truth = targets.foreground.flatten()

    def total(values: Tensor) -> Tensor:
        return torch.zeros(len(numbers), device=values.device).index_add(0, region, values)

    area, size = total(truth), total(torch.ones_like(truth))
    known = total((targets.weight > 0).flatten().float()) == size
    inside = total(probability.flatten() * truth)
    outside = total(probability.flatten() * (1 - truth))
    counts = known & (numbers > 0) & (area >= MIN_AREA_PX)
    missed = 1 - inside / (area + outside).clamp(min=1)
    return (missed * counts).sum() / counts.sum().clamp(min=1)


def _mean_cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    total = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    return total / weight.sum().clamp(min=1)
