"""Wells in two dimensions also where umap-learn is not installed."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from i2r.lazy import profiles


# Not installed, or taken away again: numba's caches stay in a folder that is imported as a package.
@pytest.mark.parametrize("umap", [None, ModuleType("umap")])
def test_principal_components_stand_in_for_umap(
    umap: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", umap)
    random = np.random.default_rng(0)
    line = np.linspace(-1, 1, 24)
    rows = np.outer(line, [3.0, -2.0, 1.0]) + 1e-3 * random.normal(size=(24, 3))
    wells = pd.DataFrame({"plate": "P1", "well": [f"A{n:02d}" for n in range(24)], "class": "x"})
    counts = np.r_[0, np.ones(23)]
    found = profiles._lay_out(
        SimpleNamespace(umap=True, wells=wells),
        SimpleNamespace(wells=rows, well_counts=counts),
        np.random.SeedSequence(1),
    )
    assert set(found["method"]) == {"principal components"}
    assert found["well"].tolist() == wells["well"].tolist()[1:]
    assert abs(np.corrcoef(found["x"], line[1:])[0, 1]) > 0.999
    nothing = profiles._lay_out(
        SimpleNamespace(umap=False, wells=wells),
        SimpleNamespace(wells=rows, well_counts=counts),
        np.random.SeedSequence(1),
    )
    assert list(nothing.columns) == list(found.columns)
    assert not len(nothing)
