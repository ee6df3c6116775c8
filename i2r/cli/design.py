"""The command that plans a screen from a pilot: design."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import confirm_overwriting, json_option, print_json, say, yes_option
from i2r.errors import InputError, count_words

if TYPE_CHECKING:
    import pandas as pd

    from i2r.design.power import Power

FILES = ("design.html", "design.csv", "curves.csv", "layout.csv")


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read them, or say what is wrong."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers such as 2,3,4.", param, ctx)
        if min(found) < self.least:
            self.fail(f"{value!r}: expected {self.least} or more.", param, ctx)
        return tuple(sorted(set(found)))


@click.command()
@click.argument("pilot", type=click.Path())
@click.option(
    "--layout", required=True, metavar="FILE",
    help="CSV table with well, perturbation, role of the pilot's wells.",
)  # fmt: skip
@click.option("--conditions", type=click.IntRange(min=2), help="How many will be tested.")
@click.option(
    "--names", type=click.Path(), help="File with one condition per line, for the layout."
)
@click.option("--change", type=click.FloatRange(min=0, min_open=True), default=2.0,
              show_default=True, help="Change to be found, in standard deviations of a control "
              "well.")  # fmt: skip
@click.option("--replicates", type=Numbers(1), default="2,3,4,6", show_default=True,
              help="Replicate plates to compare; all hold every condition. Plans with a single "
              "well of a condition are left out.")  # fmt: skip
@click.option("--wells-per-plate", "per_plate", type=Numbers(1), default="1", show_default=True,
              help="Wells of a condition on each of its plates to compare.")  # fmt: skip
@click.option("--controls", type=Numbers(2), default="8,16,32", show_default=True,
              help="Control wells per plate to compare.")  # fmt: skip
@click.option("--nuclei", type=Numbers(3), help="Nuclei per well to compare: more fields give more "
              "(default: the pilot's).")  # fmt: skip
@click.option("--plate-format", type=click.Choice(["96", "384", "1536"]), default="384",
              show_default=True, help="Wells of a plate.")  # fmt: skip
@click.option("--fdr", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help="False discovery rate of a call.")  # fmt: skip
@click.option("--active", type=click.FloatRange(0, 1, min_open=True), default=0.25,
              show_default=True, help="Share of conditions expected to do something.")  # fmt: skip
@click.option("--screens", type=click.IntRange(min=2), default=10, show_default=True,
              help="Screens to simulate for each plan; more make steadier figures.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(), help="Folder for design.html, design.csv, "
              "curves.csv and the layout of the plan that is enough.")  # fmt: skip
@yes_option("Replace files in OUTPUT without asking.")
@json_option
def design(
    pilot: str,
    layout: str,
    conditions: int | None,
    names: str | None,
    change: float,
    replicates: tuple[int, ...],
    per_plate: tuple[int, ...],
    controls: tuple[int, ...],
    nuclei: tuple[int, ...] | None,
    plate_format: str,
    fdr: float,
    active: float,
    screens: int,
    seed: int,
    output: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan a screen from a PILOT: the replicates and controls that find a change of some size.

    PILOT is a table of features, one row per nucleus or per well, as 'i2r audit' takes it:
    EXPERIMENT/tables/features of a run, CSV, Parquet or h5ad of others. One plate with eight
    control wells is enough; its other wells may hold anything.

    Screens of every plan are simulated with the pilot's noise and tested as 'method: fast' does.
    The answer is the share of changes that are called, for each plan, and a layout for the one
    with the fewest wells that finds 80 of 100: plates shuffled, controls spread over them.
    """
    from i2r.audit.screen import prepare_screen
    from i2r.audit.wells import summarise_table
    from i2r.design.page import choose, rank, tabulate, write_page
    from i2r.design.pilot import learn_pilot, learn_plates
    from i2r.design.places import write_layout
    from i2r.design.power import Plan, compare_plans, predict_power

    listed = _read_names(names) if names is not None else []
    count = conditions if conditions is not None else len(listed)
    if count < 2 or (listed and len(listed) != count):
        raise InputError(
            f"--conditions: found {conditions}, and {len(listed)} names. Give their number, or "
            "--names with one per line."
        )
    target = Path(output) if output is not None else None
    if target is not None:
        if target.exists() and not target.is_dir():
            raise InputError(f"{output}: found a file, expected a folder. Name one.")
        for name in FILES:
            confirm_overwriting(target / name, yes=yes)
    capacity = int(plate_format)
    most = capacity - 2 * max(per_plate)
    if max(controls) > most:
        raise InputError(
            f"--controls: {max(controls)} of {capacity} wells, expected {max(most, 0)} at most, so "
            "that conditions have wells too. Name fewer."
        )
    if max(replicates) * max(per_plate) < 2:
        raise InputError(
            "--replicates: 1 plate with 1 well of each condition, expected two wells or more of "
            "it: a single well can't be told from a bad one. Add --wells-per-plate 2."
        )
    say(f"reading {pilot}")
    screen = prepare_screen(summarise_table(pilot, layout, names={}, roles={}))
    noise = learn_pilot(screen)
    plans = [
        Plan(count, r, c, float(n), capacity, w)
        for n in (nuclei or (noise.nuclei,))
        for c in controls
        for w in per_plate
        for r in replicates
        if r * w > 1
    ]
    # A process takes as long to start as twenty screens to simulate.
    workers = min(len(os.sched_getaffinity(0)), len(plans), max(1, len(plans) * screens // 20))
    found = compare_plans(
        noise, plans, fdr=fdr, active=active, screens=screens, seed=seed, workers=workers, say=say
    )
    table = tabulate(found, change=change)
    enough = choose(table)
    best = enough if enough is not None else int(table["power"].to_numpy().argmax())
    plan = rank(found)[best].plan
    shares = [
        predict_power(
            own, plan, fdr=fdr, active=active, screens=screens, seed=seed, sizes=(change,)
        ).at(change)
        for own in learn_plates(screen)
    ]
    words, spread = _say_which(table, enough, change, fdr), _say_spread(shares)
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
        page = write_page(
            found,
            noise,
            change=change,
            fdr=fdr,
            active=active,
            source=pilot,
            words=words,
            spread=spread,
        )
        (target / "design.html").write_text(page, encoding="utf-8")
        table.to_csv(target / "design.csv", index=False)
        _join_curves(found).to_csv(target / "curves.csv", index=False)
        plates = write_layout(
            listed or [f"condition {number}" for number in range(1, count + 1)],
            replicates=plan.replicates, controls=plan.controls,
            plate_format=capacity, seed=seed, per_plate=plan.per_plate,
        )  # fmt: skip
        plates.to_csv(target / "layout.csv", index=False)
    if as_json:
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        print_json(
            {"change": change, "fdr": fdr, "enough": enough, "plans": rows, "by_plate": shares}
        )
        return
    _print(table, enough, change)
    click.echo(f"{words}\n{spread}")
    if target is not None:
        click.echo(f"design: {target / 'design.html'}, layout: {target / 'layout.csv'}")


def _read_names(path: str) -> list[str]:
    """Read one name per line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--names {path}: {error}. Name a text file.") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise InputError(f"--names {path}: {twice[0]!r} stands there twice. Write each name once.")
    return found


def _say_which(table: "pd.DataFrame", enough: int | None, change: float, fdr: float) -> str:
    if enough is None:
        best = table.iloc[int(table["power"].to_numpy().argmax())]
        return (
            f"None of these plans finds 80 of 100 changes of {change:g} standard deviations; the "
            f"best, {_name_wells(best)} with {int(best['controls'])} controls per plate, finds "
            f"{best['power']:.0%}. Add replicates, or nuclei per well (more fields)."
        )
    plan = table.iloc[enough]
    return (
        f"{_name_wells(plan)} with {int(plan['controls'])} controls per plate are enough: "
        f"{plan['power']:.0%} of changes of {change:g} standard deviations are called at an FDR "
        f"of {fdr:g}, on {count_words(int(plan['plates']), 'plate')}."
    )


def _say_spread(shares: Sequence[float]) -> str:
    """Say how far the answer depends on the pilot's plate; one plate can't tell."""
    if len(shares) < 2:
        return (
            "Only one plate of the pilot says enough of its noise, and one can't tell how plates "
            "differ: with another one as the pilot the answer may be another. A pilot of three "
            "plates or more shows by how much."
        )
    return (
        f"With each of the pilot's {len(shares)} plates alone as the pilot, the same plan finds "
        f"{min(shares):.0%} to {max(shares):.0%} of these changes."
    )


def _name_wells(plan: "pd.Series") -> str:
    """Say how many wells a condition has."""
    plates, wells = int(plan["replicates"]), int(plan["per_plate"])
    if wells == 1:
        return f"{plates} replicates"
    return f"{wells} wells on each of {plates} plates" if plates > 1 else f"{wells} wells"


def _join_curves(found: "Sequence[Power]") -> "pd.DataFrame":
    import pandas as pd

    parts = [
        power.curve.assign(
            replicates=power.plan.replicates, per_plate=power.plan.per_plate,
            controls=power.plan.controls, nuclei=round(power.plan.nuclei),
        )
        for power in found
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _print(table: "pd.DataFrame", enough: int | None, change: float) -> None:
    shown = Table(box=None, pad_edge=False)
    heads = ("replicates", "on each", "controls", "nuclei", "plates", "wells",
             f"power at {change:g} SD", "found in 80 %")  # fmt: skip
    for head in heads:
        shown.add_column(head, justify="right")
    for number, row in table.iterrows():
        least = f"{row['least_change']:.1f} SD" if row["least_change"] > 0 else "-"
        cells = [f"{row[name]:.0f}" for name in table.columns[:6]]
        shown.add_row(
            *cells, f"{row['power']:.2f}", least, style="bold" if number == enough else None
        )
    Console().print(shown)
