"""Commands of a run as a job array: what its tasks call, and how it ends."""

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import rich_click as click

from i2r.cli.options import make_confirm, say
from i2r.errors import InputError

if TYPE_CHECKING:
    from i2r.cluster import AnyCluster
    from i2r.pipeline.array import ArrayPlan
    from i2r.pipeline.spec import Pipeline


@click.group()
def array() -> None:
    """Tasks of a run as a job array, which 'i2r run ... --array N' prepares and submits."""


@array.command()
@click.argument("experiment", type=click.Path())
@click.option("--run", "run", type=int, required=True, help="Run that the wave has.")
@click.option("--slice", "number", type=int, required=True, help="Which slice, from 0.")
def task(experiment: str, run: int, number: int) -> None:
    """Run one slice of one wave in this process, one unit after another."""
    from i2r.pipeline.array import run_slice

    summary = run_slice(experiment, run=run, number=number)
    for unit in summary.failed:
        click.echo(f"failed: {unit.name}: {unit.error}", err=True)
    if summary.stopped:
        click.echo(f"stopped: {summary.stopped}", err=True)
    sys.exit(summary.exit_code)


@array.command()
@click.argument("experiment", type=click.Path())
def finish(experiment: str) -> None:
    """End an array on EXPERIMENT: gather what its tasks wrote, and give the run lock back.

    Exits with 3 where units failed or are left: the same 'i2r run' does those.
    """
    from i2r.pipeline.array import finish_array

    _tell_totals(finish_array(experiment))


def _tell_totals(totals: Mapping[str, int]) -> NoReturn:
    click.echo(", ".join(f"{number} {word}" for word, number in totals.items()))
    sys.exit(3 if set(totals) - {"done"} else 0)


def run_as_array(
    pipeline: "Pipeline", experiment: str, cluster: "AnyCluster", n_slices: int, *, yes: bool
) -> None:
    """Prepare an array, and submit it; with 'none' run its tasks here, one after another."""
    from i2r.cluster import JobClusterSpec
    from i2r.pipeline.array import check_slices, finish_array, prepare_array, run_slice
    from i2r.pipeline.run import check_shared

    check_slices(n_slices)
    if not isinstance(cluster, JobClusterSpec) and cluster.type != "none":
        raise InputError(
            f"--array with a cluster of type {cluster.type}: expected one of SLURM or PBS, or "
            "'none' to run the tasks here, one after another."
        )
    if isinstance(cluster, JobClusterSpec):
        check_shared(experiment)
    plan = prepare_array(
        pipeline,
        experiment,
        n_slices=n_slices,
        command=shlex.join(["i2r", *sys.argv[1:]]),
        say=say,
        confirm=make_confirm(yes),
    )
    if plan is None:
        click.echo("nothing to do: everything is up to date")
        return
    if isinstance(cluster, JobClusterSpec):
        submit(plan, pipeline, experiment, cluster)
        return
    tasks = ((run, number) for run in plan.runs for number in range(n_slices))
    ends = (run_slice(experiment, run=run, number=number).stopped for run, number in tasks)
    try:
        stopped = next(filter(None, ends), "")
    finally:
        totals = finish_array(experiment)
    if stopped:
        click.echo(f"stopped: {stopped} Run the same command again to go on.", err=True)
        sys.exit(130 if stopped.startswith("interrupted") else 2)
    _tell_totals(totals)


def submit(plan: "ArrayPlan", pipeline: "Pipeline", experiment: str, cluster: "AnyCluster") -> None:
    """Submit one array per wave, each after the one before, and what ends them."""
    from i2r.cluster import JobClusterSpec, WorkerKind
    from i2r.cluster.arrays import submit_after, write_array_script
    from i2r.pipeline.array import task_command
    from i2r.store.files import normalise_url
    from i2r.store.lock import release_array

    if not isinstance(cluster, JobClusterSpec):
        raise AssertionError("only batch systems take jobs")
    url, last = normalise_url(experiment), None
    small: WorkerKind = "cpu" if cluster.cpu.jobs else "gpu"
    try:
        for run, titles in zip(plan.runs, plan.stages, strict=True):
            wants = {pipeline.stage(title).worker_group for title in titles}
            group: WorkerKind = "gpu" if "gpu" in wants and cluster.gpu.jobs else small
            command = task_command(url, run, "$TASK")
            script = write_array_script(cluster, group, command, n_tasks=plan.n_slices)
            last = submit_after(cluster, script, last)
            click.echo(f"run {run}: job array {last}, {plan.n_slices} tasks: {', '.join(titles)}")
        command = task_command(url, 0, "")
        last = submit_after(
            cluster, write_array_script(cluster, small, command, n_tasks=None), last
        )
    except InputError:
        if last is None:  # nothing was submitted, so nothing holds the experiment
            release_array(experiment)
        raise
    click.echo(f"job {last} ends the run; see 'i2r status {experiment}'")
