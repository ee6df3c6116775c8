"""Commands that look at an experiment: status, errors, validate."""

import sys
import time
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.clean import describe_obsolete
from i2r.cli.options import get_voice, json_option, print_json
from i2r.errors import InputError, count_words, name_some

if TYPE_CHECKING:
    from i2r.pipeline.current_run import CurrentRun
    from i2r.store.experiment import Experiment


@click.command()
@click.argument("experiment", type=click.Path())
@json_option
def status(experiment: str, as_json: bool) -> None:
    """Show for every stage of EXPERIMENT how many units are done, and what is left.

    'Out of date' units were done with other options or inputs than the last run's, or by an i2r
    that computed them in another way; 'interrupted' ones were running when a run was stopped. The
    next 'i2r run' does all of them; trainings with a checkpoint go on from it, and it is said how
    many.

    While a run works on it, also since when, what it does, how many of its units are done, failed
    and under way, and about how long it will take.

    The last run left what it wants of every unit. Where a file that a stage reads, such as masks
    or weights, was changed since, all units are looked at, which takes a minute for a million.
    """
    from i2r.cli.run import last_pipeline
    from i2r.pipeline.cleaning import find_obsolete
    from i2r.pipeline.current_run import describe_current, find_current_run
    from i2r.pipeline.status import STATES as names
    from i2r.pipeline.status import count_checkpoints, count_states
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("units", *names):
        table.add_column(name, justify="right")
    pipeline = last_pipeline(experiment)
    states = count_states(pipeline, opened)
    kept = count_checkpoints(pipeline, opened)
    current = find_current_run(opened, states)
    if as_json:
        rows = [
            {"stage": t, **{n: counts[n] for n in names}, "with checkpoint": kept.get(t, 0)}
            for t, counts in states.items()
        ]
        running = describe_current(current, now_s=time.time()) if current else None
        print_json({"experiment": opened.url, "running": running, "stages": rows})
        return
    if current is not None:
        table.columns[2 + names.index("interrupted")].header = "under way"
    for title, counts in states.items():
        total = sum(counts.values())
        table.add_row(
            title, str(total), *(str(counts[name]) if counts[name] else "" for name in names)
        )
    Console().print(table)
    for title, number in kept.items() if current is None else ():
        units = count_words(number, "interrupted training")
        click.echo(f"{title}: the next 'i2r run' goes on with {units} from the last checkpoint")
    if current is not None:
        click.echo(_describe(current))
    obsolete = find_obsolete(opened)
    for line in describe_obsolete(obsolete.plates, obsolete.units):
        click.echo(f"{line}; see 'i2r clean --help'")


def _describe(run: "CurrentRun") -> str:
    """Write in a line what the run under way is doing."""
    from i2r.cli.plan import format_seconds

    since = ""
    if run.started_s:
        clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started_s))
        since = f" since {clock} ({format_seconds(max(0.0, time.time() - run.started_s))})"
    left = f"; about {format_seconds(run.left_s)} left" if run.left_s else ""
    if run.unknown:
        shown = name_some(run.unknown, 3)
        left += f"{' and' if left else '; left:'} {shown}, of which nothing is done yet"
    failed = f", {run.failed} failed (see 'i2r errors')" if run.failed else ""
    return (
        f"running{since}: {run.command} ({run.place}): {run.done} units done{failed}, "
        f"{run.running} under way{left}"
    )


@click.command()
@click.argument("experiment", type=click.Path())
@click.option("--traceback", "show_traceback", is_flag=True, help="Show tracebacks of bugs too.")
@json_option
def errors(experiment: str, show_traceback: bool, as_json: bool) -> None:
    """Show the failed and blocked units of EXPERIMENT and why, then the excluded fields.

    Exits with 3 where there are any.
    """
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    found: list[dict[str, Any]] = []
    for entry in sorted(opened.ledger.entries(), key=lambda e: (e.stage, e.key)):
        unit = {"stage": entry.stage, "key": entry.key}
        if entry.event in ("failed", "blocked"):
            more = {"worker": entry.worker, "attempt": entry.attempt, "traceback": entry.traceback}
            found.append({**unit, "event": entry.event, "error": entry.error, **more})
        excluded = entry.report.excluded
        for field, reason in excluded.items():
            found.append({**unit, "event": "excluded", "field": field, "error": reason})
    _add_messages(opened, [line for line in found if line["event"] == "excluded"])
    if as_json:
        print_json(found)
        sys.exit(3 if found else 0)
    for line in found:
        place = f"{line['stage']} {line['key']}"
        if line["event"] == "excluded":
            why = f"{line['error']}: {line['message']}" if line["message"] else line["error"]
            click.echo(f"{place} field {line['field']}: excluded: {why}")
            continue
        where = f" on {line['worker']}, attempt {line['attempt']}" if line["worker"] else ""
        click.echo(f"{place}: {line['event']}{where}: {line['error']}")
        if (show_traceback or get_voice().level > 0) and line["traceback"]:
            click.echo(line["traceback"])
    if not found:
        click.echo("no failed units, no excluded fields")
    sys.exit(3 if found else 0)


