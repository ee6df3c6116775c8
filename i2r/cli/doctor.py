"""The command doctor: what usually goes wrong with a cluster, looked at before a long run."""

import os
import sys

import rich_click as click

from i2r.cli.options import json_option, print_json, say


@click.command()
@click.argument("experiment", type=click.Path(), required=False)
@click.option("--cluster", metavar="FILE|ADDRESS|none", default=None, help="As for 'i2r run'.")
@click.option("--pipeline", default=None, metavar="FILE", help="What will be run; default: last.")
@click.option(
    "--warm",
    is_flag=True,
    help="Compile what first runs would compile; needs no EXPERIMENT, takes a minute or two, once "
    "per kind of processor.",
)
@json_option
def doctor(
    experiment: str | None, cluster: str | None, pipeline: str | None, warm: bool, as_json: bool
) -> None:
    """Check a cluster, and the place of EXPERIMENT, before a long run.

    Versions on client and workers, a path that all see, free space and inodes, memory per worker
    against the largest unit, thread variables, GPU with driver and PyTorch, walltime against
    lifetime. Exits with 2 where something is wrong, and says what to do.
    """
    if warm:
        from i2r.pipeline.rehearsal import rehearse_all

        say("compiling for this processor, a minute or two")
        rehearse_all(len(os.sched_getaffinity(0)))
        if experiment is None:
            return
    if experiment is None:
        raise click.UsageError("Missing argument 'EXPERIMENT': a folder to check, or --warm.")
    from i2r.cluster import ClusterSpec, load_cluster
    from i2r.pipeline.doctor import examine, judge
    from i2r.pipeline.estimate import find_needs

    spec = load_cluster(cluster) if cluster else ClusterSpec()
    findings = judge(examine(experiment, spec, **find_needs(experiment, pipeline)))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.check}: {'ok' if finding.ok else finding.message}")
    sys.exit(0 if all(finding.ok for finding in findings) else 2)
