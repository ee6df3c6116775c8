"""Tables of an experiment, compared with what its stages declare."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from i2r.stages.base import find_stage
from i2r.stages.outputs import Table, list_tables
from i2r.store.experiment import Experiment


def name_kind(kind: pa.DataType) -> str:
    """Name an Arrow type as declarations do; empty for columns without any value."""
    if pa.types.is_null(kind):
        return ""
    if pa.types.is_boolean(kind):
        return "yes or no"
    if pa.types.is_integer(kind):
        return "whole number"
    if pa.types.is_floating(kind):
        return "number"
    return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else "text"


def find_mismatches(experiment: Experiment) -> list[str]:
    """List tables and columns that are there undeclared, or declared and not there."""
    declared: dict[str, Table] = {}
    for entry in (experiment.last_pipeline() or {})["stages"]:
        title = entry.get("name") or entry["stage"]
        tables = list_tables(find_stage(entry["stage"]).outputs)
        declared |= {f"{title}{table.suffix}": table for table in tables}
    lines = []
    found = set()
    for folder in sorted(Path(experiment.url, "tables").iterdir()):
        files = sorted(folder.rglob("*.parquet"))
        if folder.name not in declared:
            lines.append(f"{folder.name}: undeclared, {pq.read_schema(files[0]).names[:99]}")
            continue
        table = declared[folder.name]
        found.add(folder.name)
        schemas = [pq.read_schema(file) for file in files]
        for name, kind in {(f.name, name_kind(f.type)) for schema in schemas for f in schema}:
            column = table.find_column(name)
            if column is None:
                lines.append(f"{folder.name}: column {name!r} is undeclared")
            elif kind and kind != column.kind and "{" not in column.name:
                lines.append(f"{folder.name}: {name!r} is {kind}, declared {column.kind}")
        names = {name for schema in schemas for name in schema.names}
        for column in table.columns:
            if not column.sometimes and not any(column.matches(name) for name in names):
                lines.append(f"{folder.name}: no column {column.name!r}")
    missing = (n for n, table in declared.items() if n not in found and not table.sometimes)
    return lines + [f"{name}: not there" for name in missing]
