"""How a run ended: a short table of what was found, and where the report is."""

import shlex
from collections import Counter

import numpy as np
import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import get_voice
from i2r.cli.plan import format_seconds
from i2r.errors import InputError, count_words
from i2r.pipeline.summary import Summary
from i2r.store import files
from i2r.store.experiment import Experiment, open_experiment

SHOWN = 8


def print_summary(summary: Summary, url: str) -> None:
    """Print what ran, what was found, what went wrong, and what to do next."""
    if summary.stopped:
        click.echo(f"stopped: {summary.stopped} Run the same command again to go on.", err=True)
        return
    experiment = open_experiment(url)
    if get_voice().level >= 0:
        _print_results(summary, experiment)
    _print_troubles(summary, url)
    report = experiment.path("report.html")
    if files.exists(report) and get_voice().level >= 0:
        click.echo(f"report: {report}")


def _print_results(summary: Summary, experiment: Experiment) -> None:
    """Print what ran and what was found."""
    if summary.ran:
        ran = ", ".join(f"{title} {number}" for title, number in summary.ran.items())
        units = count_words(sum(summary.ran.values()), "unit")
        click.echo(f"{units} in {format_seconds(summary.seconds)}: {ran}")
    elif not summary.failed and not summary.blocked:
        click.echo("nothing to do: everything is up to date")
    for title in summary.ran:
        for note in experiment.ledger.report(title, "*").notes:
            click.echo(f"{title}: {note}")
    _print_counts(experiment)
    for title in _rankings(experiment):
        _print_ranking(experiment, title)


def _print_troubles(summary: Summary, url: str) -> None:
    """Print what failed and what was left out."""
    for word, units in (("failed", summary.failed), ("blocked", summary.blocked)):
        for unit in units[:3]:
            click.echo(f"{word}: {unit.name}: {unit.error}")
        if len(units) > 3:
            see = shlex.join(["i2r", "errors", url])
            click.echo(f"... {len(units)} units {word}; see '{see}'")
    if summary.excluded:
        number = sum(map(len, summary.excluded.values()))
        reasons = Counter(r for fields in summary.excluded.values() for r in fields.values())
        listed = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        see = shlex.join(["i2r", "errors", url])
        click.echo(f"{count_words(number, 'field')} excluded ({listed}); see '{see}'")


def _print_counts(experiment: Experiment) -> None:
    """Print wells, fields and nuclei, from what the units said of themselves."""
    totals: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for entry in experiment.ledger.entries():
        if entry.event == "done":
            counts = totals.setdefault(entry.stage, Counter())
            counts["fields"] += entry.report.fields
            counts["nuclei"] += entry.report.nuclei
            left_out = entry.report.left_out or {}
            counts["left out"] += sum(left_out.values())
            reasons.setdefault(entry.stage, Counter()).update(left_out)
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "fields", "nuclei", "left out"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for title, counts in totals.items():
        if counts["fields"]:
            values = (counts["fields"], counts["nuclei"], counts["left out"])
            table.add_row(title, *(f"{value:,}" if value else "" for value in values))
    if table.rows:
        Console().print(table)
    for title, counts in totals.items():
        _explain_left_out(title, counts["nuclei"], reasons[title])


def _explain_left_out(title: str, kept: int, reasons: Counter[str]) -> None:
    """Say why nuclei were left out, and what to look at where it is most of them."""
    left_out = reasons.total()
    if not left_out:
        return
    listed = ", ".join(f"{n:,} {r.replace('_', ' ')}" for r, n in reasons.most_common() if n)
    click.echo(f"{title} left out {left_out:,} of {kept + left_out:,} nuclei: {listed}")
    if left_out > kept:
        click.echo(
            f"{title}: most nuclei are left out. Does 'pixel_size_um' fit the images, and do the "
            f"limits of '{title}' fit the cells?"
        )


def _rankings(experiment: Experiment) -> list[str]:
    """List the complete stages whose table ranks perturbations."""
    stages = {e.stage for e in experiment.ledger.entries() if e.key == "*" and e.event == "done"}
    found = []
    for title in sorted(stages):
        try:
            if {"rank", "score", "perturbation"} <= set(experiment.table(title).columns):
                found.append(title)
        except InputError:
            continue
    return found


def _print_ranking(experiment: Experiment, title: str) -> None:
    """Print the top of a ranking, with the null beside it."""
    ranking = experiment.table(title)
    null = ranking[ranking["kind"] == "control_draw"]["score"].dropna()
    tested = ranking[ranking["kind"] != "control_draw"]
    # Of profiles of wells nothing has a score, and conditions are ranked by their p-values.
    judged = "score" if tested["score"].notna().any() else "p_value"
    unscored, tested = tested[tested[judged].isna()], tested[tested[judged].notna()]
    table = Table(
        title=f"{title}: best told apart from the controls (balanced accuracy, 0.5 = not at all)"
        if judged == "score"
        else f"{title}: smallest p-values",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("rank", "perturbation", "score", "± folds", "p", "FDR", "wells", "nuclei"):
        table.add_column(name, justify="left" if name == "perturbation" else "right")
    for row in tested.head(SHOWN).itertuples():
        table.add_row(
            str(row.rank),
            str(row.condition),
            _write_score(row.score),
            _write_score(row.spread),
            _write_share(row.p_value),
            _write_share(row.fdr),
            str(row.n_wells),
            f"{row.n_nuclei:,}",
        )
    if len(tested):
        Console().print(table)
    for row in unscored.head(SHOWN).itertuples():
        click.echo(f"{title}: no score for {row.condition}: {row.note}")
    called = int(tested["impactful"].astype(bool).sum())
    see = shlex.join(["i2r", "table", experiment.url, title])
    click.echo(f"{called} of {len(tested)} impactful: see '{see}'")
    if len(null):
        click.echo(
            f"{len(null)} draws of control wells against the others: "
            f"{null.mean():.3f} on average, {null.min():.3f} to {null.max():.3f}"
        )


def _write_score(value: float) -> str:
    """Write a score with three decimals; a dash where there is none."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def _write_share(value: float) -> str:
    """Write a p-value or a rate; a dash where there is none."""
    return f"{value:.2g}" if np.isfinite(value) else "-"
