"""Means over the nuclei of each gene's wells, by one encoder and by one without each gene."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.signatures import (
    TreatedWells,
    average_genes,
    average_wells,
    list_treated_wells,
)
from i2r.errors import InputError
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.tables import write_table


def tabulate(encoder: str, rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    """Make rows of an embed stage's table of wells."""
    table = pd.DataFrame(rows, columns=["well", "n_nuclei", "e0", "e1"])
    return table.assign(encoder=encoder, plate="P1")


def test_nuclei_weigh_alike_over_the_wells_of_a_gene() -> None:
    wells = tabulate("", [("A01", 2, 2, 2), ("A02", 1, 8, 8), ("A03", 0, np.nan, np.nan),
                          ("A04", 1, 5, 6), ("A05", 9, 1, 1)])  # fmt: skip
    names = {"P1/A01": "JUN", "P1/A02": "JUN", "P1/A03": "FOS", "P1/A04": "ATF4"}
    found = average_wells(wells, names, encoder="")
    assert found.genes == ["ATF4", "JUN"]
    np.testing.assert_allclose(found.values, [[5, 6], [4, 4]])
    with pytest.raises(InputError, match="no well with a gene"):
        average_wells(wells, {"P1/A03": "FOS"}, encoder="")


def test_a_gene_is_seen_by_the_encoder_that_never_saw_it(tmp_path: Path) -> None:
    wells = ["A01", "A02", "A03"]
    parts = [
        tabulate(f"nucleus/without-{gene}", [(well, 1, e, i) for i, well in enumerate(wells)])
        for e, gene in ((1, "A"), (2, "B"))
    ]
    url = str(tmp_path / "wells.parquet")
    write_table(url, pd.concat(parts))
    encoders = ("nucleus/without-A", "nucleus/without-B")
    genes = {"P1/A01": "A", "P1/A02": "B", "P1/A03": "C"}
    asked = TreatedWells(url, genes, encoders, {"A": encoders[0], "B": encoders[1]})
    seen = average_genes(asked)
    assert seen.without is not None
    assert seen.without.shape == (3, 3, 2)
    np.testing.assert_array_equal(seen.without[:, 0, 0], [1, 2, 1])
    np.testing.assert_array_equal(seen.vectors.values[:, 0], 1)
    single = average_genes(TreatedWells(url, genes, encoders[:1], {}))
    assert single.without is None
    with pytest.raises(InputError, match="column 'gene'"):
        average_genes(TreatedWells(url, {}, (), {}))


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
    assert one.genes == {"P1/A02": "JUN", "P1/A03": "JUN", "P1/A04": "FOS"}
    assert one.table == experiment.table_url("embed")
    assert (one.encoders, one.left_out) == (("",), {})
    each = list_treated_wells(experiment, "each")
    assert each.encoders == ("nucleus/without-FOS-1", "nucleus/without-JUN-1")
    assert each.left_out == {"FOS": "nucleus/without-FOS-1", "JUN": "nucleus/without-JUN-1"}
