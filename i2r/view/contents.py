"""What the page shows of an experiment, as plain values for JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.report.scales import ColourScale
from i2r.report.screens import list_screens
from i2r.report.sections.plates import find_plate_format
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord
from i2r.store import tables
from i2r.types import Well, parse_well
from i2r.view.measures import list_choices, read_measure

# Columns of a ranking in the table of hits, in this order, where there are any values.
SHOWN = (
    "rank", "condition", "gene", "dose", "kind", "score", "p_value", "fdr", "impactful", "feature",
    "change", "explained", "count_change", "n_wells", "n_nuclei", "note",
)  # fmt: skip
COLOURS = 16


def describe(source: ReportSource, version: int) -> dict[str, Any]:
    """Say what there is to look at."""
    ramp = ColourScale([0.0, 1.0])
    return {
        "version": version,
        "name": source.experiment.url.rpartition("/")[2],
        "plates": list(source.experiment.plates),
        "channels": source.channels,
        "crops": _list_titles(source, "crop"),
        "segments": _list_titles(source, "segment"),
        "spaces": [*_list_titles(source, "features"), *_list_titles(source, "embed")],
        "screens": [screen.stage.title for screen in list_screens(source)],
        "measures": [choice._asdict() for choice in list_choices(source)],
        "colours": [ramp.colour(i / (COLOURS - 1)) for i in range(COLOURS)],
    }


def _list_titles(source: ReportSource, verb: str) -> list[str]:
    """List the stages of a verb of which something is done."""
    ledger = source.experiment.ledger
    return [s.title for s in source.stages_of(verb) if ledger.done_keys(s.title)]


def find_stage(source: ReportSource, verb: str, title: str) -> StageRecord:
    """Find a stage by name; no name means the first.

    Raises
    ------
    InputError
        If there is none.
    """
    for stage in source.stages_of(verb):
        if title in ("", stage.title):
            return stage
    raise InputError(f"no stage {title or verb!r} yet. It may be done later in the run.")


def find_key(source: ReportSource, key: str) -> str:
    """Check that a well is in the layout.

    Raises
    ------
    InputError
        If it is not.
    """
    if key not in source.experiment.wells:
        raise InputError(f"no well {key!r} in the layout. Choose one of the plate map.")
    return key


def draw_plate(source: ReportSource, plate: str, measure: str) -> dict[str, Any]:
    """Give the wells of a plate with one measure, and where on the scale each is.

    Raises
    ------
    InputError
        If there is no such plate or measure.
    """
    if plate not in source.experiment.plates:
        raise InputError(f"no plate {plate!r} in the layout. Choose one of the list.")
    wells = source.wells[source.wells["plate"].astype(str) == plate]
    known = read_measure(source, plate, measure) if measure else None
    values = (
        pd.Series(np.nan, index=wells.index, dtype=float)
        if known is None
        else known.values.reindex(wells.index).astype(float)
    )
    scale = ColourScale(values.to_numpy(), from_zero=known is not None and known.from_zero)
    rows, columns = find_plate_format(wells)
    return {
        "plate": plate, "rows": rows, "columns": columns,
        "row_names": [Well(row, 1).row_name for row in range(1, rows + 1)],
        "low": scale.low, "high": scale.high,
        "words": known.explanation if known is not None else "",
        "wells": [
            {
                "key": key, "well": str(well), "row": parse_well(str(well)).row,
                "column": parse_well(str(well)).column, "condition": str(condition),
                "given": str(given), "role": str(role),
                "value": plain(value),
                "share": float(scale.share(value)) if math.isfinite(value) else None,
            }
            for key, well, condition, given, role, value in zip(
                wells.index, wells["well"], wells["condition"], wells["given"], wells["role"],
                values, strict=True,
            )
        ],
    }  # fmt: skip


def list_hits(source: ReportSource, screen: str) -> dict[str, Any]:
    """List the conditions: a screen's ranking, or, before there is one, those of the layout."""
    for found in list_screens(source):
        if screen in ("", found.stage.title):
            table = found.conditions
            kept = [n for n in SHOWN if n in table and _has_values(table[n])]
            return {
                "screen": found.stage.title, "columns": kept, "rows": list_rows(table[kept]),
                "words": found.p_value_words, "cautions": found.cautions,
            }  # fmt: skip
    wells = source.wells[source.wells["role"] != "empty"]
    groups = wells.groupby("condition", sort=False)
    table = groups[["gene", "role"]].first()
    table["n_wells"] = groups.size()
    nuclei = pd.Series(source.nuclei_per_well, dtype=float).reindex(wells.index)
    table["n_nuclei"] = nuclei.groupby(wells["condition"]).sum(min_count=1)
    table = table.reset_index().rename(columns={"role": "kind"})
    kept = [n for n in SHOWN if n in table and _has_values(table[n])]
    return {
        "screen": "", "columns": kept, "rows": list_rows(table[kept]), "cautions": [],
        "words": "No screen is complete yet: conditions as the layout lists them.",
    }  # fmt: skip


