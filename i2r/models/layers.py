"""Layers and losses of many models at once: every weight has the axes (seed, variant, in, out)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


def apply(values: Tensor, parameters: Mapping[str, Tensor], layer: str) -> Tensor:
    """Apply each model's linear layer (s, v, i, o) to (s, n, v, i)."""
    weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
    s, n, v, width = values.shape
    by_model = values.permute(0, 2, 1, 3).reshape(s * v, n, width)
    product = torch.baddbmm(bias.reshape(s * v, 1, -1), by_model, weight.reshape(s * v, width, -1))
    return product.view(s, v, n, -1).permute(0, 2, 1, 3)


def activate(values: Tensor, slope: Tensor) -> Tensor:
    """Apply PReLU (He et al. 2015, doi:10.1109/ICCV.2015.123), a slope (s, v, 1) per model."""
    if len(values) == 1:
        # torch's own takes one axis of slopes; several seeds are the rarer case.
        return functional.prelu(values[0], slope.reshape(-1))[None]
    return torch.where(values > 0, values, values * slope[:, None])


def score_pairs(latent: Tensor, pairs: Tensor) -> Tensor:
    """Give the inner product of every pair of genes, (pair, variant)."""
    first, second = (latent.index_select(0, ends) for ends in pairs)
    return (first * second).sum(dim=-1)


def measure_labels(latent: Tensor, labels: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Measure the cross-entropy of known labels, (seed, variant); 0 where none is known."""
    known = torch.nonzero((labels >= 0).any(dim=0))[:, 0]
    logits = apply(latent[:, known], parameters, "head")
    wanted = labels[:, known].T.expand(len(logits), -1, -1)
    loss = functional.cross_entropy(
        logits.permute(0, 3, 1, 2), wanted, ignore_index=-1, reduction="none"
    )
    count = (labels >= 0).sum(dim=1).clamp(min=1)
    return loss.sum(dim=1) / count


def measure_features(latent: Tensor, features: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Measure how far decoded features are from the true ones, mean absolute, (seed, variant).

    Normalised over all genes, which are the one batch there ever is, in training and after.
    """
    hidden = apply(latent, parameters, "decode")
    mean, variance = hidden.mean(dim=1, keepdim=True), hidden.var(dim=1, keepdim=True, correction=0)
    normal = (hidden - mean) / torch.sqrt(variance + 1e-5)
    drawn = apply(activate(normal, parameters["decode.slope"]), parameters, "redraw")
    return (drawn - features[:, None]).abs().mean(dim=(1, 3))
