"""Parts, hubs, differences of lines and choice of cells against plain ways to compute them."""

import numpy as np
import pytest
from scipy.sparse import csc_array

from i2r.kernels.interactome import (
    choose_cells,
    compare_line,
    find_hubs,
    find_largest_part,
    scale_genes,
    take_cells,
)


def test_the_largest_part_and_hubs() -> None:
    edges = np.array([[0, 1], [2, 3], [3, 4], [3, 5]])
    assert find_largest_part(edges, 7).tolist() == [False, False, True, True, True, True, False]
    hubs, limit = find_hubs(edges, 7, quantile=0.99)
    assert np.flatnonzero(hubs).tolist() == [3]
    assert 1 < limit <= 3
    assert not find_hubs(edges, 7, quantile=1.0)[0].any()
    assert find_largest_part(edges[:0], 0).shape == (0,)


def test_a_line_against_the_others() -> None:
    values = np.array([[5.0, 1, 2, np.nan], [1.0, 1, 3, 0], [2.0, 1, 3, 0], [3.0, 1, 3, 0]])
    change, t, p_value, fdr = compare_line(values, 0)
    assert change[:3].tolist() == [3.0, 0.0, -1.0]
    # t = (2 - 5) / (1 / sqrt(3)) with 2 degrees of freedom
    t2 = 27.0
    assert p_value[0] == pytest.approx(1 - np.sqrt(t2 / (t2 + 2)))
    assert t[0] == pytest.approx(np.sqrt(t2))
    assert t[1:3].tolist() == [0.0, -np.inf]
    assert p_value[1:3].tolist() == [1.0, 0.0]
    assert np.isnan(change[3])
    assert np.isnan([t[3], fdr[3]]).all()
    assert fdr[0] == pytest.approx(p_value[0] * 3 / 2)


def test_cells_are_filtered_before_genes_and_scaled_to_a_million() -> None:
    counts = csc_array(np.array([[1, 1, 2, 0], [0, 3, 1, 1], [5, 0, 0, 0], [1, 1, 1, 0]]))
    choice = choose_cells(counts, min_genes=3, min_cells=2)
    assert choice.cells.tolist() == [True, True, False, True]
    assert choice.genes.tolist() == [True, True, True, False]
    values = scale_genes(counts, [0, 1, 2], choice).toarray()
    assert np.expm1(values).sum(axis=1) == pytest.approx([1e6] * 3)
    assert values[0, 2] == pytest.approx(np.log1p(5e5))
    assert scale_genes(counts, [2, 0], choice).toarray().tolist() == values[:, [2, 0]].tolist()
    assert take_cells(counts, [1], choice.cells).toarray().tolist() == [[1], [3], [1]]
    with pytest.raises(ValueError, match="negative or not finite"):
        choose_cells(csc_array(np.array([[-1.0]])))
