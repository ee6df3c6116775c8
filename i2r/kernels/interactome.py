"""Networks of proteins as arrays: parts that hang together, cuts and hubs, prizes, cells."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import false_discovery_control, ttest_1samp

Edges = npt.NDArray[np.integer]


def find_largest_part(edges: Edges, n: int) -> npt.NDArray[np.bool_]:
    """Mark the vertices of the largest connected part; of equal ones that of the first vertex.

    Parameters
    ----------
    edges : (m, 2) int
        Vertices, 0 to n - 1. Vertices without an edge are parts of one.
    n
        Number of vertices.

    Returns
    -------
    (n,) bool
        All False for no vertices.
    """
    if n == 0:
        return np.zeros(0, dtype=bool)
    joined = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, labels = connected_components(joined, directed=False)
    return np.asarray(labels == np.bincount(labels).argmax())


def count_degrees(edges: Edges, n: int) -> npt.NDArray[np.int64]:
    """Count the edges at every vertex, shape (n,)."""
    return np.bincount(np.asarray(edges, dtype=np.int64).ravel(), minlength=n)


def find_hubs(edges: Edges, n: int, *, quantile: float) -> tuple[npt.NDArray[np.bool_], float]:
    """Mark vertices whose degree is at or above a quantile of all degrees above 0.

    Returns
    -------
    hubs : (n,) bool
        None for a quantile of 1.
    limit
        The degree at the quantile (linear interpolation); infinite for a quantile of 1.
    """
    degrees = count_degrees(edges, n)
    if quantile >= 1 or not degrees.any():
        return np.zeros(n, dtype=bool), float("inf")
    limit = float(np.quantile(degrees[degrees > 0], quantile))
    return degrees >= limit, limit


class LineComparison(NamedTuple):
    """One line's expression against that of others, by gene.

    Attributes
    ----------
    change, t, p_value, fdr : (gene,) float64
        See `compare_line`.
    """

    change: npt.NDArray[np.float64]
    t: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    fdr: npt.NDArray[np.float64]


def compare_line(values: npt.NDArray[np.floating], line: int) -> LineComparison:
    """Compare one line's expression with that of all others, gene by gene.

    A t-test of the others against the line's value, with the false discovery rate of Benjamini
    and Hochberg 1995 (10.1111/j.2517-6161.1995.tb02031.x).

    Parameters
    ----------
    values : (line, gene) float
        Logarithmic expression.
    line
        The row of the line in question.

    Returns
    -------
    LineComparison
        Its value less the mean of the others, and the test of that. Where the others do not
        differ at all, p is 0 and t infinite for a line that does, 1 and 0 for one that does not;
        with fewer than two others all are NaN. A gene with a NaN anywhere is NaN throughout.
    """
    others = np.delete(np.asarray(values, dtype=np.float64), line, axis=0)
    own = np.asarray(values[line], dtype=np.float64)
    nothing = np.full(len(own), np.nan)
    change = own - others.mean(axis=0) if len(others) else nothing
    if len(others) < 2:
        return LineComparison(change, nothing, nothing, nothing)
    spread = np.ptp(others, axis=0) > 0
    p_value = np.where(np.isnan(change), np.nan, np.where(change == 0, 1.0, 0.0))
    t = np.where(change == 0, 0.0, np.copysign(np.inf, change))
    t[np.isnan(change)] = np.nan
    if spread.any():
        tested = ttest_1samp(others[:, spread], own[spread], axis=0)
        t[spread], p_value[spread] = -tested.statistic, tested.pvalue
    known = ~np.isnan(p_value)
    fdr = np.full(len(own), np.nan)
    if known.any():
        fdr[known] = false_discovery_control(p_value[known])
    return LineComparison(change, t, p_value, fdr)


class CellChoice(NamedTuple):
    """Cells and genes that count.

    Attributes
    ----------
    cells, genes : bool
        Which are kept.
    totals : (kept cell,) float64
        Counts of each cell in the kept genes.
    """

    cells: npt.NDArray[np.bool_]
    genes: npt.NDArray[np.bool_]
    totals: npt.NDArray[np.float64]


def choose_cells(
    counts: sparse.csc_array, *, min_genes: int = 8000, min_cells: int = 10
) -> CellChoice:
    """Choose cells, then genes.

    The published recipe for U2OS cells (Mahdessian et al. 2021, 10.1038/s41586-021-03232-9):
    cells with at least 8,000 genes, then genes in at least 10 of those.

    Parameters
    ----------
    counts : (cell, gene)
        0 or more, finite.

    Raises
    ------
    ValueError
        If a count is negative or not finite.
    """
    if not np.all(np.isfinite(counts.data)) or (counts.data < 0).any():
        raise ValueError("counts: a value is negative or not finite, expected 0 or more")
    n_cells, n_genes = counts.shape
    # Gene by gene: NumPy would count all indices at once in twice their memory.
    n_found = np.zeros(n_cells, dtype=np.int64)
    for start, end in pairwise(counts.indptr):
        n_found[counts.indices[start:end][counts.data[start:end] > 0]] += 1
    cells = n_found >= min_genes
    n_with, totals = np.zeros(n_genes, dtype=np.int64), np.zeros(n_cells)
    for gene, (start, end) in enumerate(pairwise(counts.indptr)):
        own, where = counts.data[start:end], counts.indices[start:end]
        n_with[gene] = (cells[where] & (own > 0)).sum()
        if n_with[gene] >= min_cells:
            # A cell is once in a gene: the sum needs no care for repeats.
            totals[where] += own
    return CellChoice(cells, n_with >= min_cells, totals[cells])


def scale_genes(
    counts: sparse.csc_array, columns: npt.ArrayLike, choice: CellChoice
) -> sparse.csc_array:
    """Scale the counts of some genes in the chosen cells: ln(1 + x) of a million per cell.

    Parameters
    ----------
    counts : (cell, gene)
        0 or more.
    columns : (k,) int
        Genes.

    Returns
    -------
    (kept cell, k) float64
        A cell whose kept genes have no count stays 0.
    """
    scaled = take_cells(counts, columns, choice.cells)
    shares = np.divide(
        1e6, choice.totals, where=choice.totals > 0, out=np.zeros_like(choice.totals)
    )
    # Gene by gene: totals of all values at once would take as much memory as the values.
    for start, end in pairwise(scaled.indptr):
        scaled.data[start:end] *= shares[scaled.indices[start:end]]
    np.log1p(scaled.data, out=scaled.data)
    return scaled


def take_cells(
    values: sparse.csc_array, columns: npt.ArrayLike, cells: npt.NDArray[np.bool_]
) -> sparse.csc_array:
    """Take some genes in some cells, as float64, without a copy of the rest: (cell, gene)."""
    number = np.where(cells, np.cumsum(cells) - 1, -1).astype(np.int32)
    chosen = np.asarray(columns, dtype=np.int64)
    sizes = np.array(
        [cells[values.indices[values.indptr[c] : values.indptr[c + 1]]].sum() for c in chosen],
        dtype=np.int64,
    )
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    # Otherwise SciPy would widen all indices to its type.
    indptr = indptr.astype(np.int32) if indptr[-1] < 2**31 else indptr
    data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=np.int32)
    for at, column in enumerate(chosen):
        source = slice(values.indptr[column], values.indptr[column + 1])
        where = values.indices[source]
        kept = cells[where]
        data[indptr[at] : indptr[at + 1]] = values.data[source][kept]
        indices[indptr[at] : indptr[at + 1]] = number[where[kept]]
    return sparse.csc_array((data, indices, indptr), shape=(int(cells.sum()), len(chosen)))
