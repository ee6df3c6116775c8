"""What a layout can and can't answer."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from i2r.analysis.screen.layouts import find_doses_along

WELLS = st.tuples(
    st.sampled_from("abc"), st.sampled_from([np.nan, 0.1, 0.5, 1.0, 5.0, 9.0]), st.booleans(),
    st.integers(-1, 4), st.integers(0, 5),
)  # fmt: skip


def find_one_by_one(table: pd.DataFrame) -> str:
    """Go through compounds one after another, as the definition reads."""
    used = table[table["treated"] & table["dose"].notna() & (table["rows"] >= 0)]
    found, n_compounds = {"rows": 0, "columns": 0}, 0
    for _, own in used.groupby("compound"):
        if own["dose"].nunique() < 3:
            continue
        n_compounds += 1
        lower = own[own["dose"] < own["dose"].max()]
        for axis in found:
            found[axis] += any(correlate(wells, axis) > 0.8 + 1e-9 for wells in (own, lower))
    axis = max(found, key=lambda name: found[name])
    return axis if n_compounds and found[axis] >= n_compounds / 2 else ""


def correlate(wells: pd.DataFrame, axis: str) -> float:
    if wells["dose"].nunique() < 3 or wells[axis].nunique() < 2:
        return 0.0
    return abs(float(stats.spearmanr(wells["dose"], wells[axis]).statistic))


@given(st.lists(WELLS, max_size=24))
@settings(max_examples=150, deadline=None)
def test_doses_of_all_compounds_at_once_are_those_of_each(wells: list[tuple[object, ...]]) -> None:
    table = pd.DataFrame(wells, columns=["compound", "dose", "treated", "rows", "columns"])
    table = table.astype({"dose": float, "treated": bool, "rows": np.intp, "columns": np.intp})
    found = find_doses_along(
        table["dose"].tolist(), table["compound"].tolist(), table["treated"].to_numpy(),
        table["rows"].to_numpy(), table["columns"].to_numpy(),
    )  # fmt: skip
    assert found == find_one_by_one(table)


def test_doses_along_columns_are_found_though_the_highest_lies_elsewhere() -> None:
    doses = [0.1, 1.0, 10.0, 30.0, 100.0] * 2
    columns = np.array([0, 1, 2, 3, 0, 3, 2, 1, 0, 3])
    rows = np.array([0, 3, 1, 2, 5] * 2)
    compounds = ["a"] * 5 + ["b"] * 5
    everyone = np.ones(10, dtype=bool)
    assert find_doses_along(doses, compounds, everyone, rows, columns) == "columns"
    assert find_doses_along(doses, compounds, everyone, columns, rows) == "rows"
    assert find_doses_along(doses, compounds, ~everyone, rows, columns) == ""
