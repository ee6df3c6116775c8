"""The printed plan of a run."""

from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import print_json, say
from i2r.cluster import AnyCluster, ClusterSpec
from i2r.cluster.settings import needed_bytes
from i2r.errors import count_words
from i2r.pipeline.plan import describe_plan
from i2r.pipeline.spec import Pipeline


def print_plan(
    pipeline: Pipeline, url: str, cluster: AnyCluster | None, *, as_json: bool = False
) -> None:
    """Print units, bytes and memory per stage, and whether every unit fits into a worker."""
    plan = describe_plan(pipeline, url, cluster or ClusterSpec(), say=say)
    if as_json:
        print_json(plan)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("units to run", "of", "reads", "writes", "memory per unit", "time"):
        table.add_column(name, justify="right")
    for row in plan["stages"]:
        sizes = (
            format_bytes(row[name]) if row["units_to_run"] or row[name] else ""
            for name in ("bytes_in", "bytes_out", "peak_bytes")
        )
        units, seconds = (str(row["units_to_run"]), str(row["units"])), row["seconds"]
        time = "" if not row["units_to_run"] else _write_time(seconds)
        table.add_row(row["stage"], *units, *sizes, time)
    Console().print(table)
    written = sum(row["bytes_out"] for row in plan["stages"])
    click.echo(
        f"{count_words(plan['plates'], 'plate')}, {count_words(plan['wells'], 'well')}, "
        f"{count_words(plan['fields'], 'field')}; "
        f"{count_words(plan['workers'], 'worker')} of {format_bytes(plan['worker_bytes'])}; "
        f"about {format_bytes(written)} to write"
    )
    if plan["timed_by"]:
        click.echo(_describe_time(plan["stages"], plan["timed_by"], plan["workers"]))
    largest = plan["largest_unit"]
    if largest["name"]:
        click.echo(
            f"largest unit: {largest['name']}, whose worker needs up to "
            f"{format_bytes(largest['needed_bytes'])}; the smallest worker has "
            f"{format_bytes(plan['worker_bytes'])}"
        )
    for line in plan["changes"]:
        click.echo(line)
    for row in plan["stages"]:
        if not row["fits"]:
            click.echo(
                f"stage {row['stage']!r} does not fit into a worker, whose process needs up to "
                f"{format_bytes(needed_bytes(row['peak_bytes']))}: use fewer, larger workers"
            )


def _write_time(seconds: float | None) -> str:
    """Write a stage's time; one of which nothing is known has a question mark."""
    return "?" if seconds is None else format_seconds(seconds)


def _describe_time(stages: list[dict[str, Any]], how: str, workers: int) -> str:
    """Write the time of all stages in a line, and which are not in it."""
    to_run = [row for row in stages if row["units_to_run"]]
    known = sum(row["seconds"] or 0.0 for row in to_run)
    unknown = [row["stage"] for row in to_run if row["seconds"] is None]
    without = f", without {', '.join(unknown)}" if unknown else ""
    return (
        f"about {format_seconds(known)} with {count_words(workers, 'worker')} (from {how}{without})"
    )


def format_bytes(number: float) -> str:
    """Print a number of bytes with a unit of 1,024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Print a time as people say it: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
