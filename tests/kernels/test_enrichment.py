"""Over-representation against scipy's Fisher test and statsmodels' definition of the FDR."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from i2r.kernels.enrichment import measure_enrichment


def test_every_set_is_tested_as_by_scipy() -> None:
    random = np.random.default_rng(0)
    universe = {f"G{i}" for i in range(200)}
    names = sorted(universe)
    chosen = set(random.choice(names, 30, replace=False))
    sets = {
        f"S{i}": set(random.choice(names, size, replace=False)) | {"OUTSIDE"}
        for i, size in enumerate([5, 12, 40, 120, 180])
    }
    sets["planted"] = set(sorted(chosen)[:15]) | set(names[:5])
    found = measure_enrichment(chosen, universe, sets, max_size=150)
    assert found.names == ["S1", "S2", "S3", "planted"]
    for name, size, overlap, odds, p in zip(*found[:5], strict=True):
        genes = sets[name] & universe
        both = len(genes & chosen)
        table = [[both, len(genes) - both], [30 - both, 200 - 30 - len(genes) + both]]
        expected = fisher_exact(table, alternative="greater")
        assert (size, overlap) == (len(genes), both)
        assert p == pytest.approx(expected.pvalue)
        assert odds == pytest.approx(expected.statistic)
    np.testing.assert_allclose(found.fdrs, false_discovery_control(found.pvalues))
    assert found.fdrs[-1] < 1e-8


def test_chosen_genes_outside_the_universe_are_refused() -> None:
    with pytest.raises(ValueError, match="not in the universe"):
        measure_enrichment({"A", "B"}, {"A"}, {})
