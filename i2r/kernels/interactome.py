"""Networks of proteins as arrays: parts that hang together, cuts and hubs, prizes and costs."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import false_discovery_control, rankdata, ttest_1samp

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


def correlate_edges(
    values: npt.NDArray[np.floating], edges: Edges, *, ranked: bool, block: int = 20_000
) -> npt.NDArray[np.float64]:
    """Correlate the two genes of every edge over cells.

    Parameters
    ----------
    values : (cell, gene) float
        Expression; no NaN.
    edges : (m, 2) int
        Genes, as columns.
    ranked
        Spearman's correlation (ties get mean ranks) instead of Pearson's.
    block
        Edges at a time: memory is two arrays of ``block`` by cells.

    Returns
    -------
    (m,) float64
        -1 to 1; 0 where a gene is constant, for it says nothing about the other.
    """
    cells = np.asarray(values, dtype=np.float64)
    if ranked:
        cells = np.asarray(rankdata(cells, axis=0), dtype=np.float64)
    cells = cells - cells.mean(axis=0)
    norms = np.sqrt((cells**2).sum(axis=0))
    scaled = np.divide(cells, norms, where=norms > 0, out=np.zeros_like(cells)).T.copy()
    found = np.empty(len(edges))
    for start in range(0, len(edges), block):
        first, second = edges[start : start + block].T
        found[start : start + block] = np.einsum("ij,ij->i", scaled[first], scaled[second])
    return np.clip(found, -1.0, 1.0)


def filter_cells(
    counts: npt.NDArray[np.number], *, min_genes: int = 8000, min_cells: int = 10
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Choose cells, then genes, and scale: ln(1 + x) of a million counts per cell.

    The published recipe for U2OS cells (Mahdessian et al. 2021, 10.1038/s41586-021-03232-9):
    cells with at least 8,000 genes, then genes in at least 10 of those.

    Parameters
    ----------
    counts : (cell, gene)
        0 or more, finite.

    Returns
    -------
    values : (kept cell, kept gene) float64
        A cell whose kept genes have no count stays 0.
    cells, genes : bool
        Which are kept.

    Raises
    ------
    ValueError
        If a count is negative or not finite.
    """
    if not np.all(np.isfinite(counts)) or (counts < 0).any():
        raise ValueError("counts: a value is negative or not finite, expected 0 or more")
    cells = (counts > 0).sum(axis=1) >= min_genes
    genes = (counts[cells] > 0).sum(axis=0) >= min_cells
    kept = np.asarray(counts[cells][:, genes], dtype=np.float64)
    totals = kept.sum(axis=1, keepdims=True)
    return (
        np.log1p(np.divide(kept * 1e6, totals, where=totals > 0, out=np.zeros_like(kept))),
        cells,
        genes,
    )