def describe_condition(source: ReportSource, name: str, screen: str) -> dict[str, Any]:
    """Say what a condition is, what a screen found of it, and which wells hold it.

    Raises
    ------
    InputError
        If the layout has none of that name.
    """
    wells = source.wells[source.wells["condition"].astype(str) == name]
    if wells.empty:
        raise InputError(f"no condition {name!r} in the layout. Choose one of the table.")
    facts: dict[str, Any] = {}
    moved: list[dict[str, Any]] = []
    for found in list_screens(source):
        if screen not in ("", found.stage.title):
            continue
        title = found.stage.title
        row = found.conditions[found.conditions["condition"].astype(str) == name]
        if len(row):
            facts = {n: v for n, v in list_rows(row)[0].items() if v not in (None, "")}
        table = source.reduced_table(title, f"{title}-features")
        if table is not None:
            moved = list_rows(table[table["condition"] == name].sort_values("place"))
        break
    nuclei = source.nuclei_per_well
    return {
        "condition": name, "facts": facts, "moved": moved,
        "wells": [
            {"key": key, "role": str(role), "gene": str(gene), "nuclei": nuclei.get(str(key))}
            for key, role, gene in zip(wells.index, wells["role"], wells["gene"], strict=True)
        ],
    }  # fmt: skip


def describe_well(source: ReportSource, key: str, segment: str) -> dict[str, Any]:
    """Say what is in a well: its fields, with their numbers of nuclei, and which were left out.

    Raises
    ------
    InputError
        If the layout has no such well.
    """
    row = source.wells.loc[find_key(source, key)]
    plate, well = source.experiment.locate(key)
    ledger = source.experiment.ledger
    left_out = source.excluded_fields
    reasons = dict(
        left_out.loc[left_out["key"] == key, ["field", "reason"]].itertuples(index=False, name=None)
    )
    stages = source.stages_of("convert")
    converted = not stages or any(ledger.result(s.title, key) is not None for s in stages)
    counts: dict[str, int] = {}
    titles = [s.title for s in source.stages_of("segment") if segment in ("", s.title)][:1]
    if titles and ledger.result(titles[0], key) is not None:
        fields = tables.read_table(source.experiment.part_url(titles[0], key), columns=["field"])
        counts = {str(f): int(n) for f, n in fields["field"].value_counts().items()}
    return {
        "key": key, "plate": plate.name, "well": well, "condition": str(row["condition"]),
        "given": str(row["given"]), "role": str(row["role"]), "gene": str(row["gene"]),
        "converted": converted, "pixel_size_um": plain(plate.pixel_size_um),
        "segment": titles[0] if counts else "",
        "fields": [
            {"field": f, "nuclei": counts.get(f), "reason": reasons.get(f, "")}
            for f in source.experiment.wells[key].fields
        ],
    }  # fmt: skip


def list_control_wells(source: ReportSource, keys: Sequence[str]) -> list[str]:
    """List the negative controls of the plates that some wells lie on, without these wells."""
    wells = source.wells
    plates = set(wells.loc[list(keys), "plate"])
    is_control = (wells["condition"] == NEGATIVE_CONTROL) & wells["plate"].isin(plates)
    return [key for key in wells.index[is_control] if key not in set(keys)]


def list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a table as rows of plain values; what is missing is None."""
    columns = [[plain(value) for value in table[name].tolist()] for name in table]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """Make a value that JSON knows: NaN and infinities have no form there."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _has_values(column: pd.Series) -> bool:
    """Tell whether a column says anything."""
    return bool((column.notna() & (column.astype(str) != "")).any())
