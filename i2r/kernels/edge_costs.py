"""How alike two genes are expressed, edge by edge, from sparse tables of cells by genes.

Counts of single cells are mostly zeros. Everything here works on the values that are there, so
memory is that of the table: 8 to 12 bytes per value, whatever the number of cells.
"""

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import rankdata

Edges = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]
# Bins per gene of the histogram that mutual information is measured with, as published.
BINS = 100


def correlate_edges(values: sparse.csc_array, edges: Edges, *, ranked: bool) -> Floats:
    """Correlate the two genes of every edge over cells.

    Parameters
    ----------
    values : (cell, gene) float
        Expression; what is not there is 0. No NaN.
    edges : (m, 2) int
        Genes, as columns; quickest where edges of one first gene follow each other.
    ranked
        Spearman's correlation (ties get mean ranks) instead of Pearson's.

    Returns
    -------
    (m,) float64
        -1 to 1; 0 where a gene is constant, for it says nothing about the other.
    """
    n_cells, n_genes = values.shape
    data = rank_genes(values) if ranked else values.data
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    sums, squares = np.empty(n_genes), np.empty(n_genes)
    for gene in range(n_genes):
        own = data[values.indptr[gene] : values.indptr[gene + 1]].astype(np.float64)
        sums[gene], squares[gene] = own.sum(), (own * own).sum()
    products = np.empty(len(pairs))
    _multiply(values.indptr, values.indices, data, n_cells, pairs, products)
    first, second = pairs.T
    spread = np.maximum(squares - sums**2 / max(n_cells, 1), 0)
    # Rounding leaves a constant gene a little spread.
    spread[spread <= 1e-12 * squares] = 0
    scale = np.sqrt(spread[first] * spread[second])
    together = products - sums[first] * sums[second] / max(n_cells, 1)
    found = np.divide(together, scale, out=np.zeros(len(pairs)), where=scale > 0)
    return np.clip(found, -1.0, 1.0)


def rank_genes(values: sparse.csc_array) -> npt.NDArray[np.float32]:
    """Rank the cells of every gene, relative to the rank of zero, which so stays zero.

    Ranks are halves of whole numbers: single precision holds them exactly up to 8 million cells.

    Returns
    -------
    (n,) float32
        Aligned with ``values.data``.
    """
    ranks = np.empty(len(values.data), dtype=np.float32)
    for start, end in zip(values.indptr[:-1], values.indptr[1:], strict=True):
        own = values.data[start:end]
        n_zero = values.shape[0] - len(own) + int((own == 0).sum())
        n_below = int((own < 0).sum())
        # Stored zeros tie with those that are not stored.
        n_missing = values.shape[0] - len(own)
        above = rankdata(own) + np.where(own > 0, n_missing, 0)
        zero = n_below + (n_zero + 1) / 2
        ranks[start:end] = np.where(own == 0, 0, above - zero)
    return ranks


@numba.njit(cache=True)
def _multiply(
    indptr: npt.NDArray[np.integer],
    indices: npt.NDArray[np.integer],
    data: npt.NDArray[np.floating],
    n_cells: int,
    edges: Edges,
    products: Floats,
) -> None:
    """Fill in the inner product of the two columns of every edge."""
    spread = np.zeros(n_cells)
    now = -1
    for e in range(len(edges)):
        first, second = edges[e]
        if first != now:
            if now >= 0:
                for k in range(indptr[now], indptr[now + 1]):
                    spread[indices[k]] = 0.0
            for k in range(indptr[first], indptr[first + 1]):
                spread[indices[k]] = data[k]
            now = first
        total = 0.0
        for k in range(indptr[second], indptr[second + 1]):
            total += spread[indices[k]] * data[k]
        products[e] = total


def measure_information(values: sparse.csc_array, edges: Edges, *, bins: int = BINS) -> Floats:
    """Measure the mutual information of the two genes of every edge, 0 to 1.

    From a histogram with bins of equal width between each gene's least and largest value, divided
    by the geometric mean of the two entropies (Strehl and Ghosh 2002, J. Mach. Learn. Res. 3:583).

    Parameters
    ----------
    values, edges
        As in `correlate_edges`.
    bins
        At most 255.

    Returns
    -------
    (m,) float64
        0 where a gene is constant.
    """
    n_cells, n_genes = values.shape
    # A byte per cell and gene.
    codes = np.zeros((n_genes, n_cells), dtype=np.uint8)
    for gene in range(n_genes):
        own = slice(values.indptr[gene], values.indptr[gene + 1])
        data, where = values.data[own].astype(np.float64), values.indices[own]
        has_zeros = len(data) < n_cells
        low = min(data.min(initial=np.inf), 0.0 if has_zeros else np.inf)
        high = max(data.max(initial=-np.inf), 0.0 if has_zeros else -np.inf)
        if high > low:
            scale = bins / (high - low)
            codes[gene] = min(int(-low * scale), bins - 1) if has_zeros else 0
            codes[gene, where] = np.minimum((data - low) * scale, bins - 1).astype(np.uint8)
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    found = np.empty(len(pairs))
    _inform(codes, pairs, bins, found)
    return found


@numba.njit(cache=True)
def _inform(codes: npt.NDArray[np.uint8], edges: Edges, bins: int, found: Floats) -> None:
    """Fill in the normalised mutual information of every edge."""
    n_genes, n_cells = codes.shape
    entropies = np.zeros(n_genes)
    for gene in range(n_genes):
        counts = np.zeros(bins)
        for cell in range(n_cells):
            counts[codes[gene, cell]] += 1
        for k in range(bins):
            if counts[k] > 0:
                entropies[gene] -= counts[k] / n_cells * np.log(counts[k] / n_cells)
    both = np.zeros((bins, bins))
    for e in range(len(edges)):
        first, second = edges[e]
        scale = np.sqrt(entropies[first] * entropies[second])
        if scale <= 0:
            found[e] = 0.0
            continue
        both[:] = 0
        for cell in range(n_cells):
            both[codes[first, cell], codes[second, cell]] += 1
        joint = 0.0
        for i in range(bins):
            for j in range(bins):
                if both[i, j] > 0:
                    joint -= both[i, j] / n_cells * np.log(both[i, j] / n_cells)
        shared = entropies[first] + entropies[second] - joint
        found[e] = min(max(shared / scale, 0.0), 1.0)
