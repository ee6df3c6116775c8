"""The command that audits anybody's profiles: audit."""

import json
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import confirm_overwriting, json_option, print_json, say, yes_option
from i2r.errors import InputError

_MARKS = {"sound": "[green]sound[/]", "noted": "noted", "leak": "[red]LEAK[/]", "open": "open"}


@click.command()
@click.argument("table", type=click.Path())
@click.option(
    "--layout",
    required=True,
    metavar="FILE",
    help="CSV table with well, perturbation, role, ... of every well.",
)
@click.option(
    "--layout-names",
    multiple=True,
    metavar="NAME=COLUMN",
    help="For a layout with columns of its own, e.g. perturbation=Metadata_broad_sample.",
)
@click.option(
    "--layout-roles",
    multiple=True,
    metavar="VALUE=ROLE",
    help="Roles by the values of the column role, e.g. negcon=negative_control; * for all others.",
)
@click.option(
    "-o", "--output", type=click.Path(), help="Folder for audit.html, audit.json, conditions.csv."
)
@yes_option("Replace files in OUTPUT without asking.")
@json_option
def audit(
    table: str,
    layout: str,
    layout_names: tuple[str, ...],
    layout_roles: tuple[str, ...],
    output: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask a TABLE of features what else it says than treatments, and what its tests are worth.

    TABLE is anybody's: CSV, TSV, Parquet or h5ad, or a folder of them, with one row per nucleus
    or per well; columns plate and well, or Metadata_Plate and Metadata_Well, and one column of
    numbers per feature. No experiment and no image is needed.

    Eight questions: Are compounds made of control wells called? Do places on the plate show? Do
    controls lie where most conditions do? What do numbers of nuclei explain? What do focus and DNA
    content explain? How do plates differ? Which wells are unlike their replicates? How large a
    change could be found? For every condition
    there are p-values that hold beside those of mAP and of energy distances.

    Verdicts: sound; noted (there, but small or harmless); LEAK (results suffer); open (this table
    and layout can't tell). Exit code 0 whatever is found; see "leaks" in audit.json.
    """
    from i2r.audit.audit import audit_wells
    from i2r.audit.page import write_page
    from i2r.audit.wells import summarise_table

    target = Path(output) if output is not None else None
    names = ("audit.html", "audit.json", "conditions.csv")
    if target is not None:
        if target.exists() and not target.is_dir():
            raise InputError(f"{output}: found a file, expected a folder. Name one.")
        if not target.absolute().parent.is_dir():
            raise InputError(f"{output}: no folder {target.parent}. Make it first.")
        for name in names:
            confirm_overwriting(target / name, yes=yes)
    say(f"reading {table}")
    wells = summarise_table(
        table,
        layout,
        names=dict(_split_pair("--layout-names", pair) for pair in layout_names),
        roles=dict(_split_pair("--layout-roles", pair) for pair in layout_roles),
    )
    found = audit_wells(wells, say=say)
    if target is not None:
        target.mkdir(exist_ok=True)
        contents = (
            write_page(found, table=table, layout=layout),
            json.dumps(found.dump(), indent=1, allow_nan=False),
            found.conditions.to_csv(index=False),
        )
        for name, content in zip(names, contents, strict=True):
            (target / name).write_text(content, encoding="utf-8")
    if as_json:
        print_json(found.dump())
        return
    shown = Table(box=None, pad_edge=False, show_header=False)
    for finding in found.findings:
        shown.add_row(_MARKS[finding.verdict], finding.title, finding.words)
    Console().print(shown)
    if target is not None:
        click.echo(f"audit: {target / 'audit.html'}")


def _split_pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"{option} {text!r}: expected NAME=VALUE. Write it so.")
    return name, value
