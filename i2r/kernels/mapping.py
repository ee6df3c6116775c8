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
from i2r.kernels.ranking import TIE, correct_hubs, rank_truth, score_log_ranks

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


def rank_left_out(inverse: Floats, link: Link, *, centre: bool = False) -> Floats:
    """Rank every training gene by the prediction of a regression that never saw it, (n,)."""
    weights = regression.leave_one_out_weights(inverse, centre=centre)
    return rank_truth(score_candidates(weights, link), link.truth)


def rank_left_two_out(inverse: Floats, link: Link, *, centre: bool = False) -> Floats:
    """Rank every training gene by regressions that saw neither it nor one other gene.

    Parameters
    ----------
    inverse
        Shape (n, n): from `kernel_regression.invert_ridge` on all training genes.

    Returns
    -------
    ndarray of float64, shape (n, n)
        At (i, j) the rank of gene j without genes i and j, in the space of i; the diagonal is
        NaN. Row i is all that may be known when gene i is held out.
    """
    n = len(inverse)
    ranks = np.full((n, n), np.nan)
    row_sums = inverse.sum(axis=1)
    projected = inverse @ link.products[0]
    for gene in range(n):
        products, squared = link.space(gene)
        if len(link.products) > 1:
            projected = inverse @ products
        _rank_pairs(
            gene, inverse, row_sums, products, projected, products.sum(axis=0), squared,
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


class Selection(NamedTuple):
    """Left-out ranks of all configurations, and what was chosen for each gene without it.

    Attributes
    ----------
    ranks : (g, n) float64
        Of every configuration.
    inner_scores : (g, n) float64
        What each configuration reaches on the others when gene i is held out.
    chosen : (n,) int64
        The configuration with the best inner score; the first of equal ones.
    """

    ranks: Floats
    inner_scores: Floats
    chosen: Ints

    @property
    def nested(self) -> Floats:
        """Ranks with the configuration chosen without the gene that is ranked, shape (n,)."""
        return self.ranks[self.chosen, np.arange(self.ranks.shape[1])]


def invert_kernels(configurations: Sequence[Configuration], x: npt.ArrayLike) -> list[Floats]:
    """Factorise the training genes once per configuration."""
    kernels = {c[:2]: compute_kernel(c, x, x) for c in configurations}
    return [regression.invert_ridge(kernels[c[:2]], c.penalty) for c in configurations]


def select_nested(
    configurations: Sequence[Configuration], inverses: Sequence[Floats], link: Link
) -> Selection:
    """Rank every gene left out, with the configuration chosen on the other genes alone.

    Parameters
    ----------
    configurations, inverses
        From `invert_kernels`.
    link
        Training genes and candidates.
    """
    ranks = np.stack(
        [
            rank_left_out(inverse, link, centre=c.centre)
            for c, inverse in zip(configurations, inverses, strict=True)
        ]
    )
    if len(configurations) == 1:
        # Nothing to choose from: the inner regressions would decide nothing.
        return Selection(ranks, np.full_like(ranks, np.nan), np.zeros(len(link.truth), np.int64))
    inner = np.stack(
        [
            score_log_ranks(rank_left_two_out(inverse, link, centre=c.centre), link.n_candidates)
            for c, inverse in zip(configurations, inverses, strict=True)
        ]
    )
    return Selection(ranks, inner, np.argmax(inner, axis=0).astype(np.int64))


def score_selected(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    chosen: Ints,
    *,
    correct: bool = False,
) -> Floats:
    """Score all candidates for every gene left out, by the configuration chosen for it.

    Parameters
    ----------
    chosen
        Shape (n,): from `select_nested`.
    correct
        Correct for hubs (`i2r.kernels.ranking.correct_hubs`), by the predictions of the other
        genes that saw neither them nor the gene that is scored.

    Returns
    -------
    ndarray of float64, shape (n, c)
        Higher is nearer.
    """
    n = len(link.truth)
    scores = np.empty((n, link.n_candidates))
    for place in np.unique(chosen):
        inverse, centre = inverses[place], configurations[place].centre
        genes = np.nonzero(chosen == place)[0]
        weights = regression.leave_one_out_weights(inverse, centre=centre)
        if not correct:
            scores[genes] = score_candidates(weights, link)[genes]
            continue
        for gene in genes:
            others = regression.leave_two_out_weights(inverse, int(gene), centre=centre)
            reference = measure_cosines(np.delete(others, gene, axis=0), link, int(gene))
            own = measure_cosines(weights[[gene]], link, int(gene))
            scores[gene] = correct_hubs(own, reference)[0]
    return scores


def measure_cosines(weights: Floats, link: Link, gene: int) -> Floats:
    """Give the cosines between predictions and candidates, in the space of a gene: (q, c)."""
    products, squared = link.space(gene)
    length = np.einsum("qi,ij,qj->q", weights, products[:, link.truth], weights, optimize=True)
    scale = np.sqrt(np.maximum(length, 0)[:, None] * squared)
    made = weights @ products
    cosines: Floats = np.divide(made, scale, out=np.zeros_like(made), where=scale > 0)
    return cosines


def shuffle_links(
    configurations: Sequence[Configuration],
    inverses: Sequence[Floats],
    link: Link,
    *,
    seed: np.random.SeedSequence,
    draws: int,
    correct: bool = False,
) -> Floats:
    """Repeat everything with inputs dealt to the genes at random, choice of options included.

    Parameters
    ----------
    correct
        As in `score_selected`.

    Returns
    -------
    ndarray of float64, shape (draws, n)
        Left-out ranks of each shuffled link.
    """
    random = np.random.default_rng(seed)
    shuffled = np.empty((draws, len(link.truth)))
    for draw in range(draws):
        order = random.permutation(len(link.truth))
        moved = [inverse[np.ix_(order, order)] for inverse in inverses]
        selection = select_nested(configurations, moved, link)
        shuffled[draw] = selection.nested
        if correct:
            scores = score_selected(configurations, moved, link, selection.chosen, correct=True)
            shuffled[draw] = rank_truth(scores, link.truth)
    return shuffled
