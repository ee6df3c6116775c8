"""Rows of somebody's table of features, and the wells of a layout that they are from."""

import pandas as pd

from i2r.errors import InputError, join_problems


def is_one_per_well(places: pd.DataFrame) -> bool:
    """Tell whether a table has profiles of wells: no column of nuclei, and one row for each."""
    named = {"nucleus", "field"} & set(places)
    return not named and not places.duplicated(["plate", "well"]).any()


def match_plates(
    layout: pd.DataFrame, places: pd.DataFrame, *, url: str, layout_url: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give rows of a table and wells of a layout the same names of plates.

    Where one of them names no plates, it stands for the only plate of the other.

    Raises
    ------
    InputError
        If it has several, or a plate of the layout has no row.
    """
    plates = [str(p) for p in pd.unique(places["plate"])]
    listed = [str(p) for p in pd.unique(layout["plate"])]
    for own, other, where, what in (
        (listed, plates, f"layout {layout_url}", "table"), (plates, listed, url, "layout"),
    ):  # fmt: skip
        if own == [""] and len(other) > 1:
            raise InputError(
                f"{where}: no column 'plate', but the {what} has {len(other)} plates "
                f"({', '.join(other[:3])}, ...). Add the column."
            )
    if listed == [""]:
        layout = layout.assign(plate=plates[0] or "plate")
    if plates == [""]:
        places = places.assign(plate=str(layout["plate"].iloc[0]))
    known = {str(p) for p in pd.unique(places["plate"])}
    problems = [
        f"layout {layout_url}: plate {plate!r} has no row in {url}, which has "
        f"{', '.join(map(repr, sorted(known)[:4]))}. Correct the plate's name, or drop its rows."
        for plate in sorted(set(layout["plate"].astype(str)) - known)
    ]
    if problems:
        raise InputError(join_problems(problems))
    return layout.reset_index(drop=True), places
