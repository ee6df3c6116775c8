"""Whatever table a map learns from can be asked about."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.query_wells import read_queries
from i2r.errors import InputError
from i2r.formats.gene_tables import read_vectors


def test_a_table_of_vectors_is_one_of_queries(tmp_path: Path) -> None:
    url = str(tmp_path / "t.csv")
    table = pd.DataFrame({"gene": ["A", "b"], "d0": [0.5, 1.0], "d1": [2.0, 3.0]})
    described = table.assign(role="treated", n_nuclei=[7, 9], n_wells=2, perturbation=["p", "q"])
    described.to_csv(url, index=False)
    assert read_vectors(url).names == ["d0", "d1"]
    found = read_queries(url)
    assert list(found.columns) == ["query", "gene", "encoder", "n_nuclei", "d0", "d1"]
    assert found["query"].tolist() == ["p", "q"]
    assert found["gene"].tolist() == ["A", "B"]
    assert found["n_nuclei"].tolist() == [7, 9]
    table.set_index("gene").rename_axis(None).to_csv(url)
    assert read_vectors(url).genes == ["A", "B"]
    found = read_queries(url)
    assert found["gene"].tolist() == ["A", "B"]
    assert np.isnan(found["n_nuclei"]).all()


@pytest.mark.parametrize("name", ["", "  "])
def test_a_query_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(f"query,d0\nA,1\n{name},2\n")
    with pytest.raises(InputError, match="row 3: no name in 'query'"):
        read_queries(str(tmp_path / "t.csv"))
