"""Train an encoder to tell many classes apart, with checkpoints that a killed training resumes.

All random numbers of an epoch come from a stream of its own, so what a checkpoint has to hold is
the number of the epoch and of the step in it: a training that was killed anywhere ends with the
same weights as one that was not.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.cnn import Precision, choose_precision, mix_precision
from i2r.models.encoder import Encoder, EncoderSettings, build_encoder
from i2r.models.evaluation import Rows, balance_recalls, evaluate_encoder, weigh_classes
from i2r.models.pools import NucleusPool, draw_turns
from i2r.models.weights import decode_state, encode_state

Augmentation = Literal["none", "flips", "full"]
Optimizer = Literal["adam", "adamw"]
# Often enough that a job which is stopped at its time limit loses little.
SAVE_EVERY_S = 240.0


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained.

    Attributes
    ----------
    optimizer, learning_rate, weight_decay
        ``adam`` couples the weight decay to the gradient, as published; ``adamw`` does not
        (Loshchilov and Hutter, ICLR 2019, doi:10.48550/arXiv.1711.05101).
    decay
        Let the rate fall to zero along half a cosine over ``max_epochs``; otherwise it is constant.
    batch_size
        Nuclei per step; a last batch that is not full is left out, as published.
    max_epochs
        The most passes over the training nuclei.
    patience
        Stop when more than so many epochs did not improve on the best balanced accuracy on
        validation nuclei.
    augmentation
        ``flips`` mirrors each image, ``full`` turns it too and varies its brightness.
    gain_jitter
        Standard deviation of the logarithm of that brightness.
    precision
        See `i2r.models.cnn.choose_precision`.
    """

    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    decay: bool = True
    batch_size: int = 64
    max_epochs: int = 30
    patience: int = 5
    augmentation: Augmentation = "full"
    gain_jitter: float = 0.2
    precision: Precision = "auto"


class Parts(NamedTuple):
    """Which nuclei train, and which decide when to stop; shape (n,), int64 each."""

    train: Rows
    validation: Rows