def _add_messages(experiment: "Experiment", excluded: list[dict[str, Any]]) -> None:
    """Add what the stages' tables say of excluded fields: which file, and what is wrong with it."""
    told: dict[tuple[str, str, str], str] = {}
    for stage in {line["stage"] for line in excluded}:
        try:
            table = experiment.table(stage)
        except InputError:  # the unit that was to merge it failed
            continue
        if "message" in table.columns:
            rows = table[table["message"] != ""]
            keys = rows["plate"] + "/" + rows["well"]
            for key, field, text in zip(keys, rows["field"], rows["message"], strict=True):
                told[stage, str(key), str(field)] = str(text)
    for line in excluded:
        line["message"] = told.get((line["stage"], line["key"], line["field"]), "")


@click.command()
@click.argument("experiment", type=click.Path())
@click.option(
    "--against-source",
    is_flag=True,
    help="Also read the source files again and compare every pixel.",
)
@click.option(
    "--sample", type=int, metavar="N", help="Compare only so many fields, drawn with a fixed seed."
)
@click.option(
    "--deep", is_flag=True, help="Also read everything, and compare it with its checksums."
)
@json_option
def validate(
    experiment: str, against_source: bool, sample: int | None, deep: bool, as_json: bool
) -> None:
    """Check that every well and field of EXPERIMENT is there and well-formed.

    Looks at OME-Zarr metadata, shapes, types, shards, labels, crops, and presence and size of all
    files of everything that the ledger calls done; with --deep also at every byte. 'i2r repair'
    makes again what is gone or damaged. With --against-source it names every plane that is not
    what its source file is, every plane that was left out because its file is missing or damaged,
    and every plane that can't be compared because its file was lost since. Exits with 2 and the
    list of what is wrong, with 3 where planes are missing or can't be compared.
    """
    from i2r.store.experiment import open_experiment
    from i2r.store.validate import find_problems

    opened = open_experiment(experiment)
    problems = find_problems(opened, deep=deep)
    missing: list[str] = []
    gone: list[str] = []
    compared = ""
    if against_source or sample is not None:
        from i2r.cli.run import last_pipeline
        from i2r.pipeline.verify import compare_with_source

        comparison = compare_with_source(opened, last_pipeline(experiment), sample=sample)
        problems += comparison.differences
        missing, gone = comparison.missing, comparison.gone
        lost = f", {len(gone)} whose source can't be read any more" if gone else ""
        n_different = len(comparison.differences)
        different = count_words(n_different, "difference") if n_different else "no differences"
        compared = (
            f"{comparison.n_planes} planes of {comparison.n_fields} fields compared with their "
            f"source: {different}, {len(missing)} missing"
            f"{lost}"
        )
    wells, fields = len(opened.layout), int(opened.layout["n_fields"].sum())
    if as_json:
        counts = {"plates": len(opened.plates), "wells": wells, "fields": fields}
        found = {"problems": problems, "missing": missing, "gone": gone, "compared": compared}
        print_json({**counts, **found})
    else:
        for line in [*problems, *missing, *gone, *([compared] if compared else [])]:
            click.echo(line)
        sizes = ((len(opened.plates), "plate"), (wells, "well"), (fields, "field"))
        problem = count_words(len(problems), "problem") if problems else "no problems"
        click.echo(f"{', '.join(count_words(*size) for size in sizes)}: {problem}")
    sys.exit(2 if problems else 3 if missing or gone else 0)
