"""Train the segmentation network: a fixed number of steps, averaged weights, checkpoints."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from i2r.models.cnn import choose_precision, mix_precision
from i2r.models.examples import MAGNIFICATION, Example, draw_windows
from i2r.models.saved import load_tensors
from i2r.models.targets import make_targets, measure_loss
from i2r.models.unet import WIDTHS, NucleusUNet
from i2r.models.unet_inference import compress


@dataclass(frozen=True)
class UNetSettings:
    """How the network is trained.

    Attributes
    ----------
    n_steps
        Optimiser steps.
    n_windows, n_parts
        Windows per step, in so many parts that are predicted one after the other: batch
        normalisation sees one part at a time, and memory is that of a part.
    side_px
        Side of a window, a multiple of 16.
    learning_rate, weight_decay
        Of AdamW. The rate rises over 100 steps, and falls linearly to nearly zero over the last
        40 % of the steps.
    seed
        Of weights, windows and their deformations.
    widths
        See `NucleusUNet`.
    outlines
        How much the overlap of single nuclei counts, see `i2r.models.targets.measure_loss`.
    crowded
        Share of windows with more nuclei than there are, see `i2r.models.examples.draw_windows`.
    magnification
        Middle of the magnifications in training, see `i2r.models.examples.draw_windows`.
    freeze_norm
        Batch normalisation keeps the means and variances that the network came with: a few
        images are too few to measure them.
    """

    n_steps: int = 3400
    n_windows: int = 12
    n_parts: int = 2
    side_px: int = 192
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    widths: tuple[int, ...] = WIDTHS
    outlines: float = 0.0
    crowded: float = 0.0
    magnification: float = MAGNIFICATION
    freeze_norm: bool = False


# Steps between two checkpoints: a few minutes on two cores.
CHECKPOINT_STEPS = 200
# The averaged weights' memory in steps; shorter in the beginning.
_AVERAGING_STEPS = 500


def fit_unet(
    examples: Sequence[Example],
    probabilities: npt.NDArray[np.float64],
    *,
    settings: UNetSettings,
    start: NucleusUNet | None = None,
    device: torch.device | str = "cpu",
    checkpoint: bytes | None = None,
    checkpoint_steps: int | None = None,
    save: Callable[[bytes], object] | None = None,
    report: Callable[[int, float], None] | None = None,
) -> NucleusUNet:
    """Train the segmentation network.

    Parameters
    ----------
    examples
        Fields with known labels.
    probabilities
        Shape (example,): how often each is drawn; sums to 1.
    settings
        See `UNetSettings`.
    start
        A network of the same widths to go on from (`unet_inference.unpack_weights`), which
        stays as it is; None for random weights.
    device
        Where to train.
    checkpoint
        What ``save`` was given last: the training goes on there.
    checkpoint_steps
        Steps between two checkpoints; None for `CHECKPOINT_STEPS`.
    save
        Is given the state of the training every so many steps and at the end.
    report
        Is given the number of steps and the mean loss since the last call, as often.

    Returns
    -------
    NucleusUNet
        With the exponential moving average of the weights (Polyak and Juditsky 1992,
        doi:10.1137/0330046), in evaluation mode. On one kind of processor two calls with the
        same examples, settings and number of threads give the same bits, interrupted or not.

    Raises
    ------
    ValueError
        If the checkpoint is of a training with other settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = NucleusUNet(settings.widths)
    if start is not None:
        network.load_state_dict(start.state_dict())
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    first = 0
    if checkpoint is not None:
        first = _restore(checkpoint, network, average, optimizer, settings)
    losses = []
    network.train()
    if settings.freeze_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    every = CHECKPOINT_STEPS if checkpoint_steps is None else checkpoint_steps
    for step in range(first, settings.n_steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _shape_rate(step, n_steps=settings.n_steps)
        losses.append(_take_step(network, optimizer, examples, probabilities, settings, step))
        _update_average(average, network, step)
        if (step + 1) % every == 0 or step + 1 == settings.n_steps:
            if save is not None:
                save(_pack(network, average, optimizer, settings, step + 1))
            if report is not None:
                report(step + 1, float(np.mean(losses)))
            losses = []
    network.load_state_dict(average)
    return network.eval()


def _take_step(
    network: NucleusUNet,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[Example],
    probabilities: npt.NDArray[np.float64],
    settings: UNetSettings,
    step: int,
) -> float:
    """Take one optimiser step; returns the loss."""
    device = next(network.parameters()).device
    dtype = choose_precision(device, "auto")
    optimizer.zero_grad()
    total = 0.0
    for part in range(settings.n_parts):
        windows = draw_windows(
            examples,
            probabilities,
            n_windows=settings.n_windows // settings.n_parts,
            side_px=settings.side_px,
            magnification=settings.magnification,
            crowded=settings.crowded,
            random=np.random.default_rng([settings.seed, step, part]),
        )
        targets = make_targets(windows.labels, windows.inside)
        targets = type(targets)(*(value.to(device) for value in targets))
        inputs = compress(windows.images.to(device)).contiguous(memory_format=torch.channels_last)
        with mix_precision(device, dtype):
            maps = network(inputs)
        loss = measure_loss(maps, targets, outlines=settings.outlines) / settings.n_parts
        torch.autograd.backward(loss)
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return total


def _shape_rate(step: int, *, n_steps: int) -> float:
    """Return the learning rate as a share of its peak: a linear rise, a plateau, a linear fall."""
    falling = (1 - step / n_steps) / 0.4
    return min(1.0, (step + 1) / 100) * min(1.0, falling + 0.003)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: NucleusUNet, step: int) -> None:
    """Move the averaged weights a little towards the current ones."""
    keep = min(1 - 1 / _AVERAGING_STEPS, (step + 1) / (step + 20))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:
            average[name].copy_(value)


def _pack(
    network: NucleusUNet,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    settings: UNetSettings,
    step: int,
) -> bytes:
    file = io.BytesIO()
    content = {
        "network": network.state_dict(),
        "average": average,
        "optimizer": optimizer.state_dict(),
        "settings": _comparable(settings),
        "step": step,
    }
    torch.save(content, file)
    return file.getvalue()


def _restore(
    checkpoint: bytes,
    network: NucleusUNet,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    settings: UNetSettings,
) -> int:
    """Put a checkpoint's state in place; returns how many steps were taken."""
    state = load_tensors(checkpoint)
    # A checkpoint from before a setting existed was made with its default.
    made_with = {**_comparable(UNetSettings()), **state["settings"]}
    if made_with != _comparable(settings):
        differing = [n for n, value in _comparable(settings).items() if made_with.get(n) != value]
        raise ValueError(f"the checkpoint is of a training with another {', '.join(differing)}")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    step: int = state["step"]
    return step


def _comparable(settings: UNetSettings) -> dict[str, Any]:
    return {**asdict(settings), "widths": list(settings.widths)}


def share_equally(group_sizes: Sequence[int]) -> npt.NDArray[np.float64]:
    """Give every set of examples the same chance, and the examples of a set as well.

    Parameters
    ----------
    group_sizes
        Examples in each set, each at least 1.

    Returns
    -------
    ndarray of float64, shape (example,)
        Sums to 1.
    """
    total = math.fsum(n > 0 for n in group_sizes)
    return np.concatenate([np.full(n, 1 / (total * n)) for n in group_sizes if n])
