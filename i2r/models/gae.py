"""Graph autoencoders: many seeds, labels and loss weights trained as one tensor program.

The model is that of Image2Reg (Paysan et al., Cell Systems 2025): two graph convolutions [1]_ with
PReLU and a linear layer encode genes, the inner product of two genes decodes the edge between them
[2]_, a linear head may decode labels of some genes, and a small network their features. Models
that share a network differ in seed, in the labels they may see and in the weights of their losses;
they are stacked, so that an epoch of all of them is one epoch's worth of calls.

Axes are (seed, gene, variant, feature): seeds have their own edges and start, variants of a seed
share both and differ in labels and loss weights.

References
----------
.. [1] Kipf and Welling 2017, Semi-supervised classification with graph convolutional networks,
   ICLR. https://doi.org/10.48550/arXiv.1609.02907
.. [2] Kipf and Welling 2016, Variational graph auto-encoders.
   https://doi.org/10.48550/arXiv.1611.07308
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.edges import EdgeSplit, draw_pairs, normalise_adjacency, split_edges
from i2r.models.gae_settings import COMPACT, AutoencoderSettings
from i2r.models.layers import activate, apply, measure_features, measure_labels, score_pairs

# An epoch's loss is of at most so many edges, drawn anew each time, and as many non-edges.
MOST_EDGES = 2**14
# Models train together while their tensors fit: autograd keeps about so many of a layer's size.
BLOCK_BYTES = 2**30
_TENSORS = 40


class Variant(NamedTuple):
    """One model of each seed.

    Attributes
    ----------
    labels : (n,) int64
        Class of each gene, -1 for genes whose label is not known or held out.
    edge_weight, feature_weight, class_weight : float
        Weights of the three losses.
    """

    labels: npt.NDArray[np.int64]
    edge_weight: float = 1.0
    feature_weight: float = 0.0
    class_weight: float = 1.0


class Trained(NamedTuple):
    """What came of a training.

    Attributes
    ----------
    embeddings : (s, v, n, latent) float32
        Encoded with all edges, rows of unit length.
    losses : (s, v, epoch, 2) float32
        Total training and validation loss after pre-training; NaN after a model stopped.
    components : (s, v, epoch, 2, 3) float32
        The same losses before they are weighted: of edges, features and labels; 0 where a model
        has none.
    best_epoch : (s, v) int64
        The epoch whose weights were kept, from 0; -1 where pre-training was all.
    test_scores : (s, v, 2 e) float32
        Inner products of the test edges, then of as many non-edges, with messages along training
        edges.
    splits : list of EdgeSplit
        The edges of each seed.
    """

    embeddings: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    best_epoch: npt.NDArray[np.int64]
    test_scores: npt.NDArray[np.float32]
    splits: list[EdgeSplit]


def train_autoencoders(
    edges: npt.ArrayLike,
    features: npt.ArrayLike,
    variants: Sequence[Variant],
    *,
    seeds: Sequence[int],
    settings: AutoencoderSettings = COMPACT,
) -> Trained:
    """Train every variant with every seed, all at once.

    Each model comes out as if it had been trained alone, up to rounding.

    Parameters
    ----------
    edges
        Shape (m, 2): pairs of genes, each once; no self-loops.
    features
        Shape (n, f): features of the genes, finite.
    variants
        Models of each seed.
    seeds
        Each decides a split of the edges, the first weights and the non-edges.
    settings
        See `AutoencoderSettings`.

    Raises
    ------
    ValueError
        If features are not finite, or the network has too few edges to split.
    """
    values = np.asarray(features, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("features of genes have NaN or infinite values")
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    shares = {"validation": settings.validation, "test": settings.test}
    splits = [split_edges(pairs, len(values), **shares, seed=seed) for seed in seeds]
    program = _Program(pairs, values, variants, splits, seeds, settings)
    if settings.pretraining:
        program.pretrain()
    return program.train_blocks()


class _Program:
    """The stacked models, their data and their optimiser."""

    def __init__(
        self,
        pairs: npt.NDArray[np.int64],
        features: npt.NDArray[np.float32],
        variants: Sequence[Variant],
        splits: list[EdgeSplit],
        seeds: Sequence[int],
        settings: AutoencoderSettings,
    ) -> None:
        self.settings, self.splits = settings, splits
        self.n, self.n_seeds, self.n_variants = len(features), len(seeds), len(variants)
        self.features = torch.from_numpy(features)
        self.everything = [pairs] * self.n_seeds
        self.trained_along = (
            [split.training for split in splits] if settings.messages == "training"
            else self.everything
        )  # fmt: skip
        self.labels = _stack_labels(variants)
        weights = [[v.edge_weight, v.feature_weight, v.class_weight] for v in variants]
        self.loss_weights = torch.tensor(weights).T
        self.signs = torch.tensor([-1.0, 1.0]).view(2, 1, 1)
        self.random = [np.random.default_rng([seed, 1]) for seed in seeds]
        self.parameters = self._start(seeds, has_features=any(v.feature_weight for v in variants))

    def _start(self, seeds: Sequence[int], *, has_features: bool) -> dict[str, Tensor]:
        """Draw first weights: Glorot for convolutions, Kaiming's bounds for linear layers."""
        s, width = self.settings, self.features.shape[1]
        n_classes = int(self.labels.max()) + 1 if self.labels.numel() else 0
        layers = [
            ("first", width, s.hidden),
            ("second", s.hidden, s.hidden),
            ("third", s.hidden, s.latent),
        ]
        if n_classes > 0:
            layers.append(("head", s.latent, n_classes))
        if has_features:
            layers += [("decode", s.latent, s.feature_hidden), ("redraw", s.feature_hidden, width)]
        drawn: dict[str, list[Tensor]] = {}
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for name, fan_in, fan_out in layers:
                is_convolution = name in ("first", "second")
                bound = (6 / (fan_in + fan_out)) ** 0.5 if is_convolution else fan_in**-0.5
                weight = (2 * torch.rand((fan_in, fan_out), generator=generator) - 1) * bound
                bias = (2 * torch.rand(fan_out, generator=generator) - 1) * bound
                drawn.setdefault(f"{name}.weight", []).append(weight)
                drawn.setdefault(f"{name}.bias", []).append(bias * (not is_convolution))
            for name in ("first", "second", *(("decode",) if has_features else ())):
                drawn.setdefault(f"{name}.slope", []).append(torch.full((1,), 0.25))
        return {name: torch.stack(parts)[:, None] for name, parts in drawn.items()}

    # ------------------------------------------------------------------ forward

    def encode(
        self, along: Sequence[npt.NDArray[np.int64]], parameters: dict[str, Tensor]
    ) -> Tensor:
        """Encode all genes with messages along the given edges: (seed * gene, variant, latent)."""
        adjacency = normalise_adjacency(along, self.n)
        return self._encode(adjacency, self._spread(adjacency), parameters)

    def _spread(self, adjacency: Tensor) -> Tensor:
        """Pass features along edges once: they don't change."""
        repeated = self.features.repeat(self.n_seeds, 1)
        return torch.sparse.mm(adjacency, repeated).view(self.n_seeds, self.n, -1)

    def _encode(self, adjacency: Tensor, spread: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        seeds, variants, width, hidden = parameters["first.weight"].shape
        # One product for all variants of a seed, which have the same input.
        stacked = parameters["first.weight"].permute(0, 2, 1, 3).reshape(seeds, width, -1)
        bias = parameters["first.bias"].reshape(seeds, 1, -1)
        first = torch.baddbmm(bias, spread, stacked).view(seeds, self.n, variants, hidden)
        first = activate(first, parameters["first.slope"]).reshape(seeds * self.n, -1)
        passed = torch.sparse.mm(adjacency, first).view(seeds, self.n, variants, hidden)
        second = activate(apply(passed, parameters, "second"), parameters["second.slope"])
        third = apply(second, parameters, "third")
        return third.reshape(seeds * self.n, variants, -1)

    def measure_losses(
        self, latent: Tensor, pairs: Tensor, parameters: dict[str, Tensor], *, labelled: bool
    ) -> Tensor:
        """Measure the losses of every model: of edges, features, labels, (3, seed, variant).

        ``pairs`` are from `_join`: of each seed its edges, then as many non-edges.
        """
        variants = latent.shape[1]
        scores = score_pairs(latent, pairs).view(self.n_seeds, 2, -1, variants)
        # An edge is likely where the score is high, a non-edge where it is low.
        signed = scores * self.signs
        edges = functional.softplus(signed).mean(dim=2).sum(dim=1)
        features = torch.zeros_like(edges)
        labels = torch.zeros_like(edges)
        by_seed = latent.view(self.n_seeds, self.n, variants, -1)
        if "decode.weight" in parameters:
            features = measure_features(by_seed, self.features, parameters)
        if labelled and "head.weight" in parameters:
            labels = measure_labels(by_seed, self.labels, parameters)
        return torch.stack([edges, features, labels])

    def _weigh(self, losses: Tensor) -> Tensor:
        """Add the losses of every model by their weights, (seed, variant)."""
        weights = self.loss_weights[:, : losses.shape[2]]
        return (losses * weights[:, None]).sum(dim=0)

    def _join(self, pairs: Sequence[tuple[npt.NDArray[np.int64], ...]]) -> Tensor:
        """Join edges and non-edges of all seeds, genes numbered through, shape (2, pair)."""
        moved = [part + self.n * seed for seed, parts in enumerate(pairs) for part in parts]
        joined = np.ascontiguousarray(np.concatenate(moved).T)
        return torch.from_numpy(joined)

    # ------------------------------------------------------------------ training

    def pretrain(self) -> None:
        """Train on edges and features alone, once per seed, and copy to all variants."""
        self._run(self.settings.pretraining, labelled=False)

    def train_blocks(self) -> Trained:
        """Train all variants, as many at once as memory has room for."""
        start, random = self.parameters, deepcopy(self.random)
        labels, weights = self.labels, self.loss_weights
        tensor_bytes = 4 * self.n_seeds * self.n * self.settings.hidden
        size = max(1, BLOCK_BYTES // (_TENSORS * tensor_bytes))
        blocks = []
        for first in range(0, len(labels), size):
            # Every model begins as if it were alone.
            self.parameters, self.random = start, deepcopy(random)
            self.labels = labels[first : first + size]
            self.loss_weights = weights[:, first : first + size]
            self.n_variants = len(self.labels)
            blocks.append(self.train())
        return Trained(
            np.concatenate([block.embeddings for block in blocks], axis=1),
            np.concatenate([block.losses for block in blocks], axis=1),
            np.concatenate([block.components for block in blocks], axis=1),
            np.concatenate([block.best_epoch for block in blocks], axis=1),
            np.concatenate([block.test_scores for block in blocks], axis=1),
            self.splits,
        )

    def train(self) -> Trained:
        """Train a block of variants to the epoch with the lowest validation loss."""
        self.parameters = {
            name: value.detach().repeat(1, self.n_variants, *[1] * (value.ndim - 2))
            for name, value in self.parameters.items()
        }
        losses, components, best_epoch = self._run(self.settings.epochs, labelled=True)
        with torch.no_grad():
            latent = self.encode(self.trained_along, self.parameters)
            pairs = self._join([(s.test, s.test_non_edges) for s in self.splits])
            scores = score_pairs(latent, pairs).view(self.n_seeds, -1, self.n_variants)
            final = functional.normalize(self.encode(self.everything, self.parameters), dim=-1)
        shape = (self.n_seeds, self.n, self.n_variants, -1)
        return Trained(
            final.view(shape).transpose(1, 2).cpu().numpy(),
            losses,
            components,
            best_epoch,
            scores.transpose(1, 2).cpu().numpy(),
            self.splits,
        )

    def _run(
        self, epochs: int, *, labelled: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Train for some epochs; with labels, keep the weights of the best epoch of each model."""
        parameters = {k: v.requires_grad_() for k, v in self.parameters.items()}
        if not labelled:
            parameters = {k: v for k, v in parameters.items() if not k.startswith("head")}
        optimiser = torch.optim.Adam(
            parameters.values(), lr=self.settings.learning_rate, fused=True
        )
        adjacency = normalise_adjacency(self.trained_along, self.n)
        spread = self._spread(adjacency)
        held = self._join(
            [(s.validation[:MOST_EDGES], s.validation_non_edges[:MOST_EDGES]) for s in self.splits]
        )
        variants = self.n_variants if labelled else 1
        shape = (self.n_seeds, variants)
        history = np.full((*shape, epochs, 2), np.nan, dtype=np.float32)
        parts = np.full((*shape, epochs, 2, 3), np.nan, dtype=np.float32)
        best_loss, best_epoch = np.full(shape, np.inf), np.full(shape, -1, dtype=np.int64)
        best = {name: value.detach().clone() for name, value in parameters.items()}
        runs = np.ones(shape, dtype=bool)
        for epoch in range(epochs + labelled):
            latent = self._encode(adjacency, spread, parameters)
            if labelled:
                # The weights before this epoch's step; an epoch more judges the last step.
                with torch.no_grad():
                    validation = self.measure_losses(latent, held, parameters, labelled=True)
                value = self._weigh(validation).cpu().numpy()
                better = runs & (value < best_loss)
                _keep(best, parameters, better)
                best_loss[better], best_epoch[better] = value[better], epoch - 1
                runs &= (epoch - 1) - best_epoch < self.settings.patience
                if epoch:
                    history[:, :, epoch - 1, 1] = np.where(runs | better, value, np.nan)
                    parts[:, :, epoch - 1, 1] = validation.permute(1, 2, 0).cpu().numpy()
                if epoch == epochs or not runs.any():
                    break
            pairs = self._join(
                [
                    draw_pairs(split.training, self.n, random, most=MOST_EDGES)
                    for split, random in zip(self.splits, self.random, strict=True)
                ]
            )
            losses = self.measure_losses(latent, pairs, parameters, labelled=labelled)
            loss = self._weigh(losses)
            parts[:, :, epoch, 0] = losses.detach().permute(1, 2, 0).cpu().numpy()
            history[:, :, epoch, 0] = np.where(runs, loss.detach().cpu().numpy(), np.nan)
            optimiser.zero_grad()
            loss.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        kept = best if labelled else parameters
        self.parameters = {**self.parameters, **{k: v.detach() for k, v in kept.items()}}
        parts[np.isnan(history)] = np.nan
        return history, parts, best_epoch


def _stack_labels(variants: Sequence[Variant]) -> Tensor:
    """Stack labels of the genes that have one in any variant: (variant, gene), -1 for none."""
    return torch.from_numpy(np.stack([v.labels for v in variants]).astype(np.int64))


def _keep(best: dict[str, Tensor], now: dict[str, Tensor], better: npt.NDArray[np.bool_]) -> None:
    """Copy the weights of the models that are better than before."""
    if better.any():
        chosen = torch.from_numpy(better)
        for name, value in now.items():
            if better.all():
                best[name].copy_(value.detach())
            else:
                best[name][chosen] = value.detach()[chosen]
