"""Means over the nuclei of each gene's wells, by one encoder and by one without each gene."""

from pathlib import Path

import numpy as np
import pytest

from i2r.errors import InputError
from i2r.store.signatures import TreatedWells, average_genes, average_wells
from i2r.store.write import write_embeddings


def write(folder: Path, name: str, rows: list[list[float]]) -> str:
    url = str(folder / name)
    values = np.array(rows, dtype=np.float32).reshape(-1, 2)
    write_embeddings(url, values, attributes={"crops": "crop"})
    return url


def test_nuclei_weigh_alike_over_the_wells_of_a_gene(tmp_path: Path) -> None:
    urls = [
        write(tmp_path, "a", [[1, 1], [3, 3]]),
        write(tmp_path, "b", [[8, 8]]),
        write(tmp_path, "c", []),
        write(tmp_path, "d", [[5, 6]]),
    ]
    found = average_wells(urls, ["JUN", "JUN", "FOS", "ATF4"])
    assert found.genes == ["ATF4", "JUN"]
    np.testing.assert_allclose(found.values, [[5, 6], [4, 4]])
    with pytest.raises(InputError, match="no well with a gene"):
        average_wells(urls[2:3], ["FOS"])


def test_a_gene_is_seen_by_the_encoder_that_never_saw_it(tmp_path: Path) -> None:
    one = [write(tmp_path / "1", name, [[1, i]]) for i, name in enumerate("abc")]
    two = [write(tmp_path / "2", name, [[2, i]]) for i, name in enumerate("abc")]
    wells = TreatedWells(
        ("A", "B", "C"),
        {"nucleus/without-A": tuple(one), "nucleus/without-B": tuple(two)},
        {"A": "nucleus/without-A", "B": "nucleus/without-B"},
    )
    seen = average_genes(wells)
    assert seen.without is not None
    assert seen.without.shape == (3, 3, 2)
    np.testing.assert_array_equal(seen.without[:, 0, 0], [1, 2, 1])
    np.testing.assert_array_equal(seen.vectors.values[:, 0], 1)
    single = average_genes(TreatedWells(wells.genes, {"": tuple(one)}, {}))
    assert single.without is None
    with pytest.raises(InputError, match="column 'gene'"):
        average_genes(TreatedWells((), {}, {}))
