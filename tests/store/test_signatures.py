"""Means over the nuclei of each gene's wells, by one encoder and by one without each gene."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.errors import InputError
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.signatures import TreatedWells, average_genes, average_wells, list_treated_wells
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


def test_treated_wells_are_found_with_the_encoders_that_the_ledger_names(tmp_path: Path) -> None:
    rows = [
        ("A01", "EMPTY", "", "negative_control"),
        ("A02", "JUN-1", "JUN", "treated"),
        ("A03", "JUN-1", "JUN", "treated"),
        ("A04", "FOS-1", "Fos", "positive_control"),
        ("A05", "drug", "", "treated"),
        ("A06", "ATF4-1", "ATF4", "treated"),
    ]
    layout = pd.DataFrame(rows, columns=["well", "perturbation", "gene", "role"])
    layout = layout.assign(
        plate="P1", dose=np.nan, fields=[["1"]] * 6, channels=[["DNA"]] * 6, height=8, width=8,
        dtype="uint16", pixel_size_um=1.0,
    )  # fmt: skip
    sources = pd.DataFrame(columns=["plate", "well", "field", "channel", "url"])
    experiment = Experiment(str(tmp_path), layout=layout, sources=sources)
    writer = LedgerWriter(experiment.ledger, 1)
    for key in experiment.well_keys[:5]:
        writer.write("embed", key, "done", "x", result={"nuclei": 1, "encoders": [""]})
        names = [
            f"{view}/without-{c}" for view in ("nucleus", "region") for c in ("FOS-1", "JUN-1")
        ]
        writer.write("each", key, "done", "x", result={"nuclei": 1, "encoders": names})
    writer.close()
    one = list_treated_wells(experiment, "embed")
    assert one.genes == ("JUN", "JUN", "FOS")
    assert one.urls[""][0] == experiment.embeddings_url("embed", "P1/A02")
    assert one.left_out == {}
    each = list_treated_wells(experiment, "each")
    assert sorted(each.urls) == ["nucleus/without-FOS-1", "nucleus/without-JUN-1"]
    assert each.left_out == {"FOS": "nucleus/without-FOS-1", "JUN": "nucleus/without-JUN-1"}
    assert all(len(urls) == 3 for urls in each.urls.values())
