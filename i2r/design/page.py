"""Plans as one page: what each finds, what it costs, and which one is enough."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.design.pilot import Pilot
from i2r.design.power import Plan, Power
from i2r.report import html
from i2r.report.lines import Line, draw_lines
from i2r.store import files

MOST_LINES = 8


def rank(found: Sequence[Power]) -> list[Power]:
    """Sort plans, those of the fewest wells and nuclei first."""
    return sorted(found, key=lambda power: (power.plan.wells, round(power.plan.nuclei)))


def tabulate(found: Sequence[Power], *, change: float) -> pd.DataFrame:
    """Make a row per plan, as `rank` sorts them.

    Returns
    -------
    DataFrame
        replicates (plates), per_plate (wells of a condition on each), controls (per plate), nuclei
        (per well), plates, wells, power (of ``change``), least_change (called in 80 of 100 cases;
        NaN beyond the sizes tried).
    """
    rows = [
        {
            "replicates": power.plan.replicates, "per_plate": power.plan.per_plate,
            "controls": power.plan.controls, "nuclei": round(power.plan.nuclei),
            "plates": power.plan.plates, "wells": power.plan.wells, "power": power.at(change),
            "least_change": power.least,
        }
        for power in rank(found)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def choose(table: pd.DataFrame) -> int | None:
    """Give the row of the plan with the fewest wells that finds 80 of 100; None where none does."""
    enough = np.flatnonzero(table["power"].to_numpy() >= 0.8)
    return int(enough[0]) if enough.size else None


def write_page(
    found: Sequence[Power],
    pilot: Pilot,
    *,
    change: float,
    fdr: float,
    active: float,
    source: str,
    words: str,
    spread: str,
) -> str:
    """Write the page; names from the pilot are escaped.

    ``words`` says which plan is enough, ``spread`` what plates of the pilot say of it one by one.
    """
    table = tabulate(found, change=change)
    shown = table.rename(
        columns={
            "replicates": "replicate plates", "per_plate": "wells on each",
            "controls": "controls per plate", "nuclei": "nuclei per well",
            "power": f"power for {change:g} SD", "least_change": "change found in 80 of 100, SD",
        }
    )  # fmt: skip
    caption = (
        "Every condition has its wells on each replicate plate; every plate is shuffled anew, with "
        "its controls spread. A dash: more than the largest change that was tried."
    )
    lines = [
        Line(
            f"{_name_replicates(p.plan)} x {p.plan.controls} controls, "
            f"{p.plan.nuclei:.0f} nuclei",
            p.curve["change"].tolist(), p.curve["power"].tolist(),
        )
        for p in _spread(rank(found), MOST_LINES)
    ]  # fmt: skip
    curves = draw_lines(
        lines, x_title="change of one feature, standard deviations of a control well",
        y_title="share called",
        caption=f"What is called at an FDR of {fdr:g}, by the size of the change. Changes of "
        "several features together are found more easily.",
    )  # fmt: skip
    bars = (f"power for {change:g} SD",)
    plans = html.table(shown, caption, bars=bars, whole=1.0)
    sections = [
        ("plans", "Plans", plans),
        ("curves", "What each finds", curves),
        ("methods", "How it was done", _describe(pilot, spread, fdr=fdr, active=active)),
    ]
    return html.page(
        sections,
        made_by="i2r design",
        heading="Plan of a screen",
        source=files.without_secrets(source),
        description=words,
    )


def _name_replicates(plan: Plan) -> str:
    """Say how many plates, and how many wells on each where there are several."""
    wells = f" of {plan.per_plate} wells" if plan.per_plate > 1 else ""
    return f"{plan.replicates} plates{wells}"


def _spread(found: Sequence[Power], most: int) -> list[Power]:
    """Take at most so many, from the cheapest to the dearest."""
    if len(found) <= most:
        return list(found)
    return [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]


def _describe(pilot: Pilot, spread: str, *, fdr: float, active: float) -> Markup:
    return html.fill(
        "<p>The pilot's {{ n }} wells that can be compared with others that hold the same say how "
        "wells differ: a variance and a correlation for wells, the variance of nuclei "
        "({{ nuclei }} in a usual control well), and how often a well lies far from the others. "
        "Smooth fields over the plate are taken out, as the screen takes them out. Screens of each "
        "plan are drawn with that noise. {{ active }} of the conditions get a change of one "
        "feature, drawn at random, all of the same size; all conditions are tested as the fast "
        "screen does, and those with an FDR below {{ fdr }} count as called. Not in it: effects of "
        "places that replicate plates share, dead plates, and differences between the pilot and "
        "the screen to be.</p><p>{{ spread }}</p>",
        spread=spread,
        n=pilot.n_wells, nuclei=f"{pilot.nuclei:.0f}", active=f"{active:.0%}", fdr=f"{fdr:g}",
    )  # fmt: skip
