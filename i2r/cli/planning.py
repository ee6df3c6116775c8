"""The printed plan of a run."""

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import say
from i2r.cluster import ClusterSpec, planned_workers
from i2r.pipeline.run import prepare, preview_units
from i2r.pipeline.spec import Pipeline
from i2r.stages.base import FINISH


def print_plan(pipeline: Pipeline, url: str, cluster: ClusterSpec | None) -> None:
    """Print units, bytes and memory per stage, and whether every unit fits into a worker."""
    experiment = prepare(pipeline, url, say=say)
    preview = preview_units(pipeline, experiment)
    number, memory = planned_workers(cluster or ClusterSpec())
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("units to run", "of", "reads", "writes", "memory per unit"):
        table.add_column(name, justify="right")
    too_large = []
    total_out = 0
    for stage in pipeline.stages:
        keys = list(stage.keys(experiment))
        pending = [key for key in preview[stage.title] if key != FINISH]
        peak = max((stage.peak_bytes(experiment, key) for key in pending or keys), default=0)
        written = sum(stage.bytes_out(experiment, key) for key in pending)
        total_out += written
        table.add_row(
            stage.title,
            str(len(preview[stage.title])),
            str(len(keys) + stage.has_finish()),
            format_bytes(sum(stage.bytes_in(experiment, key) for key in pending)),
            format_bytes(written),
            format_bytes(peak),
        )
        if peak > memory:
            too_large.append(stage.title)
    console = Console()
    console.print(table)
    wells, fields = len(experiment.layout), int(experiment.layout["n_fields"].sum())
    click.echo(
        f"{len(experiment.plates)} plates, {wells} wells, {fields} fields; "
        f"{number} workers of {format_bytes(memory)}; about {format_bytes(total_out)} to write"
    )
    for title in too_large:
        click.echo(f"stage {title!r} does not fit into a worker: use fewer, larger workers")


def format_bytes(number: float) -> str:
    """Print a number of bytes with a unit of 1,024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