class Epoch(NamedTuple):
    """What one pass over the training nuclei came to.

    Losses are cross-entropies in nats, weighted by class; balanced accuracies are means of the
    recalls of the classes that are there, 1 / number of classes for guessing.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_balanced_accuracy: float
    validation_loss: float
    validation_balanced_accuracy: float


class TrainedEncoder(NamedTuple):
    """The best encoder of a training, in evaluation mode, and how it came about."""

    encoder: Encoder
    best_epoch: int
    history: tuple[Epoch, ...]


def train_encoder(
    pool: NucleusPool,
    labels: npt.NDArray[np.int64],
    parts: Parts,
    *,
    settings: EncoderSettings,
    training: EncoderTraining,
    seed: np.random.SeedSequence,
    device: torch.device | str = "cpu",
    pretrained: Mapping[str, Tensor] | None = None,
    checkpoint: bytes | None = None,
    save: Callable[[bytes], None] = lambda data: None,
    save_every_s: float = SAVE_EVERY_S,
) -> TrainedEncoder:
    """Train an encoder.

    Parameters
    ----------
    pool
        The nuclei.
    labels
        Shape (nucleus,): classes, as indices into ``settings.classes``.
    parts
        Which of the pool's nuclei to use.
    settings, training
        What to train, and how.
    seed
        Of this training alone.
    device
        Where the network is trained.
    pretrained
        See `i2r.models.encoder.build_encoder`.
    checkpoint
        What ``save`` got last in a training with the same arguments; goes on from there.
    save
        Called with the state of the training after every epoch, and every ``save_every_s`` in
        between.

    Returns
    -------
    TrainedEncoder
        The weights of the epoch with the highest balanced accuracy on the validation nuclei (of
        the training nuclei where nothing validates). On a CPU the same bits for the same
        arguments, interrupted or not.

    Raises
    ------
    ValueError
        If fewer than two classes are trained on, or the pretrained weights do not fit.
    """
    run = _Training(pool, labels, parts, settings, training, seed, device, pretrained)
    if checkpoint is not None:
        run.restore(checkpoint)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        run.run(save, save_every_s)
    run.encoder.load_state_dict(run.best_weights)
    best = max(run.history, key=lambda epoch: (_score(epoch), -epoch.epoch))
    return TrainedEncoder(run.encoder.eval(), best.epoch, tuple(run.history))


class _Training:
    """The state of a training: what a checkpoint holds, and what follows from the arguments."""

    def __init__(
        self,
        pool: NucleusPool,
        labels: npt.NDArray[np.int64],
        parts: Parts,
        settings: EncoderSettings,
        training: EncoderTraining,
        seed: np.random.SeedSequence,
        device: torch.device | str,
        pretrained: Mapping[str, Tensor] | None,
    ) -> None:
        n_classes = len(settings.classes)
        present = np.unique(labels[parts.train])
        if present.size < 2:
            raise ValueError(f"{present.size} class(es) to train on, expected two or more")
        self.pool, self.labels, self.parts = pool, labels, parts
        self.training, self.seed, self.device = training, seed, torch.device(device)
        self.batch_size = min(training.batch_size, len(parts.train))
        self.n_steps = len(parts.train) // self.batch_size
        weight_seed = int(seed.generate_state(1, np.uint64)[0]) >> 1
        self.encoder = build_encoder(
            settings, seed=weight_seed, pretrained=pretrained, device=device
        )
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            self.encoder.parameters(),
            training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.class_weights = weigh_classes(labels[parts.train], n_classes).to(self.device)
        self.truth = torch.from_numpy(labels).to(self.device)
        self.dtype = choose_precision(device, training.precision)
        # As many nuclei as fit on the device at once; the gradient is that of the whole batch.
        self.part = self.batch_size
        self.epoch, self.step = 0, 0
        # On the device, so that no step waits for one before it to be read.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.counts = torch.zeros(n_classes, n_classes, dtype=torch.int64, device=device)
        self.history: list[Epoch] = []
        self.best_weights: dict[str, Tensor] = {}

    # ------------------------------------------------------------------ checkpoints

    def save(self) -> bytes:
        """Give everything that the arguments don't say."""
        return encode_state(
            {
                "epoch": self.epoch,
                "step": self.step,
                "loss_sum": self.loss_sum,
                "counts": self.counts,
                "history": [tuple(epoch) for epoch in self.history],
                "weights": self.encoder.state_dict(),
                "best_weights": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def restore(self, data: bytes) -> None:
        """Go back to where `save` was called."""
        state = decode_state(data)
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum = state["loss_sum"].to(self.device)
        self.counts = state["counts"].to(self.device)
        self.history = [Epoch(*values) for values in state["history"]]
        self.best_weights = state["best_weights"]
        self.encoder.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])

    # ------------------------------------------------------------------ the loop

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""
        if not self.history:
            return False
        scores = [_score(epoch) for epoch in self.history]
        since_best = len(scores) - 1 - int(np.argmax(scores))
        return self.epoch >= self.training.max_epochs or since_best > self.training.patience

    def run(self, save: Callable[[bytes], None], save_every_s: float) -> None:
        """Go through the epochs that are left."""
        while not self.is_over:
            saved = time.monotonic()
            random = np.random.default_rng(
                np.random.SeedSequence(
                    self.seed.entropy, spawn_key=(*self.seed.spawn_key, self.epoch)
                )
            )
            batches = self._draw(random)
            self.encoder.train()
            for rows, turns, gains in batches[self.step :]:
                loss, predicted = self._take_step(rows, turns, gains)
                self.loss_sum += loss
                _count(self.counts, self.truth[rows.to(self.device)], predicted)
                self.step += 1
                if time.monotonic() - saved > save_every_s:
                    save(self.save())
                    saved = time.monotonic()
            self._end_epoch()
            save(self.save())

    def _draw(
        self, random: np.random.Generator
    ) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Draw all batches of an epoch at once: rows, turns, and gains of brightness."""
        n = self.n_steps * self.batch_size
        order = random.permutation(self.parts.train)[:n]
        rows = torch.from_numpy(order).to(self.pool.device)
        batches = torch.split(rows, self.batch_size)
        kind = self.training.augmentation
        if kind == "none":
            return [(batch, None, None) for batch in batches]
        turns = draw_turns(random, n, len(self.encoder.branches), transposed=kind == "full")
        turned = torch.split(turns, self.batch_size)
        if kind == "flips":
            return [(b, t, None) for b, t in zip(batches, turned, strict=True)]
        n_channels = len(self.encoder.settings.channels)
        logs = random.standard_normal((n, n_channels), dtype=np.float32)
        gains = torch.from_numpy(np.exp(self.training.gain_jitter * logs)).to(self.device)
        return list(zip(batches, turned, torch.split(gains, self.batch_size), strict=True))

    def _take_step(
        self, rows: Tensor, turns: Tensor | None, gains: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Take one step of the optimiser; return the batch's loss and predictions."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        while True:
            try:
                loss, predicted = self._accumulate(rows, turns, gains)
                break
            except torch.OutOfMemoryError:
                if self.part <= 2:
                    raise
            # Some of the gradient is there already, so the whole batch starts over.
            self.part = max(2, self.part // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self.optimizer.step()
        return loss, predicted

    def _accumulate(
        self, rows: Tensor, turns: Tensor | None, gains: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Add up the gradient of a batch in as many parts as memory asks for."""
        self.optimizer.zero_grad(set_to_none=True)
        truth = self.truth[rows.to(self.device)]
        total = self.class_weights[truth].sum()
        # Two or more in every part: batch normalisation has no spread of one.
        n_parts = min(-(-len(rows) // self.part), max(1, len(rows) // 2))
        losses, predicted = [], []
        for piece in torch.arange(len(rows)).tensor_split(n_parts):
            part = slice(int(piece[0]), int(piece[-1]) + 1)
            images = self.pool.draw(
                self.encoder.settings,
                rows[part],
                turns=None if turns is None else turns[part],
                gains=None if gains is None else gains[part],
                device=self.device,
            )
            with mix_precision(self.device, self.dtype):
                logits = self.encoder(images)
            summed = functional.cross_entropy(
                logits, truth[part], weight=self.class_weights, reduction="sum"
            )
            loss = summed / total
            torch.autograd.backward(loss)
            losses.append(loss.detach())
            predicted.append(logits.detach().argmax(dim=1))
        return torch.stack(losses).sum(), torch.cat(predicted)

    def _learning_rate(self) -> float:
        """Give the rate of the current step."""
        if not self.training.decay:
            return self.training.learning_rate
        done = self.epoch * self.n_steps + self.step
        share = done / (self.training.max_epochs * self.n_steps)
        return self.training.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def _end_epoch(self) -> None:
        """Validate, and keep the weights if they are the best so far."""
        rows = self.parts.validation
        evaluation = evaluate_encoder(
            self.encoder,
            self.pool,
            rows,
            self.labels,
            class_weights=self.class_weights,
            precision=self.training.precision,
        )
        counts = torch.zeros_like(self.counts)
        taken_for = torch.from_numpy(evaluation.probabilities).argmax(dim=1).to(self.device)
        _count(counts, torch.from_numpy(self.labels[rows]).to(self.device), taken_for)
        epoch = Epoch(
            epoch=self.epoch + 1,
            learning_rate=self._learning_rate(),
            train_loss=float(self.loss_sum / self.n_steps),
            train_balanced_accuracy=balance_recalls(self.counts),
            validation_loss=evaluation.loss,
            validation_balanced_accuracy=balance_recalls(counts),
        )
        if not math.isfinite(epoch.train_loss):
            raise FloatingPointError(
                f"the loss of epoch {epoch.epoch} is {epoch.train_loss}: the training diverged"
            )
        if _score(epoch) > max([_score(before) for before in self.history], default=-math.inf):
            state = self.encoder.state_dict()
            self.best_weights = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.history.append(epoch)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum.zero_()
        self.counts.zero_()


def _count(counts: Tensor, truth: Tensor, predicted: Tensor) -> None:
    """Add predictions to a table (truth, prediction)."""
    index = truth * len(counts) + predicted
    counts.view(-1).index_add_(0, index, torch.ones_like(index))


def _score(epoch: Epoch) -> float:
    """Give what decides which epoch is best."""
    if math.isnan(epoch.validation_balanced_accuracy):
        return epoch.train_balanced_accuracy
    return epoch.validation_balanced_accuracy
