"""Which candidate each training gene is, and the inner products that rank candidates.

Products of one space are computed once. Of a space per gene they would take as much memory as
genes times genes times candidates (2 GB for 500 genes and 1,000 candidates), so beyond a bound
they are made gene by gene where they are needed, from factors that are thin.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Products of so many bytes are kept.
KEPT_BYTES = 2**28
# Options of the map for a gene are chosen by at most so many of the others: ranks of every two of
# 500 genes would take ten times as long, and choose no better.
MAX_OTHERS = 48


class Space(NamedTuple):
    """The space that a gene is judged in.

    Attributes
    ----------
    products : (n, c) float64
        Inner products of training genes and candidates.
    squared : (c,) float64
        Squared lengths of the candidates.
    """

    products: Floats
    squared: Floats


class Link:
    """Which candidate each training gene is, in one space for all or one made without each gene.

    Attributes
    ----------
    truth : (n,) int64
        Position of each training gene among the candidates.
    squared : (s, c) float64
        Squared lengths of the candidates, of one space (s = 1) or as many as genes.
    sums : (s, c) float64
        Sums of the products over training genes.
    precision : dtype
        What options are chosen with: double, or single where products are made gene by gene.
        That takes half the time, and ranks of scores that differ by 1e-5 are the same.
    """

    def __init__(self, truth: Ints, spaces: Floats, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.truth = truth
        self.squared: Floats = (spaces**2).sum(axis=2)
        own = spaces[:, truth]
        self.sums: Floats = (own.sum(axis=1)[:, None] @ spaces.transpose(0, 2, 1))[:, 0]
        self._products: Floats | None = None
        self.precision: np.dtype[np.floating] = np.dtype(np.float32)
        self._spaces = spaces
        if len(spaces) * len(truth) * self.n_candidates * 8 <= kept_bytes:
            self._products = own @ spaces.transpose(0, 2, 1)
            self.precision = np.dtype(np.float64)
        self._rows: dict[int, Floats] = {}

    @property
    def n_candidates(self) -> int:
        """How many candidates there are."""
        return self.squared.shape[1]

    @property
    def n_spaces(self) -> int:
        """One, or as many as there are training genes."""
        return len(self.squared)

    def _place(self, gene: int) -> int:
        return gene if self.n_spaces > 1 else 0

    def space(self, gene: int) -> Space:
        """Give all products and lengths to judge a gene by."""
        at = self._place(gene)
        if self._products is not None:
            return Space(self._products[at], self.squared[at])
        own = self._spaces[at]
        return Space(own[self.truth] @ own.T, self.squared[at])

    def project(self, gene: int, weights: Floats) -> Floats:
        """Give the inner products of weighted sums of training genes and candidates, (q, c).

        Where they are made gene by gene, in the precision of the weights.
        """
        at = self._place(gene)
        if self._products is not None:
            return weights @ self._products[at]
        own = self._spaces[at].astype(weights.dtype, copy=False)
        projected: Floats = (weights @ own[self.truth]) @ own.T
        return projected

    def rows(self, gene: int, chosen: Ints) -> tuple[Floats, Ints]:
        """Give the products of some training genes in the space of one: a table, and their rows.

        In `precision`.

        Of a gene always the same ones are asked for, so they are made once.
        """
        at = self._place(gene)
        if self._products is not None:
            return self._products[at], chosen
        if gene not in self._rows:
            own = self._spaces[at].astype(self.precision)
            self._rows[gene] = own[self.truth[chosen]] @ own.T
        return self._rows[gene], np.arange(len(chosen), dtype=np.int64)


def link_genes(
    candidates: npt.ArrayLike, truth: npt.ArrayLike, *, kept_bytes: int = KEPT_BYTES
) -> Link:
    """Prepare candidates for ranking.

    Parameters
    ----------
    candidates
        Shape (c, q) or (n, c, q): regulatory embeddings, one space or one per training gene.
    truth
        Shape (n,): position of each training gene among the candidates.
    kept_bytes
        Products that take more are made gene by gene.

    Raises
    ------
    ValueError
        If an embedding is not finite, or there are spaces but not one per training gene.
    """
    spaces = np.asarray(candidates, dtype=float)
    spaces = spaces[None] if spaces.ndim == 2 else spaces
    own = np.asarray(truth, dtype=np.int64)
    if not np.isfinite(spaces).all():
        raise ValueError("candidate embeddings have NaN or infinite values")
    if len(spaces) not in (1, len(own)):
        raise ValueError(f"{len(spaces)} spaces for {len(own)} training genes, expected as many")
    return Link(own, spaces, kept_bytes=kept_bytes)


@lru_cache(maxsize=2**14)
def choose_others(n: int, gene: int) -> Ints:
    """Choose the genes that a gene's options are chosen by: all others, or as many at random.

    Parameters
    ----------
    n
        Number of training genes.
    gene
        The gene that is held out.

    Returns
    -------
    (min(n - 1, MAX_OTHERS),) int64
        Sorted; always the same for a gene. Not to be written to.
    """
    others = np.delete(np.arange(n, dtype=np.int64), gene)
    if len(others) > MAX_OTHERS:
        random = np.random.default_rng([n, gene])
        others = np.sort(random.choice(others, MAX_OTHERS, replace=False))
    others.flags.writeable = False
    return others
