"""The graph autoencoder as textbooks write it: one module, one model, one training at a time."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from i2r.models.edges import draw_non_edges, split_edges
from i2r.models.gae import Variant
from i2r.models.gae_settings import AutoencoderSettings


class Convolution(nn.Module):
    """Graph convolution by gathering and scattering messages."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fan_in, fan_out))
        self.bias = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        n = len(x)
        loops = torch.arange(n)
        source = torch.cat([edges[:, 0], edges[:, 1], loops])
        target = torch.cat([edges[:, 1], edges[:, 0], loops])
        degree = torch.zeros(n).index_add_(0, target, torch.ones(len(target)))
        weight = (degree[source] * degree[target]).rsqrt()
        sent = (x @ self.weight)[source] * weight[:, None]
        return torch.zeros(n, sent.shape[1]).index_add_(0, target, sent) + self.bias


class Autoencoder(nn.Module):
    """Two convolutions, a linear layer, an inner product, and the two optional heads."""

    def __init__(
        self, width: int, n_classes: int, has_features: bool, s: AutoencoderSettings
    ) -> None:
        super().__init__()
        self.first, self.second = Convolution(width, s.hidden), Convolution(s.hidden, s.hidden)
        self.one, self.two = nn.PReLU(), nn.PReLU()
        self.third = nn.Linear(s.hidden, s.latent)
        self.head = nn.Linear(s.latent, n_classes) if n_classes else None
        self.decode = nn.Linear(s.latent, s.feature_hidden) if has_features else None
        self.norm = nn.BatchNorm1d(s.feature_hidden, affine=False, track_running_stats=False)
        self.three, self.redraw = nn.PReLU(), nn.Linear(s.feature_hidden, width)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        hidden = self.one(self.first(x, edges))
        return self.third(self.two(self.second(hidden, edges)))


def start_alike(model: Autoencoder, seed: int) -> None:
    """Draw the first weights in the order in which the stacked program draws them."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[Any] = [model.first, model.second, model.third, model.head]
    layers += [model.decode, model.redraw] if model.decode is not None else []
    for layer in layers:
        if layer is None:
            continue
        is_convolution = isinstance(layer, Convolution)
        shape = layer.weight.shape if is_convolution else layer.weight.T.shape
        bound = (6 / sum(shape)) ** 0.5 if is_convolution else shape[0] ** -0.5
        weight = (2 * torch.rand(shape, generator=generator) - 1) * bound
        bias = (2 * torch.rand(shape[1], generator=generator) - 1) * bound
        layer.weight.data = weight if is_convolution else weight.T.contiguous()
        layer.bias.data = bias * (not is_convolution)


def train_one(
    edges: np.ndarray, features: np.ndarray, variant: Variant, n_classes: int, seed: int,
    settings: AutoencoderSettings,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Train one model; give its embedding and its best epoch."""
    x, n = torch.from_numpy(features.astype(np.float32)), len(features)
    split = split_edges(edges, n, validation=settings.validation, test=settings.test, seed=seed)
    model = Autoencoder(features.shape[1], n_classes, variant.feature_weight > 0, settings)
    start_alike(model, seed)
    random = np.random.default_rng([seed, 1])
    labels = torch.from_numpy(variant.labels)
    along = torch.from_numpy(split.training if settings.messages == "training" else edges)

    def measure(z, pairs, non_edges, labelled):
        pairs, non_edges = torch.from_numpy(pairs), torch.from_numpy(non_edges)
        joined = (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1)
        apart = (z[non_edges[:, 0]] * z[non_edges[:, 1]]).sum(1)
        loss = -functional.logsigmoid(joined).mean() - functional.logsigmoid(-apart).mean()
        loss = variant.edge_weight * loss
        if model.decode is not None:
            drawn = model.redraw(model.three(model.norm(model.decode(z))))
            loss = loss + variant.feature_weight * functional.l1_loss(drawn, x)
        if labelled and model.head is not None and (labels >= 0).any():
            known = labels >= 0
            named = functional.cross_entropy(model.head(z[known]), labels[known])
            loss = loss + variant.class_weight * named
        return loss

    def step(optimiser, labelled):
        missing = draw_non_edges(split.training, n, len(split.training), random)
        optimiser.zero_grad()
        measure(model(x, along), split.training, missing, labelled).backward()
        optimiser.step()

    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for _ in range(settings.pretraining):
        step(optimiser, labelled=False)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    best, best_loss, best_epoch = None, np.inf, -1
    for epoch in range(-1, settings.epochs):
        if epoch >= 0:
            step(optimiser, labelled=True)
        with torch.no_grad():
            held = split.validation, split.validation_non_edges
            value = float(measure(model(x, along), *held, True))
        if value < best_loss:
            best_loss, best_epoch = value, epoch
            best = {name: v.clone() for name, v in model.state_dict().items()}
        if epoch - best_epoch >= settings.patience:
            break
    assert best is not None
    model.load_state_dict(best)
    with torch.no_grad():
        z = model(x, torch.from_numpy(edges))
    return functional.normalize(z, dim=1).numpy(), best_epoch
