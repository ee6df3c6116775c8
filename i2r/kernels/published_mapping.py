"""The published grid of mappings: the tangent kernel on inputs with features appended to them.

Image2Reg (Paysan et al., Cell Systems 2025) searched 1,440 configurations per set of embeddings:
the ridge penalty, the mean of the training targets appended to every input, and the coefficients
that write an input as a combination of its nearest training inputs ("synthetic intervention"
coefficients, Agarwal et al. 2020, doi:10.48550/arXiv.2006.07691), as random Fourier features
(Tancik et al. 2020, doi:10.48550/arXiv.2006.10739), with the neighbours themselves or their
targets appended on demand.

Appended features enter the kernel through inner products alone, so no feature vector is made
where a sum of known products will do, and all left-out genes are solved as one batch.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.kernel_regression import Floats, ntk_of_products
from i2r.kernels.links import Ints, Link
from i2r.kernels.ranking import published_auc, rank_truth, score_log_ranks
from i2r.kernels.selection import Selection

# Left-out sets solved at a time: bounds memory, about 50 MB for 39 genes.
_BATCH = 256
_DEPENDENT = 1e-10


class PublishedConfiguration(NamedTuple):
    """One point of the published grid.

    Attributes
    ----------
    penalty
        Ridge penalty: 1, 5, 10, 50 or 100.
    append_mean
        Append the mean of the training targets to every input.
    neighbours
        Training inputs to write an input with; 0 for no such features, and then the options
        below change nothing.
    frequencies, encoding, sigma
        Of the Fourier features of the coefficients: 'positional' has the frequencies
        ``sigma^(j / frequencies)`` for each coefficient, 'gauss' so many random projections with
        standard deviation ``sigma``.
    append
        Append also the neighbours' 'images' (inputs, with the mean and the Fourier features that
        these carry already) or 'genes' (targets), nearest first.
    """

    penalty: float
    append_mean: bool
    neighbours: int
    frequencies: int
    append: Literal["none", "images", "genes"]
    encoding: Literal["positional", "gauss"]
    sigma: float

    @property
    def title(self) -> str:
        """The configuration in a few words."""
        mean = ", mean appended" if self.append_mean else ""
        if not self.neighbours:
            return f"ntk, penalty {self.penalty:g}{mean}"
        return (
            f"ntk, penalty {self.penalty:g}{mean}, {self.neighbours} neighbours, {self.encoding} "
            f"E={self.frequencies} sigma={self.sigma:g}, append {self.append}"
        )


def list_published_grid(neighbours: Sequence[int] = (0, 10)) -> list[PublishedConfiguration]:
    """List the published grid: 720 configurations for each number of neighbours.

    Those without neighbours differ in options that change nothing; as published, each counts.
    """
    return [
        PublishedConfiguration(penalty, append_mean, number, frequencies, append, encoding, sigma)
        for number in neighbours
        for encoding in _ENCODINGS
        for frequencies in (2, 5, 10, 20)
        for sigma in (1.0, 5.0, 10.0)
        for append in _APPENDED
        for append_mean in (False, True)
        for penalty in (1.0, 5.0, 10.0, 50.0, 100.0)
    ]


_ENCODINGS: tuple[Literal["positional", "gauss"], ...] = ("positional", "gauss")
_APPENDED: tuple[Literal["none", "images", "genes"], ...] = ("none", "images", "genes")


def rank_published(
    configurations: Sequence[PublishedConfiguration],
    x: npt.ArrayLike,
    link: Link,
    *,
    seed: int,
) -> Floats:
    """Rank every gene left out, under every configuration.

    Parameters
    ----------
    configurations
        Any part of the grid; those in a row that differ only in penalty share their kernels.
    x
        Shape (n, d): inputs of the training genes; or (n, n, d): at i those made without gene i.
    link
        The genes' places among the candidates.
    seed
        Of the projections of the 'gauss' encoding, which were not seeded as published.

    Returns
    -------
    ndarray of float64, shape (g, n)
    """
    left_out, inputs = np.arange(len(link.truth))[:, None], np.asarray(x, dtype=float)
    if inputs.ndim == 2:
        return _rank_folds(configurations, inputs, link, left_out, seed=seed)
    ranked = [
        _rank_folds(configurations, own, link, one[None], seed=seed)
        for own, one in zip(inputs, left_out, strict=True)
    ]
    return np.concatenate(ranked, axis=1)


def select_published(
    configurations: Sequence[PublishedConfiguration],
    x: npt.ArrayLike,
    link: Link,
    *,
    seed: int,
) -> Selection:
    """Choose a configuration for every gene without it, and rank the gene by it.

    The other genes are left out in turn from what remains without the gene, and the configuration
    with their best `score_log_ranks` is taken. See `rank_published` for parameters; with inputs of
    its own (n, n, d), a gene's choice is made on them. About n times the work of `rank_published`.
    """
    n, inputs = len(link.truth), np.asarray(x, dtype=float)
    inner = np.empty((len(configurations), n))
    for gene in range(n):
        others = np.delete(np.arange(n), gene)
        pairs = np.stack([others, np.full(n - 1, gene)], axis=1)
        own = inputs if inputs.ndim == 2 else inputs[gene]
        ranks = _rank_folds(configurations, own, link, pairs, seed=seed)
        inner[:, gene] = score_log_ranks(ranks, link.n_candidates)
    outer = rank_published(configurations, x, link, seed=seed)
    return Selection(outer, inner, np.argmax(inner, axis=0).astype(np.int64))


def choose_as_published(ranks: Floats) -> int:
    """Choose the configuration with the best sum of 20- and 50-nearest areas on its own ranks.

    This is how published figures were selected: on the predictions that are reported.
    """
    return int(np.argmax(published_auc(ranks, 20) + published_auc(ranks, 50)))


def _rank_folds(
    configurations: Sequence[PublishedConfiguration],
    x: Floats,
    link: Link,
    left_out: Ints,
    *,
    seed: int,
) -> Floats:
    """Rank the first gene of each left-out set, in the space of its last, shape (g, folds)."""
    # A rotation keeps all inner products: as many coordinates as rows are enough.
    x = np.asarray(np.linalg.qr(x.T, mode="r")).T
    ranks = np.empty((len(configurations), len(left_out)))
    for start in range(0, len(left_out), _BATCH):
        batch = slice(start, start + _BATCH)
        folds = _Folds(x, link, left_out[batch], seed)
        known: dict[tuple[object, ...], Floats] = {}
        place = 0
        for features, group in groupby(configurations, key=lambda c: c[1:]):
            same = list(group)
            # Without neighbours the remaining options change nothing.
            key = features if features[1] else features[:2]
            penalties = tuple(c.penalty for c in same)
            if (key, penalties) not in known:
                known[key, penalties] = folds.rank(same[0], penalties)
            ranks[place : place + len(same), batch] = known[key, penalties]
            place += len(same)
    return ranks


class _Folds:
    """Some left-out sets, with what all configurations share.

    Arrays have the axes (fold, row, row); rows that are left out take part as queries.
    """

    def __init__(self, x: Floats, link: Link, left_out: Ints, seed: int) -> None:
        self.x, self.link, self.seed = x, link, seed
        n_folds, n = len(left_out), len(x)
        self.query, space = left_out[:, 0], left_out[:, -1]
        self.available = np.ones((n_folds, n), dtype=bool)
        self.available[np.arange(n_folds)[:, None], left_out] = False
        self.products = x @ x.T
        spaces = [link.space(int(gene)) for gene in space]
        self.candidates = np.stack([own.products for own in spaces])
        self.squared = np.stack([own.squared for own in spaces])
        self.targets = self.candidates[:, :, link.truth]
        share = self.available / self.available.sum(axis=1, keepdims=True)
        self.mean_squared = np.einsum("fi,fij,fj->f", share, self.targets, share, optimize=True)
        length = np.diagonal(self.products)
        self.distance = length[:, None] + length - 2 * self.products
        # A row is its own nearest, whatever rounding says.
        np.fill_diagonal(self.distance, -1.0)
        values = np.linalg.eigvalsh(self.products)
        self.is_independent = bool(values[0] > _DEPENDENT * values[-1])
        self._coefficients: dict[int, tuple[Ints, Floats]] = {}

    def rank(self, configuration: PublishedConfiguration, penalties: Sequence[float]) -> Floats:
        """Rank the query of every fold, shape (penalties, folds)."""
        products = self._add_features(configuration)
        squared = np.diagonal(products, axis1=1, axis2=2)
        kernel = ntk_of_products(products, squared, squared)
        folds = np.arange(len(self.query))
        against = np.where(self.available, kernel[folds, self.query], 0.0)
        # Left-out rows become rows of the unit matrix: their weight is zero.
        both = self.available[:, :, None] & self.available[:, None, :]
        kernel = np.where(both, kernel, 0.0)
        rows = np.arange(kernel.shape[1])
        kernel[:, rows, rows] += ~self.available
        ranks = np.empty((len(penalties), len(folds)))
        for place, penalty in enumerate(penalties):
            regular = kernel.copy()
            regular[:, rows, rows] += penalty
            weights = np.linalg.solve(regular, against[:, :, None])[:, :, 0]
            scores = 2 * (weights[:, None] @ self.candidates)[:, 0] - self.squared
            ranks[place] = rank_truth(scores, self.link.truth[self.query])
        return ranks

    def _add_features(self, configuration: PublishedConfiguration) -> Floats:
        """Give the inner products of all rows with their features, (fold, row, row)."""
        products = np.repeat(self.products[None], len(self.query), axis=0)
        if configuration.append_mean:
            products += self.mean_squared[:, None, None]
        if not configuration.neighbours:
            return products
        nearest, coefficients = self._find_coefficients(configuration.neighbours)
        features = _encode(coefficients, configuration, self.seed)
        products += features @ features.transpose(0, 2, 1)
        if configuration.append != "none":
            # As published, appended inputs carry the mean and the Fourier features already.
            inputs = products.copy()
            folds = np.arange(len(self.query))[:, None, None]
            for one in _pair_neighbours(nearest):
                given = inputs if configuration.append == "images" else self.targets
                products += given[(folds, *one)]
        return products

    def _find_coefficients(self, number: int) -> tuple[Ints, Floats]:
        """Find each row's nearest training rows, and the combination of them that makes it.

        Returns
        -------
        nearest : (fold, row, number) int64
        coefficients : (fold, row, number) float64
        """
        number = min(number, int(self.available.sum(axis=1).min()))
        if number in self._coefficients:
            return self._coefficients[number]
        distance = np.where(self.available[:, None, :], self.distance, np.inf)
        nearest = np.argsort(distance, axis=2, kind="stable")[:, :, :number].astype(np.int64)
        coefficients = np.zeros(nearest.shape)
        # A training row is the first of its own neighbours; where rows are independent it is
        # made of nothing else.
        coefficients[:, :, 0] = 1.0
        solved = ~self.available if self.is_independent else np.ones_like(self.available)
        fold, row = np.nonzero(solved)
        inverse = np.linalg.pinv(self.x[nearest[fold, row]])
        coefficients[fold, row] = (self.x[row][:, None] @ inverse)[:, 0]
        self._coefficients[number] = nearest, coefficients
        return nearest, coefficients


def _encode(coefficients: Floats, configuration: PublishedConfiguration, seed: int) -> Floats:
    """Make Fourier features of coefficients, (fold, row, feature)."""
    count, sigma = configuration.frequencies, configuration.sigma
    if configuration.encoding == "positional":
        frequencies = sigma ** (np.arange(count) / count)
        angles = 2 * np.pi * coefficients[..., None] * frequencies
        angles = angles.reshape(*coefficients.shape[:2], -1)
    else:
        random = np.random.default_rng(seed)
        projection = sigma * random.standard_normal((count, coefficients.shape[2]))
        angles = 2 * np.pi * coefficients @ projection.T
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=2)


def _pair_neighbours(nearest: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Give, place by place, the neighbours of every two rows."""
    for place in range(nearest.shape[2]):
        yield nearest[:, :, None, place], nearest[:, None, :, place]
