"""Where fields and nuclei went: everything listed or labelled is used or left out for a reason."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from i2r.report.html import render
from i2r.report.source import ReportSource, StageRecord

TITLE = "Accounting"
ORDER = 60
# Of a step, its bar at full length, a letter of its name, and its count and share.
ROW_PX, BAR_PX, LETTER_PX, COUNT_PX = 24, 360, 7, 130
MINUS = "\N{MINUS SIGN}"


class Step(NamedTuple):
    """One bar: a total, or what was taken from it."""

    name: str
    amount: int
    kind: str
    # Where the bar starts and how long it is, in percent of the first total.
    start: float
    length: float


def draw(source: ReportSource) -> str | None:
    """Show a waterfall of fields, and one of nuclei per crop stage."""
    falls = [
        {
            "title": title, "steps": steps, "unexplained": unexplained, "row": ROW_PX,
            "left": COUNT_PX + LETTER_PX * max(len(step.name) for step in steps), "bar": BAR_PX,
        }
        for title, steps, unexplained in _list_falls(source)
    ]  # fmt: skip
    return render("accounting.html", falls=falls) if falls else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the steps of every waterfall."""
    for title, steps, _ in _list_falls(source):
        rows = [(step.name.removeprefix(MINUS).strip(), step.kind, step.amount) for step in steps]
        yield title, pd.DataFrame(rows, columns=["step", "kind", "count"])


def _list_falls(source: ReportSource) -> list[tuple[str, list[Step], int]]:
    """List the waterfalls: title, steps, and what is unexplained."""
    falls = []
    if fields := _account_fields(source):
        falls.append(("Fields", fields, 0))
    for crop in source.stages_of("crop"):
        nuclei = _account_nuclei(source, crop)
        if nuclei is not None:
            falls.append((f"Nuclei: {crop.title}", *nuclei))
    return falls


def make_waterfall(
    total: tuple[str, int], losses: dict[str, int], rest: tuple[str, int]
) -> list[Step]:
    """Lay out a waterfall: the total, the largest loss first, what is left."""
    name, count = total
    scale = 100 / max(1, count)
    steps = [Step(name, count, "total", 0.0, 100.0 if count else 0.0)]
    left = count
    for reason, lost in sorted(losses.items(), key=lambda item: (-item[1], item[0])):
        if lost:
            left -= lost
            steps.append(
                Step(
                    f"{MINUS} {reason}",
                    lost,
                    "loss",
                    round(left * scale, 2),
                    round(lost * scale, 2),
                )
            )
    return [*steps, Step(*rest, "total", 0.0, round(rest[1] * scale, 2))]


def _account_fields(source: ReportSource) -> list[Step]:
    """Follow the fields from the layout to those that were used."""
    stages = [stage.title for stage in source.stages if stage.verb in ("convert", "quality")]
    if not stages:
        return []
    listed = int(source.wells["n_fields"].sum())
    excluded = source.excluded_fields
    losses = Counter(f"{row.reason} ({row.stage})" for row in excluded.itertuples())
    ledger = source.experiment.ledger
    for key, n_fields in source.wells["n_fields"].items():
        unfinished = [stage for stage in stages if ledger.result(stage, str(key)) is None]
        if unfinished:
            known = int((excluded["key"] == key).sum())
            losses[f"not done ({unfinished[0]})"] += int(n_fields) - known
    used = listed - sum(losses.values())
    return make_waterfall(("fields listed", listed), dict(losses), ("fields used", used))


def _account_nuclei(source: ReportSource, crop: StageRecord) -> tuple[list[Step], int] | None:
    """Follow the nuclei from label images to crops; also give how many got lost on the way."""
    segment = source.upstream(crop, "segment")
    cropped = source.results(crop.title)
    if segment is None or not cropped:
        return None
    labelled = {k: int(r.get("nuclei", 0)) for k, r in source.results(segment.title).items()}
    losses: Counter[str] = Counter()
    for result in cropped.values():
        losses.update(
            {reason.replace("_", " "): n for reason, n in result.get("left_out", {}).items()}
        )
    losses["well not cropped"] = sum(n for key, n in labelled.items() if key not in cropped)
    n_crops = sum(int(result.get("nuclei", 0)) for result in cropped.values())
    total = sum(labelled.values())
    unexplained = total - sum(losses.values()) - n_crops
    steps = make_waterfall(("nuclei labelled", total), dict(losses), ("crops", n_crops))
    return steps, unexplained
