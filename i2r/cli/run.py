"""Commands that run pipelines: run, retry, plan."""

import logging
import shlex
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import rich_click as click

from i2r.cli.options import (
    get_voice,
    json_option,
    make_confirm,
    running_options,
    say,
    wants_performance_report,
)
from i2r.errors import InputError

if TYPE_CHECKING:
    from i2r.pipeline.spec import Pipeline


def execute(pipeline: "Pipeline", experiment: str, **options: Any) -> None:
    """Run a pipeline as `run_and_tell` does, and leave with its exit code."""
    sys.exit(run_and_tell(pipeline, experiment, **options))


def run_and_tell(
    pipeline: "Pipeline",
    experiment: str,
    *,
    cluster: str | None,
    style: Any,
    yes: bool,
    strict: bool,
    only: set[str] | None = None,
    retry: bool = False,
    deep: Collection[str] | None = None,
) -> int:
    """Run a pipeline, print how it ended, and give the exit code."""
    from i2r.cli.summary import print_summary
    from i2r.cluster import load_cluster
    from i2r.cluster.startup import hear_endings
    from i2r.pipeline.run import run_pipeline

    if get_voice().level > 0:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("i2r").setLevel(logging.INFO)
    hear_endings()
    summary = run_pipeline(
        pipeline,
        experiment,
        cluster=load_cluster(cluster) if cluster else None,
        only=only,
        retry=retry,
        strict=strict,
        style="none" if get_voice().level < 0 and style == "auto" else style,
        say=say,
        confirm=make_confirm(yes),
        command=shlex.join(["i2r", *sys.argv[1:]]),
        performance_report=wants_performance_report(),
        deep=deep,
    )
    print_summary(summary, experiment)
    if summary.stopped.startswith("interrupted"):
        return 130
    return 2 if strict and summary.excluded else summary.exit_code


@click.command()
@click.argument("pipeline", type=click.Path())
@click.argument("experiment", type=click.Path())
@click.option(
    "--array",
    "slices",
    type=int,
    metavar="N",
    help="Without any scheduler: submit job arrays of N tasks to the batch system of --cluster.",
)
@running_options
def run(
    pipeline: str,
    experiment: str,
    slices: int | None,
    cluster: str | None,
    style: str,
    yes: bool,
    strict: bool,
) -> None:
    """Run a pipeline on an experiment; the same command again resumes.

    PIPELINE is a YAML file: see the pipelines that ship with i2r, or make one with 'i2r init'.
    EXPERIMENT is the folder (or fsspec URL) for all results; it is made if it does not exist.
    Only units whose options or inputs changed, or that never finished, are computed.
    """
    from i2r.pipeline.spec import load_pipeline

    if slices is not None:
        if strict:
            raise InputError(
                "--array with --strict: found both, expected one of them. Look at the fields with "
                "a run without --array first ('i2r convert ... --strict'), or leave --strict out."
            )
        from i2r.cli.array import run_as_array
        from i2r.cluster import load_cluster

        where = load_cluster(cluster or "none")
        run_as_array(load_pipeline(pipeline), experiment, where, slices, yes=yes)
        return
    execute(
        load_pipeline(pipeline), experiment, cluster=cluster, style=style, yes=yes, strict=strict
    )


@click.command()
@click.argument("experiment", type=click.Path())
@running_options
def retry(experiment: str, cluster: str | None, style: str, yes: bool, strict: bool) -> None:
    """Run what failed, was blocked or interrupted in EXPERIMENT, and what depends on it.

    Everything that never ran is left alone; 'i2r run' does all.
    """
    pipeline = last_pipeline(experiment)
    execute(pipeline, experiment, cluster=cluster, style=style, yes=yes, strict=strict, retry=True)


@click.command()
@click.argument("experiment", type=click.Path())
@click.argument("wells", nargs=-1, metavar="[PLATE/WELL]...")
@running_options
def repair(
    experiment: str,
    wells: tuple[str, ...],
    cluster: str | None,
    style: str,
    yes: bool,
    strict: bool,
) -> None:
    """Make again what is gone or damaged in EXPERIMENT, with its last pipeline.

    Reads every file that a done unit wrote, or those of the named wells (or units, as 'i2r errors'
    writes them), and compares it with its checksum. What is missing or changed is computed again,
    and so is what was deleted with it or is still to do.
    """
    from i2r.store.experiment import open_experiment

    known = {entry.key for entry in open_experiment(experiment).ledger.entries()}
    for well in wells:
        if well not in known:
            some = ", ".join(sorted(known)[:3]) or "none"
            raise InputError(
                f"{experiment}: no unit {well!r}, expected one such as {some}. Name one of them."
            )
    execute(
        last_pipeline(experiment),
        experiment,
        cluster=cluster,
        style=style,
        yes=yes,
        strict=strict,
        deep=wells,
    )


def last_pipeline(experiment: str) -> "Pipeline":
    """Read the pipeline that an experiment was last run with."""
    from i2r.pipeline.run import load_last_pipeline
    from i2r.store.experiment import open_experiment

    pipeline = load_last_pipeline(open_experiment(experiment))
    if pipeline is None:
        raise InputError(f"{experiment}: nothing was run here yet. Start with 'i2r run'.")
    return pipeline


@click.command()
@click.argument("pipeline", type=click.Path())
@click.argument("experiment", type=click.Path())
@click.option("--cluster", metavar="FILE|ADDRESS|none", default=None, help="As for 'i2r run'.")
@json_option
def plan(pipeline: str, experiment: str, cluster: str | None, as_json: bool) -> None:
    """Show what 'i2r run PIPELINE EXPERIMENT' would do, without writing or starting anything.

    Per stage: units to run and in all, bytes read and written, the memory of the largest unit
    against that of a worker, and the time with all workers busy: as in earlier runs, or, before the
    first, as two fields take here, which are run in a temporary folder. '?' is not known yet.
    """
    from i2r.cli.plan import print_plan
    from i2r.cluster import load_cluster
    from i2r.pipeline.spec import load_pipeline

    where = load_cluster(cluster) if cluster else None
    print_plan(load_pipeline(pipeline), experiment, where, as_json=as_json)
