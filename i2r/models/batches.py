"""Nucleus crops in memory, and how minibatches are scaled, drawn and augmented.

Crops stay the integers they are on disk; scaling to floating point happens per minibatch on the
device, so memory is bounded by the crops themselves. All random numbers of a training are drawn at
once on the CPU: results don't depend on the device's generator, and no step waits for Python.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

ScaleMethod = Literal["plate", "nucleus"]


class Scaling(NamedTuple):
    """How integer crops become floating point.

    Attributes
    ----------
    method
        ``plate``: one fixed range per channel, so absolute intensity is kept. ``nucleus``: every
        nucleus' own range, so absolute intensity is discarded.
    low, high
        Per channel, in grey levels: what maps to 0 and to 1 under ``plate``; unused otherwise.
    """

    method: ScaleMethod
    low: tuple[float, ...]
    high: tuple[float, ...]


def load_crops(crops: npt.NDArray[Any], *, device: torch.device | str = "cpu") -> Tensor:
    """Put crops into a tensor on the device, as integers.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), uint8 or uint16 in native byte order, square.
    device
        Where the tensor goes.

    Returns
    -------
    Tensor
        Same shape: uint8, or int16 holding the bits of uint16, which torch can index on every
        device; `scale_crops` undoes it. The memory is shared with ``crops`` where that is
        possible (CPU, contiguous, writable).

    Raises
    ------
    ValueError
        If the shape isn't (nucleus, c, n, n), or the type neither uint8 nor uint16.
    """
    if crops.ndim != 4 or crops.shape[2] != crops.shape[3]:
        raise ValueError(f"crops have shape {crops.shape}, expected (nucleus, c, n, n)")
    if crops.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"crops are {crops.dtype}, expected uint8 or uint16")
    owned = np.require(crops, requirements=["C", "W"])
    return torch.from_numpy(owned.view(np.int16 if owned.itemsize == 2 else np.uint8)).to(device)


def measure_scaling(
    crops: npt.NDArray[Any],
    *,
    method: ScaleMethod,
    low_percent: float = 1.0,
    high_percent: float = 99.5,
) -> Scaling:
    """Measure the range that maps to 0 to 1, from control nuclei used in training.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), uint8 or uint16: the training control nuclei, never the held-out
        ones.
    method
        See `Scaling`. Nothing is measured for ``nucleus``.
    low_percent, high_percent
        Percentiles of all pixels of a channel; each is the smallest grey level that at least this
        share of the pixels doesn't exceed (``inverted_cdf`` in NumPy's terms).

    Returns
    -------
    Scaling
        ``high`` is at least one grey level above ``low``, so constant crops map to 0. Without
        any nucleus the range is that of the data type.

    Raises
    ------
    ValueError
        If the percentages don't ascend within 0 to 100.
    """
    if not 0 <= low_percent < high_percent <= 100:
        raise ValueError(f"percentages are {low_percent} and {high_percent}, expected 0 <= a < b")
    n_channels, n_levels = crops.shape[1], int(np.iinfo(crops.dtype).max) + 1
    if method == "nucleus" or crops.shape[0] == 0:
        return Scaling(method, (0.0,) * n_channels, (float(n_levels - 1),) * n_channels)
    low: list[float] = []
    high: list[float] = []
    for channel in range(n_channels):
        counts = np.zeros(n_levels, dtype=np.int64)
        for start in range(0, crops.shape[0], 512):
            counts += np.bincount(crops[start : start + 512, channel].ravel(), minlength=n_levels)
        n_below = counts.cumsum()
        ranks = np.array([low_percent, high_percent]) / 100 * n_below[-1]
        first, last = np.searchsorted(n_below, ranks).tolist()
        low.append(float(first))
        high.append(float(max(last, first + 1)))
    return Scaling(method, tuple(low), tuple(high))


def scale_crops(crops: Tensor, scaling: Scaling, *, bin_px: int = 1) -> Tensor:
    """Scale integer crops to floating point, and bin them if asked.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), from `load_crops`.
    scaling
        From `measure_scaling`. ``plate``: (I - low) / (high - low), clipped to [0, 4]; values above
        1 are kept because a treated nucleus may be brighter than any control. ``nucleus``: per
        nucleus and channel 255 (I - min) / (max - min), truncated to whole levels, then divided
        by 255, as Image2Reg prepares nuclei (Paysan et al., Cell Systems 16, 2025). A constant
        nucleus maps to 0.
    bin_px
        Side in pixels of the squares that are averaged to one; it divides the crop's side.

    Returns
    -------
    Tensor
        float32, shape (nucleus, c, y / bin_px, x / bin_px), channels last in memory.

    Raises
    ------
    ValueError
        If ``bin_px`` doesn't divide the crop's side.
    """
    if bin_px < 1 or crops.shape[-1] % bin_px:
        raise ValueError(f"bin_px is {bin_px}, expected a divisor of the side {crops.shape[-1]} px")
    if crops.dtype == torch.int16:
        scaled = (crops.to(torch.int32) & 0xFFFF).to(torch.float32)
    else:
        scaled = crops.to(torch.float32)
    if scaling.method == "nucleus":
        low = scaled.amin(dim=(2, 3), keepdim=True)
        span = (scaled.amax(dim=(2, 3), keepdim=True) - low).clamp_(min=1)
        scaled = ((scaled - low) * 255 / span).floor_().div_(255)
    else:
        offset = torch.tensor(scaling.low, device=crops.device).view(1, -1, 1, 1)
        span = torch.tensor(scaling.high, device=crops.device).view(1, -1, 1, 1) - offset
        scaled = scaled.sub_(offset).div_(span).clamp_(0, 4)
    if bin_px > 1:
        scaled = functional.avg_pool2d(scaled, bin_px)
    return scaled.contiguous(memory_format=torch.channels_last)


def augment_crops(crops: Tensor, gains: Tensor) -> Tensor:
    """Turn and mirror scaled crops, and change their brightness.

    Cells have no preferred orientation on a plate, and staining differs from well to well by more
    than the effect that is looked for; both are shown to the network as variation to ignore.

    Parameters
    ----------
    crops
        Shape (nucleus, c, n, n), float. The first eighth keeps its orientation, the others get the
        other seven of the square's symmetries, so nuclei have to come in random order.
    gains
        Shape (nucleus, c): factors on the intensity.

    Returns
    -------
    Tensor
        Same shape, channels last in memory.
    """
    turned = []
    for symmetry, part in enumerate(crops.chunk(8)):
        axes = [axis for axis, bit in ((2, 1), (3, 2)) if symmetry & bit]
        mirrored = part.flip(axes) if axes else part
        turned.append(mirrored.transpose(2, 3) if symmetry & 4 else mirrored)
    brightened = torch.cat(turned) * gains[:, :, None, None]
    return brightened.contiguous(memory_format=torch.channels_last)


def count_steps(
    n_treated: int, n_control: int, *, batch_size: int, passes: float, least: int, most: int
) -> int:
    """Count the minibatches of a training, from the size of the smaller class.

    Minibatches are class-balanced, so one pass over the smaller class takes 2 n / batch_size steps
    whatever the size of the other. Work per perturbation is thus bounded by ``most`` however many
    control nuclei a screen has.

    Parameters
    ----------
    n_treated, n_control
        Training nuclei of each class.
    batch_size
        Nuclei in a minibatch, both classes together.
    passes
        Times that each nucleus of the smaller class is seen, before the two bounds.
    least, most
        Bounds on the number of steps.

    Returns
    -------
    int
        Steps, from ``least`` to ``most``.
    """
    wanted = int(np.ceil(passes * 2 * min(n_treated, n_control) / batch_size))
    return min(max(wanted, least), most)


def draw_batches(
    is_treated: npt.NDArray[np.bool_],
    wells: npt.NDArray[Any],
    *,
    n_steps: int,
    batch_size: int,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw the nuclei of all minibatches, balanced over classes and over wells.

    Every minibatch is half treated and half control; within a class all wells contribute equally
    (to within one nucleus over the whole training), so a crowded well doesn't dominate. Within a
    well every nucleus is used once before any is used again.

    Parameters
    ----------
    is_treated
        Shape (nucleus,).
    wells
        Shape (nucleus,): well names, unique over plates.
    n_steps
        Minibatches.
    batch_size
        Nuclei in each; even.
    random
        Source of the draws.

    Returns
    -------
    ndarray of int64, shape (n_steps, batch_size)
        Positions of nuclei; treated at even places, controls at odd ones, wells in random order.

    Raises
    ------
    ValueError
        If a class has no nucleus or ``batch_size`` is odd.
    """
    if batch_size < 2 or batch_size % 2:
        raise ValueError(f"batch_size is {batch_size}, expected an even number")
    batches = np.empty((n_steps, batch_size), dtype=np.int64)
    for place, wanted in enumerate((True, False)):
        of_class = np.flatnonzero(is_treated == wanted)
        if of_class.size == 0:
            label = "treated" if wanted else "control"
            raise ValueError(f"no {label} nucleus to train on, expected one or more")
        n_needed = n_steps * batch_size // 2
        of_well = np.unique(wells[of_class], return_inverse=True)[1]
        n_wells = int(of_well.max()) + 1
        per_well = -(-n_needed // n_wells)
        streams = []
        for well in range(n_wells):
            nuclei = of_class[of_well == well]
            rounds = np.tile(nuclei, (-(-per_well // nuclei.size), 1))
            streams.append(random.permuted(rounds, axis=1).ravel()[:per_well])
        drawn = np.stack(streams, axis=1).ravel()[:n_needed].reshape(n_steps, -1)
        batches[:, place::2] = random.permuted(drawn, axis=1)
    return batches
