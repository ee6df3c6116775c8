"""From perturbation embeddings to regulatory genes: every gene left out once, at one cost.

A prediction is a weighted sum of the regulatory embeddings of the training genes (see
`i2r.kernels.kernel_regression`), and candidates are ranked by their distance to it. Inner products
between training genes and candidates are computed once; from then on left-out ranks, options
chosen without the left-out gene, and shuffled links cost a few multiplications each.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels import kernel_regression as regression
from i2r.kernels.ranking import TIE, rank_truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


Kernel = Literal["ntk", "rbf", "linear"]
Scale = Literal["raw", "unit"]


class Configuration(NamedTuple):
    """One way of mapping.

    Attributes
    ----------
    kernel
        'ntk' (one hidden layer of rectified linear units, as published), 'rbf' or 'linear'.
    scale
        'raw', or 'unit': rows of the input are divided by their length.
    penalty
        Ridge penalty.
    centre
        Whether what is unlike every training gene is predicted to be their mean, not zero.
    """

    kernel: Kernel = "ntk"
    scale: Scale = "raw"
    penalty: float = 1.0
    centre: bool = False

    @property
    def title(self) -> str:
        """The configuration in a few words."""
        centre = ", centred" if self.centre else ""
        return f"{self.kernel}, {self.scale}, penalty {self.penalty:g}{centre}"


PUBLISHED = Configuration("ntk", "raw", 1.0, False)
"""The plain configuration of Image2Reg, that of its demo (Paysan et al., Cell Systems 2025)."""

_KERNELS: tuple[tuple[Kernel, Scale], ...] = (
    ("ntk", "raw"), ("ntk", "unit"), ("rbf", "unit"), ("linear", "unit"),
)  # fmt: skip
GRID = tuple(
    Configuration(kernel, scale, penalty, centre)
    for kernel, scale in _KERNELS
    for centre in (False, True)
    for penalty in (0.1, 1.0, 10.0, 100.0)
)
"""What nested selection chooses from. Every one has its left-out genes in closed form."""


class Link(NamedTuple):
    """Which candidate each training gene is, and the candidates' inner products.

    Attributes
    ----------
    truth : (n,) int64
        Position of each training gene among the candidates.
    products : (s, n, c) float64
        Inner products of training genes and candidates, in one space for all genes (s = 1) or in
        the space made without the label of gene i (s = n).
    squared : (s, c) float64
        Squared lengths of the candidates.
    """

    truth: Ints
    products: Floats
    squared: Floats

    @property
    def n_candidates(self) -> int:
        """How many candidates there are."""
        return self.squared.shape[1]

    def space(self, gene: int) -> tuple[Floats, Floats]:
        """Give the products (n, c) and squared lengths (c,) to judge a gene by."""
        at = gene if len(self.products) > 1 else 0
        return self.products[at], self.squared[at]


def link_genes(candidates: npt.ArrayLike, truth: npt.ArrayLike) -> Link:
    """Prepare candidates for ranking.

    Parameters
    ----------
    candidates
        Shape (c, q) or (n, c, q): regulatory embeddings, one space or one per training gene.
    truth
        Shape (n,): position of each training gene among the candidates.

    Raises
    ------
    ValueError
        If an embedding is not finite, or there are spaces but not one per training gene.
    """
    spaces = np.asarray(candidates, dtype=float)
    spaces = spaces[None] if spaces.ndim == 2 else spaces
    truth = np.asarray(truth, dtype=np.int64)
    if not np.isfinite(spaces).all():
        raise ValueError("candidate embeddings have NaN or infinite values")
    if len(spaces) not in (1, len(truth)):
        raise ValueError(f"{len(spaces)} spaces for {len(truth)} training genes, expected as many")
    products = spaces[:, truth] @ spaces.transpose(0, 2, 1)
    return Link(truth, products, (spaces**2).sum(axis=2))


def scale_rows(x: npt.ArrayLike, scale: str) -> Floats:
    """Divide rows by their length where ``scale`` is 'unit'; a row of zeros stays."""
    x = np.asarray(x, dtype=float)
    if scale == "raw":
        return x
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def compute_kernel(configuration: Configuration, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Compute the kernel of a configuration between inputs, shape (n, m)."""
    x, y = scale_rows(x, configuration.scale), scale_rows(y, configuration.scale)
    if configuration.kernel == "ntk":
        return regression.ntk_kernel(x, y)
    if configuration.kernel == "linear":
        return regression.linear_kernel(x, y)
    # Rows of unit length at right angles are a square root of two apart: width one.
    return regression.rbf_kernel(x, y, bandwidth=1.0)


def score_candidates(weights: Floats, link: Link) -> Floats:
    """Score candidates by minus their squared distance to predictions, up to a constant.

    Parameters
    ----------
    weights
        Shape (n, n): row i has the weights of training genes in the prediction of gene i.

    Returns
    -------
    ndarray of float64, shape (n, c)
    """
    if len(link.products) == 1:
        products = weights @ link.products[0]
    else:
        products = (weights[:, None, :] @ link.products)[:, 0]
    scores: Floats = 2 * products - link.squared
    return scores


