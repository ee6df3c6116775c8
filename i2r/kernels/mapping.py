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
from i2r.kernels.links import Floats, Ints, Link, Space, choose_others
from i2r.kernels.ranking import SINGLE_TIE, TIE, rank_truth

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


def score_candidates(weights: Floats, link: Link, genes: Ints | None = None) -> Floats:
    """Score candidates by minus their squared distance to predictions, up to a constant.

    Parameters
    ----------
    weights
        Shape (q, n): rows have the weights of training genes in the prediction of a gene.
    genes
        Shape (q,): which genes; None for all, in order.

    Returns
    -------
    ndarray of float64, shape (q, c)
    """
    if link.n_spaces == 1:
        scores: Floats = 2 * link.project(0, weights) - link.squared
        return scores
    places = range(len(weights)) if genes is None else genes.tolist()
    rows = zip(places, weights, strict=True)
    return np.stack([2 * link.project(g, own[None])[0] - link.squared[g] for g, own in rows])


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


def rank_all_ways(
    inverses: Sequence[Floats], link: Link, centres: Sequence[Sequence[bool]]
) -> list[list[Floats]]:
    """Rank training genes by regressions that saw neither them nor one other gene.

    Some inverses, each centred or not, share all products. A gene's space is gone through once for
    all of them: where there is one per gene, reading it takes longer than the products.

    Parameters
    ----------
    inverses
        Each of shape (n, n), from `kernel_regression.invert_ridge` on all training genes, or
        (n, n, n), one per gene.
    link
        From genes to candidates.
    centres
        For every inverse which ways are ranked.

    Returns
    -------
    list of list of ndarray
        For every inverse and way shape (n, n): at (i, j) the rank of gene j without genes i and j,
        in the space of i; NaN on the diagonal and where j is not one of
        `i2r.kernels.links.choose_others`. Row i is all that may be known when gene i is held out.
    """
    n = len(link.truth)
    tie = TIE if link.precision == np.float64 else SINGLE_TIE
    ranks = [[np.full((n, n), np.nan) for _ in ways] for ways in centres]
    # Products of one space and one inverse are made once, of others gene by gene.
    made_once = {
        place: link.project(0, inverse)
        for place, inverse in enumerate(inverses)
        if inverse.ndim == 2 and link.n_spaces == 1
    }
    sums = [inverse.sum(axis=-1) for inverse in inverses]
    for gene in range(n):
        others = choose_others(n, gene)
        rows = np.concatenate([[gene], others])
        products, product_rows = link.rows(gene, rows)
        owns = [inverse_for(inverse, gene) for inverse in inverses]
        projected = {place: (table, rows) for place, table in made_once.items()}
        alone = [place for place in range(len(inverses)) if place not in made_once]
        if alone:
            weights = np.concatenate(
                [owns[place][rows] for place in alone], dtype=link.precision, casting="same_kind"
            )
            made = link.project(gene, weights)
            for number, place in enumerate(alone):
                projected[place] = (made, np.arange(len(rows)) + number * len(rows))
        at = gene if link.n_spaces > 1 else 0
        for place, own in enumerate(owns):
            own_sums = sums[place] if sums[place].ndim == 1 else sums[place][gene]
            for found, centre in zip(ranks[place], centres[place], strict=True):
                found[gene, others] = _rank_pairs(
                    own[rows, rows], own[gene, rows], own_sums[rows], n, products,
                    product_rows, *projected[place], link.sums[at], link.squared[at],
                    link.truth[others], centre, tie,
                )  # fmt: skip
    return ranks


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _rank_pairs(
    diagonal: Floats,
    beside: Floats,
    row_sums: Floats,
    n: int,
    products: Floats,
    product_rows: Ints,
    projected: Floats,
    projected_rows: Ints,
    all_sums: Floats,
    squared: Floats,
    truth: Ints,
    centre: bool,
    tie: float,
) -> Floats:
    """Rank the others when a gene is held out: predictions are residuals of the two-by-two block.

    The gene is the first of all rows, the others follow. This runs for every pair of genes,
    configuration and shuffled link, so the loop over candidates is a plain sum of rows that the
    compiler can do several at a time.
    """
    n_others, n_candidates = len(truth), products.shape[1]
    ranks = np.empty(n_others)
    # The sum over all genes but the one held out; the other is subtracted in the loop.
    remaining = all_sums - products[product_rows[0]]
    first = projected[projected_rows[0]]
    for other in range(n_others):
        both = beside[1 + other]
        determinant = diagonal[0] * diagonal[1 + other] - both * both
        a, b = 2 * both / determinant, -2 * diagonal[0] / determinant
        rest = 0.0
        if centre:
            # Weights that are missing to one go to the mean of the remaining genes.
            rest = -(a * row_sums[0] + b * row_sums[1 + other]) / (n - 2)
        own_row = products[product_rows[1 + other]]
        second = projected[projected_rows[1 + other]]
        c = truth[other]
        own = (2 - rest) * own_row[c] - squared[c] + rest * remaining[c]
        own += a * first[c] + b * second[c]
        margin = tie * max(abs(own), 1.0)
        low, high = own - margin, own + margin
        better, reached = 0, 0
        for c in range(n_candidates):
            score = (2 - rest) * own_row[c] - squared[c] + rest * remaining[c]
            score += a * first[c] + b * second[c]
            better += score > high
            reached += score >= low
        ranks[other] = 1 + better + (reached - better - 1) / 2
    return ranks


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
    space = link.space(gene)
    return measure_space_cosines(weights, space, link.truth)


def measure_space_cosines(weights: Floats, space: Space, truth: Ints) -> Floats:
    """Give the cosines between predictions and candidates in a space, (q, c)."""
    products, squared = space
    length = np.einsum("qi,ij,qj->q", weights, products[:, truth], weights, optimize=True)
    scale = np.sqrt(np.maximum(length, 0)[:, None] * squared)
    made = weights @ products
    cosines: Floats = np.divide(made, scale, out=np.zeros_like(made), where=scale > 0)
    return cosines
