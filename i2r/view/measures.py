"""Measures of wells: what a plate map can be coloured by."""

from typing import NamedTuple

import pandas as pd

from i2r.errors import InputError
from i2r.report.screens import list_screens
from i2r.report.sections.plates import Measure
from i2r.report.sections.plates import list_measures as list_own
from i2r.report.source import ReportSource
from i2r.store import tables
from i2r.store.features import PLACE
from i2r.store.results import find_table, read_plate_rows

# Numbers of a screen's ranking that say something of a condition.
OF_SCREENS = {
    "score": "Score of the well's condition, mean held-out balanced accuracy.",
    "p_value": "p-value of the well's condition.",
    "fdr": "False discovery rate of the well's condition.",
}
OF_PLACES = {*PLACE, "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"}


class Choice(NamedTuple):
    """A measure that can be chosen: what it is called in addresses, and for people."""

    id: str
    name: str
    group: str


def list_choices(source: ReportSource) -> list[Choice]:
    """List all measures there are by now, without reading their values."""
    found = [Choice(f"well|{m.name}", m.name, "wells") for m in _keep_own(source)]
    for stage in (*source.stages_of("segment"), *source.stages_of("features")):
        try:
            first = find_table(source.experiment, stage.title)[0]
            columns = tables.read_columns(first)
        except (InputError, FileNotFoundError):
            continue
        found += [
            Choice(f"mean|{stage.title}|{name}", name, f"{stage.title}: mean of nuclei")
            for name in columns
            if name not in OF_PLACES
        ]
    for screen in list_screens(source):
        title = screen.stage.title
        found += [Choice(f"screen|{title}|{name}", name, title) for name in OF_SCREENS]
    layout = source.wells
    found += [
        Choice(f"layout|{name}", name, "layout")
        for name in layout.columns
        if pd.api.types.is_numeric_dtype(layout[name])
        and name not in {"n_fields", "height_px", "width_px", "pixel_size_um"}
        and layout[name].notna().any()
    ]
    return found


def read_measure(source: ReportSource, plate: str, name: str) -> Measure:
    """Read one measure of the wells of one plate.

    Parameters
    ----------
    source, plate
        The experiment and the plate.
    name
        The `id` of a choice.

    Raises
    ------
    InputError
        If there is no such measure, or nothing of it on this plate yet.
    """
    kind, _, rest = name.partition("|")
    stage, _, column = rest.partition("|")
    wells = source.wells[source.wells["plate"].astype(str) == plate]
    if kind == "well":
        for measure in _keep_own(source):
            if measure.name == rest:
                return measure._replace(values=measure.values.reindex(wells.index))
    elif kind == "layout" and rest in wells and pd.api.types.is_numeric_dtype(wells[rest]):
        return Measure(rest, "As the layout says.", wells[rest].astype(float), False)
    elif kind == "screen" and column in OF_SCREENS:
        for screen in list_screens(source):
            if screen.stage.title == stage:
                values = screen.conditions.set_index("condition")[column]
                own = wells["condition"].map(values[~values.index.duplicated()]).astype(float)
                return Measure(column, OF_SCREENS[column], own, False)
    elif kind == "mean" and stage in {s.title for s in source.stages} and column not in OF_PLACES:
        return _average(source, plate, stage, column, wells)
    raise InputError(f"no measure {name!r}. Choose one of the list.")


def _average(
    source: ReportSource, plate: str, stage: str, column: str, wells: pd.DataFrame
) -> Measure:
    """Average a column of a table of nuclei over each well."""
    try:
        rows = read_plate_rows(source.experiment, stage, plate, columns=["well", column])
    except KeyError as error:
        raise InputError(f"{stage}: no column {column!r}. Choose one of the list.") from error
    if not pd.api.types.is_numeric_dtype(rows[column]):
        raise InputError(f"{stage}: {column!r} holds no numbers. Choose another measure.")
    means = rows.groupby("well")[column].mean()
    means.index = pd.Index([f"{plate}/{well}" for well in means.index])
    words = f"Mean over the nuclei of a well, table '{stage}'."
    return Measure(column, words, means.reindex(wells.index).astype(float), False)


def _keep_own(source: ReportSource) -> list[Measure]:
    """Compute the report's measures once."""
    if "measures" not in source.kept:
        source.kept["measures"] = list(list_own(source))
    own: list[Measure] = source.kept["measures"]
    return own
