"""Rows are found by well whatever their order, and plain values are those of the tables."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.store.catalog import SourcesByKey

COLUMNS = ["well", "url", "size_bytes"]


@given(rows=st.lists(st.tuples(st.sampled_from("PQ"), st.sampled_from(["A01", "B02", "C03"]))))
@settings(max_examples=50, deadline=None)
def test_every_well_has_its_rows_in_their_order(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["plate", "well"], dtype="str")
    table["url"] = [f"/{n}.tif" for n in range(len(rows))]
    table["size_bytes"] = range(len(rows))
    found = SourcesByKey(table)
    assert list(found) == list(dict.fromkeys(f"{p}/{w}" for p, w in rows))
    assert len(found) == len(set(rows))
    for key, own in found.items():
        plate, well = key.split("/")
        expected = table[(table["plate"] == plate) & (table["well"] == well)]
        pd.testing.assert_frame_equal(own, expected)
        values = found.tabulate(key, COLUMNS)
        assert values == expected[COLUMNS].to_numpy().tolist()
        assert [[type(v) for v in row] for row in values] == [[str, str, int]] * len(expected)
