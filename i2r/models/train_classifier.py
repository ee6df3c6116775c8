"""Train a classifier that tells treated from control nuclei, and predict nuclei it never saw.

The number of steps is fixed beforehand and the learning rate falls to zero over them, so there is
no stopping rule that would need wells of its own: a perturbation has few, and a rule that looks at
the held-out wells would select on what is reported. Steps, width, jitter and the rest are the same
for every perturbation of a screen.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.batches import (
    ScaleMethod,
    Scaling,
    augment_crops,
    count_steps,
    draw_batches,
    load_crops,
    measure_scaling,
    scale_crops,
)
from i2r.models.cnn import (
    NucleusNetwork,
    Precision,
    build_network,
    choose_precision,
    measure_statistics,
    mix_precision,
)

# Minibatches that the final statistics of batch normalisation are measured on: 1,024 nuclei at the
# default size. 4 to 32 of them gave the same held-out calls on simulated nuclei.
_N_STATISTICS_BATCHES = 16


@dataclass(frozen=True)
class TrainingSettings:
    """What is the same for every training of a screen.

    Attributes
    ----------
    scale
        See `i2r.models.batches.Scaling`.
    bin_px
        Squares of so many pixels are averaged to one before the network; 1 keeps the resolution.
    widths
        See `i2r.models.cnn.NucleusNetwork`.
    batch_size
        Nuclei in a minibatch, even, half of each class.
    passes, min_steps, max_steps
        See `i2r.models.batches.count_steps`.
    learning_rate
        Peak of the rate, which rises over the first fifth of the steps and then falls along half a
        cosine (Loshchilov and Hutter, ICLR 2017, doi:10.48550/arXiv.1608.03983).
    weight_decay
        Decoupled weight decay of AdamW (Loshchilov and Hutter, ICLR 2019,
        doi:10.48550/arXiv.1711.05101).
    gain_jitter
        Standard deviation of the logarithm of the brightness factor that every crop and channel
        is multiplied by in training.
    precision
        See `i2r.models.cnn.choose_precision`.
    """

    scale: ScaleMethod = "plate"
    bin_px: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 64)
    batch_size: int = 64
    passes: float = 8.0
    min_steps: int = 60
    max_steps: int = 600
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    gain_jitter: float = 0.4
    precision: Precision = "auto"


class TrainingHistory(NamedTuple):
    """What happened in a training.

    Attributes
    ----------
    loss
        Shape (step,), float32: cross-entropy of each minibatch in nats; ln 2 = 0.693 is chance.
    n_treated, n_control
        Training nuclei of each class.
    n_steps
        Minibatches.
    passes
        Times that each treated nucleus was seen, on average.
    seconds
        Wall time of the training.
    """

    loss: npt.NDArray[np.float32]
    n_treated: int
    n_control: int
    n_steps: int
    passes: float
    seconds: float


@dataclass(frozen=True)
class TrainedClassifier:
    """A trained network with all that is needed to apply it to new crops."""

    network: NucleusNetwork
    scaling: Scaling
    settings: TrainingSettings
    history: TrainingHistory


class FoldPrediction(NamedTuple):
    """Predictions for the held-out wells of one fold.

    Attributes
    ----------
    rows
        Shape (held-out nucleus,), intp: positions in the input, ascending.
    probability
        Shape (held-out nucleus,), float32: probability of being treated.
    history
        Of the training on the other folds.
    seconds
        Wall time of training and prediction.
    """

    rows: npt.NDArray[np.intp]
    probability: npt.NDArray[np.float32]
    history: TrainingHistory
    seconds: float


def fit_classifier(
    crops: npt.NDArray[Any],
    is_treated: npt.ArrayLike,
    wells: npt.ArrayLike,
    *,
    settings: TrainingSettings,
    seed: int | np.random.SeedSequence,
    device: torch.device | str = "cpu",
) -> TrainedClassifier:
    """Train a network to tell treated from control nuclei.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), uint8 or uint16: the training nuclei only.
    is_treated
        Shape (nucleus,): True for treated, False for control. Cast to bool.
    wells
        Shape (nucleus,): well names, unique over plates; wells of a class count equally.
    settings
        See `TrainingSettings`.
    seed
        Seed of weights, draws and augmentation. On a CPU two calls with the same input, seed and
        number of torch threads give the same bits.
    device
        Where to train.

    Returns
    -------
    TrainedClassifier
        In evaluation mode, on the device.

    Raises
    ------
    ValueError
        If a class has no nucleus, lengths differ, or crops have the wrong shape or type.
    """
    started = time.perf_counter()
    treated = np.asarray(is_treated, dtype=bool)
    well_names = np.asarray(wells)
    if not treated.shape == well_names.shape == crops.shape[:1]:
        raise ValueError(
            f"{crops.shape[0]} crops, classes {treated.shape} and wells {well_names.shape}, "
            "expected one class and one well per crop."
        )
    weight_seed, draw_seed = _split_seed(seed)
    random = np.random.default_rng(draw_seed)
    n_treated = int(treated.sum())
    n_steps = count_steps(
        n_treated,
        treated.size - n_treated,
        batch_size=settings.batch_size,
        passes=settings.passes,
        least=settings.min_steps,
        most=settings.max_steps,
    )
    batches = draw_batches(
        treated, well_names, n_steps=n_steps, batch_size=settings.batch_size, random=random
    )
    log_gains = random.standard_normal((*batches.shape, crops.shape[1]), dtype=np.float32)
    scaling = measure_scaling(crops[~treated], method=settings.scale)
    network = build_network(crops.shape[1], widths=settings.widths, seed=weight_seed, device=device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        losses = _train(
            network,
            load_crops(crops, device=device),
            torch.from_numpy(batches).to(device),
            torch.from_numpy(np.exp(settings.gain_jitter * log_gains)).to(device),
            scaling=scaling,
            settings=settings,
        )
    history = TrainingHistory(
        loss=losses.cpu().numpy(),
        n_treated=n_treated,
        n_control=treated.size - n_treated,
        n_steps=n_steps,
        passes=n_steps * settings.batch_size / 2 / n_treated,
        seconds=time.perf_counter() - started,
    )
    return TrainedClassifier(network, scaling, settings, history)


def predict_treated(
    classifier: TrainedClassifier, crops: npt.NDArray[Any], *, batch_size: int = 512
) -> npt.NDArray[np.float32]:
    """Predict how likely each nucleus is to be treated.

    Parameters
    ----------
    classifier
        From `fit_classifier`.
    crops
        Shape (nucleus, c, y, x), uint8 or uint16, like those trained on.
    batch_size
        Nuclei at a time; bounds memory, doesn't change results beyond rounding.

    Returns
    -------
    ndarray of float32, shape (nucleus,)
        Probabilities, given classes of equal size; empty for no nuclei.
    """
    device = next(classifier.network.parameters()).device
    dtype = choose_precision(device, classifier.settings.precision)
    loaded = load_crops(crops)
    logits = [torch.empty(0)]
    with torch.inference_mode(), mix_precision(device, dtype):
        for start in range(0, len(loaded), batch_size):
            part = loaded[start : start + batch_size].to(device)
            scaled = scale_crops(part, classifier.scaling, bin_px=classifier.settings.bin_px)
            logits.append(classifier.network(scaled).cpu())
    return torch.sigmoid(torch.cat(logits)).numpy()


def predict_fold(
    crops: npt.NDArray[Any],
    is_treated: npt.ArrayLike,
    wells: npt.ArrayLike,
    folds: npt.ArrayLike,
    *,
    fold: int,
    settings: TrainingSettings,
    seed: int | np.random.SeedSequence,
    device: torch.device | str = "cpu",
) -> FoldPrediction:
    """Train on all folds but one and predict that one: one unit of the screen.

    Parameters
    ----------
    crops
        Shape (nucleus, c, y, x), uint8 or uint16: the perturbation's and its controls' nuclei.
    is_treated, wells
        Shape (nucleus,): see `fit_classifier`.
    folds
        Shape (nucleus,), int: the fold of each nucleus' well.
    fold
        The fold that is held out.
    settings, seed, device
        See `fit_classifier`.

    Returns
    -------
    FoldPrediction
        Probabilities of the held-out nuclei; possibly none.

    Raises
    ------
    ValueError
        If a well is in the held-out fold and in training, or for what `fit_classifier` raises.
    """
    started = time.perf_counter()
    treated, well_names = np.asarray(is_treated, dtype=bool), np.asarray(wells)
    held_out = np.asarray(folds) == fold
    shared = np.intersect1d(well_names[held_out], well_names[~held_out])
    if shared.size:
        raise ValueError(
            f"well {str(shared[0])!r} is in fold {fold} and in training ({shared.size} such "
            "wells), expected whole wells in one fold. Assign folds by well."
        )
    classifier = fit_classifier(
        crops[~held_out],
        treated[~held_out],
        well_names[~held_out],
        settings=settings,
        seed=seed,
        device=device,
    )
    return FoldPrediction(
        rows=np.flatnonzero(held_out),
        probability=predict_treated(classifier, crops[held_out]),
        history=classifier.history,
        seconds=time.perf_counter() - started,
    )


def _train(
    network: NucleusNetwork,
    crops: Tensor,
    batches: Tensor,
    gains: Tensor,
    *,
    scaling: Scaling,
    settings: TrainingSettings,
) -> Tensor:
    """Take one optimiser step per minibatch; return the losses, shape (step,).

    The network is left in evaluation mode.
    """
    dtype = choose_precision(crops.device, settings.precision)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _shape_learning_rate(step, n_steps=len(batches))
    )
    target = torch.arange(batches.shape[1], device=crops.device).remainder(2).eq(0).float()
    losses = []
    network.train()
    for rows, gain in zip(batches, gains, strict=True):
        scaled = augment_crops(scale_crops(crops[rows], scaling, bin_px=settings.bin_px), gain)
        with mix_precision(crops.device, dtype):
            logits = network(scaled)
        loss = functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    with mix_precision(crops.device, dtype):
        measure_statistics(
            network,
            (
                scale_crops(crops[rows], scaling, bin_px=settings.bin_px)
                for rows in batches[-_N_STATISTICS_BATCHES:]
            ),
        )
    return torch.stack(losses)


def _shape_learning_rate(step: int, *, n_steps: int) -> float:
    """Return the learning rate as a share of its peak: a linear rise, then half a cosine."""
    n_rising = math.ceil(n_steps / 5)
    if step < n_rising:
        return (step + 1) / n_rising
    return (1 + math.cos(math.pi * (step - n_rising + 1) / (n_steps - n_rising + 1))) / 2


def _split_seed(seed: int | np.random.SeedSequence) -> tuple[int, int]:
    """Derive one seed for the weights and one for all draws, each below 2**63."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    weights, draws = (int(state) >> 1 for state in sequence.generate_state(2, np.uint64))
    return weights, draws
