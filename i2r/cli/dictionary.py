"""What tables and their columns mean, as their stages declare it: a page, and a table's columns."""

from collections.abc import Iterator
from pathlib import Path

from i2r.errors import InputError
from i2r.stages.base import find_stage, list_own_verbs
from i2r.stages.outputs import Files, Table, list_tables
from i2r.store.experiment import Experiment

TARGET = Path(__file__).parents[1] / "docs" / "tables.md"
_HEAD = """\
# Tables and what their columns mean

Everything that stages write, from what they declare in the code; written by
`python -m i2r.cli.reference`. A stage's tables have its name (`screen`, or the `name` in the
pipeline) and what is given here behind it (`screen-scores`). `experiment.table("screen-scores")`
reads one, `i2r table EXPERIMENT screen-scores --explain` prints this. Names with parts in braces
stand for several columns. Columns and tables marked *sometimes* depend on options or on the data.
"""


def write_dictionary() -> str:
    """Write the whole dictionary as Markdown."""
    parts = [_HEAD]
    for verb in list_own_verbs():
        parts.append(f"\n## {verb}\n")
        for output in find_stage(verb).outputs:
            parts += _describe(verb, output)
    return "".join(parts)


def _describe(verb: str, output: Table | Files) -> Iterator[str]:
    if isinstance(output, Files):
        yield f"\nAlso: {output.what}, `{output.place}`: {output.text}.\n"
        return
    mark = ", *sometimes*" if output.sometimes else ""
    yield f"\n### {verb}{output.suffix}\n\n{output.text.rstrip('.')}{mark}.\n\n"
    yield "| column | values | unit | what it says |\n|---|---|---|---|\n"
    for column in output.columns:
        text = column.text.replace("|", "\\|") + (" (*sometimes*)" if column.sometimes else "")
        yield f"| `{column.name}` | {column.kind} | {column.unit} | {text} |\n"


def find_declared(experiment: Experiment, name: str) -> Table:
    """Find what a stage of an experiment's last run declares of a table.

    Raises
    ------
    InputError
        If no stage declares a table of this name.
    """
    stages = (experiment.last_pipeline() or {}).get("stages", [])
    for entry in stages:
        title = entry.get("name") or entry["stage"]
        for table in list_tables(find_stage(entry["stage"]).outputs):
            if name == f"{title}{table.suffix}":
                return table
    raise InputError(
        f"{experiment.url}: no stage says what the table {name!r} holds. 'i2r table EXPERIMENT' "
        "lists the tables; those of stages are explained."
    )


def explain_table(experiment: Experiment, name: str) -> list[str]:
    """Say what a table's rows and columns are, a line each."""
    table = find_declared(experiment, name)
    width = max(len(column.name) for column in table.columns)
    lines = [f"{name}: {table.text}"]
    for column in table.columns:
        unit = f" ({column.unit})" if column.unit else ""
        lines.append(f"  {column.name.ljust(width)}  {column.text}{unit}")
    return lines
