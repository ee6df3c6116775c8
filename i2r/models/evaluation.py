"""What an encoder makes of nuclei: probabilities of classes, and how good they are."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.cnn import Precision, choose_precision, mix_precision
from i2r.models.embedding import run_in_parts
from i2r.models.encoder import Encoder
from i2r.models.pools import NucleusPool

Rows = npt.NDArray[np.int64]
EVALUATION_BATCH = 512


class Evaluation(NamedTuple):
    """Predictions for some nuclei.

    Attributes
    ----------
    probabilities
        Shape (n, class), float32; rows sum to 1.
    loss
        Mean cross-entropy weighted by class, in nats; NaN for no nuclei.
    """

    probabilities: npt.NDArray[np.float32]
    loss: float


def evaluate_encoder(
    encoder: Encoder,
    pool: NucleusPool,
    rows: Rows,
    labels: npt.NDArray[np.int64],
    *,
    class_weights: Tensor | None = None,
    precision: Precision = "auto",
) -> Evaluation:
    """Predict the classes of some nuclei, all of them, without augmentation.

    Parameters
    ----------
    encoder
        Left in evaluation mode.
    pool, rows
        The nuclei, shape (n,).
    labels
        Shape (nucleus,), for the loss; those of ``rows`` are used.
    class_weights
        Shape (class,); default: all equal.
    precision
        See `i2r.models.cnn.choose_precision`.
    """
    device = next(encoder.parameters()).device
    n_classes = len(encoder.settings.classes)
    logits = torch.empty(len(rows), n_classes, device=device)
    wanted = torch.from_numpy(rows).to(pool.device)

    def evaluate(part: slice) -> None:
        logits[part] = encoder(pool.draw(encoder.settings, wanted[part], device=device))

    encoder.eval()
    dtype = choose_precision(device, precision)
    with torch.inference_mode(), mix_precision(device, dtype):
        run_in_parts(evaluate, len(rows), part=EVALUATION_BATCH, device=device)
        truth = torch.from_numpy(labels[rows]).to(device)
        loss = functional.cross_entropy(logits, truth, weight=class_weights)
        probabilities = torch.softmax(logits, dim=1).cpu().numpy()
    return Evaluation(probabilities, float(loss) if len(rows) else math.nan)


def weigh_classes(labels: npt.NDArray[np.int64], n_classes: int) -> Tensor:
    """Weigh classes by the inverse of their size, to a sum of one; absent ones have no weight."""
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    inverse = np.divide(1.0, counts, out=np.zeros(n_classes), where=counts > 0)
    return torch.from_numpy((inverse / inverse.sum()).astype(np.float32))


def balance_recalls(counts: Tensor) -> float:
    """Average the recalls of the classes that are there, of a table (truth, prediction)."""
    totals = counts.sum(dim=1)
    known = totals > 0
    if not bool(known.any()):
        return math.nan
    return float((counts.diagonal()[known] / totals[known]).double().mean())