def weigh_left_out(inverse: Floats, *, centre: bool = False) -> Floats:
    """Give for every gene the weights of a regression that never saw it.

    Parameters
    ----------
    inverse
        Shape (n, n), or (n, n, n): one per gene, of inputs made without that gene.

    Returns
    -------
    ndarray of float64, shape (n, n)
        See `kernel_regression.leave_one_out_weights`.
    """
    if inverse.ndim == 2:
        return regression.leave_one_out_weights(inverse, centre=centre)
    rows = enumerate(inverse)
    return np.stack([regression.leave_one_out_weights(o, centre=centre)[i] for i, o in rows])


def rank_left_out(inverse: Floats, link: Link, *, centre: bool = False) -> Floats:
    """Rank every training gene by the prediction of a regression that never saw it, (n,)."""
    weights = weigh_left_out(inverse, centre=centre)
    return rank_truth(score_candidates(weights, link), link.truth)


def rank_left_two_out(inverse: Floats, link: Link, *, centre: bool = False) -> Floats:
    """Rank every training gene by regressions that saw neither it nor one other gene.

    Parameters
    ----------
    inverse
        Shape (n, n), from `kernel_regression.invert_ridge` on all training genes, or one per gene.

    Returns
    -------
    ndarray of float64, shape (n, n)
        At (i, j) the rank of gene j without genes i and j, in the space of i; the diagonal is
        NaN. Row i is all that may be known when gene i is held out.
    """
    n = len(inverse)
    ranks = np.full((n, n), np.nan)
    is_shared = inverse.ndim == 2 and len(link.products) == 1
    projected = inverse @ link.products[0] if is_shared else None
    for gene in range(n):
        products, squared = link.space(gene)
        own = inverse_for(inverse, gene)
        predicted = own @ products if projected is None else projected
        _rank_pairs(
            gene, own, own.sum(axis=1), products, predicted, products.sum(axis=0), squared,
            link.truth, centre, TIE, ranks[gene],
        )  # fmt: skip
    return ranks


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _rank_pairs(
    gene: int,
    inverse: Floats,
    row_sums: Floats,
    products: Floats,
    projected: Floats,
    sums: Floats,
    squared: Floats,
    truth: Ints,
    centre: bool,
    tie: float,
    ranks: Floats,
) -> None:
    """Fill a row of `rank_left_two_out`: predictions are residuals of the two-by-two block.

    This runs for every pair of genes, configuration and shuffled link, so the loop over candidates
    is a plain sum of rows that the compiler can do several at a time.
    """
    n, n_candidates = products.shape
    # The sum over all genes but the one held out; the other is subtracted in the loop.
    remaining = sums - products[gene]
    for other in range(n):
        if other == gene:
            continue
        both = inverse[gene, other]
        determinant = inverse[gene, gene] * inverse[other, other] - both * both
        a, b = 2 * both / determinant, -2 * inverse[gene, gene] / determinant
        rest = 0.0
        if centre:
            # Weights that are missing to one go to the mean of the remaining genes.
            rest = -(a * row_sums[gene] + b * row_sums[other]) / (n - 2)
        c = truth[other]
        own = (2 - rest) * products[other, c] - squared[c] + rest * remaining[c]
        own += a * projected[gene, c] + b * projected[other, c]
        margin = tie * max(abs(own), 1.0)
        low, high = own - margin, own + margin
        better, reached = 0, 0
        own_row, first, second = products[other], projected[gene], projected[other]
        for c in range(n_candidates):
            score = (2 - rest) * own_row[c] - squared[c] + rest * remaining[c]
            score += a * first[c] + b * second[c]
            better += score > high
            reached += score >= low
        ranks[other] = 1 + better + (reached - better - 1) / 2


def inverse_for(inverse: Floats, gene: int) -> Floats:
    """Give the inverse (n, n) that a gene is left out of."""
    return inverse if inverse.ndim == 2 else inverse[gene]


def invert_kernels(configurations: Sequence[Configuration], x: npt.ArrayLike) -> list[Floats]:
    """Factorise the training genes once per configuration.

    Parameters
    ----------
    x
        Shape (n, d), or (n, n, d): at i the inputs of all genes as made without gene i, such as by
        an encoder that never saw it. There is one inverse per gene then.
    """
    x = np.asarray(x, dtype=float)
    if x.ndim == 3:
        by_gene = [invert_kernels(configurations, own) for own in x]
        return [np.stack(inverses) for inverses in zip(*by_gene, strict=True)]
    kernels = {c[:2]: compute_kernel(c, x, x) for c in configurations}
    return [regression.invert_ridge(kernels[c[:2]], c.penalty) for c in configurations]


def measure_cosines(weights: Floats, link: Link, gene: int) -> Floats:
    """Give the cosines between predictions and candidates, in the space of a gene: (q, c)."""
    products, squared = link.space(gene)
    length = np.einsum("qi,ij,qj->q", weights, products[:, link.truth], weights, optimize=True)
    scale = np.sqrt(np.maximum(length, 0)[:, None] * squared)
    made = weights @ products
    cosines: Floats = np.divide(made, scale, out=np.zeros_like(made), where=scale > 0)
    return cosines
