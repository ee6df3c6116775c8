"""The command that simulates a screen with planted truth."""

import os
from typing import Any

import rich_click as click


@click.command()
@click.argument("directory", type=click.Path())
@click.option(
    "--preset",
    type=click.Choice(["smoke", "screen", "jump"]),
    default="smoke",
    show_default=True,
    help="Sizes to start from; the options below replace single ones.",
)
@click.option("--genes", type=int, help="Genes in all, each in one well of every plate.")
@click.option("--null-genes", type=int, help="How many of the genes do nothing (default: half).")
@click.option("--plates", type=int, help="Replicate plates.")
@click.option("--controls", type=int, help="Negative-control wells on every plate.")
@click.option("--fields", type=int, help="Fields of every well.")
@click.option("--field-px", type=int, help="Edge of a field in pixels of 0.65 um.")
@click.option(
    "--layout",
    type=click.Choice(["shuffled", "sister"]),
    help="A new layout on every plate, or one for all.",
)
@click.option("--drift", type=float, help="Differences between plates and positions; 0 for none.")
@click.option("--strength", type=float, help="Factor on the planted effects.")
@click.option("--seed", type=int, help="Decides everything that is random.")
@click.option("--workers", type=int, help="Processes (default: one per core).")
def simulate(directory: str, preset: str, workers: int | None, **options: Any) -> None:
    """Make a screen with planted effects in DIRECTORY, ready to run.

    Fields are composed of real nuclei (BBBC039, CC0). Effects act on the nuclei's size, texture,
    spots and density; truth/genes.csv says which gene does what, and how much.
    """
    from i2r.simulation import PRESETS, write_screen

    given = {name: value for name, value in options.items() if value is not None}
    if "genes" in given and "null_genes" not in given:
        given["null_genes"] = given["genes"] // 2
    design = PRESETS[preset]._replace(**given)
    genes = write_screen(directory, design, workers=workers or len(os.sched_getaffinity(0)))
    n_wells = design.plates * (design.genes + design.n_controls)
    click.echo(
        f"{directory}: {design.plates} plates, {n_wells} wells, {n_wells * design.fields} fields, "
        f"{int((~genes['is_null']).sum())} of {design.genes} genes with an effect\n"
        f"i2r run {directory}/pipeline.yaml {directory}/experiment"
    )
