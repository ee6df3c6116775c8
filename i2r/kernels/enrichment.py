"""Which gene sets are over-represented among some genes: Fisher's test within a stated universe."""

from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from i2r.kernels.statistics import adjust_pvalues

Floats = npt.NDArray[np.float64]
# Genes of a set in the universe, as published.
MIN_SIZE, MAX_SIZE = 10, 500


class Enrichment(NamedTuple):
    """The tests of all gene sets that have a size to be tested, in the order given.

    Attributes
    ----------
    names : list of str
    sizes, overlaps : (m,) int64
        Genes of each set in the universe, and among the chosen genes.
    odds_ratios : (m,) float64
        Of being chosen and being in the set; infinite where one excludes the other.
    pvalues, fdrs : (m,) float64
        Of the one-sided Fisher test, and adjusted over the sets tested.
    """

    names: list[str]
    sizes: npt.NDArray[np.int64]
    overlaps: npt.NDArray[np.int64]
    odds_ratios: Floats
    pvalues: Floats
    fdrs: Floats


def measure_enrichment(
    chosen: Set[str],
    universe: Set[str],
    gene_sets: Mapping[str, Set[str]],
    *,
    min_size: int = MIN_SIZE,
    max_size: int = MAX_SIZE,
) -> Enrichment:
    """Test every gene set for more of the chosen genes than chance puts there.

    Parameters
    ----------
    chosen
        The genes of interest, all in the universe.
    universe
        The genes that could have been chosen: no more and no fewer, or p-values mean little.
    gene_sets
        Genes by the set's name; what is outside the universe does not count.
    min_size, max_size
        Sets with fewer or more genes in the universe are left out (published: 10 to 500).

    Raises
    ------
    ValueError
        If a chosen gene is not in the universe.

    References
    ----------
    Fisher 1935, J. R. Stat. Soc. 98:39. https://doi.org/10.2307/2342435
    """
    outside = chosen - universe
    if outside:
        raise ValueError(f"{sorted(outside)[:3]} chosen, but not in the universe")
    members = {name: genes & universe for name, genes in gene_sets.items()}
    names = [name for name, genes in members.items() if min_size <= len(genes) <= max_size]
    sizes = np.array([len(members[name]) for name in names], dtype=np.int64)
    overlaps = np.array([len(members[name] & chosen) for name in names], dtype=np.int64)
    n, k = len(universe), len(chosen)
    pvalues = np.asarray(hypergeom.sf(overlaps - 1, n, sizes, k), dtype=float)
    inside_only, chosen_only = sizes - overlaps, k - overlaps
    neither = n - sizes - chosen_only
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = (overlaps * neither) / (inside_only * chosen_only)
    return Enrichment(names, sizes, overlaps, odds, pvalues, adjust_pvalues(pvalues))
