"""Run a pipeline from Python: a notebook, a script, or a program of one's own."""

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from i2r.cluster import AnyCluster, ClusterSpec, load_cluster
from i2r.errors import InputError
from i2r.pipeline.loop import Summary
from i2r.pipeline.progress import Style
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.script import check_guard
from i2r.pipeline.spec import Pipeline, load_pipeline
from i2r.store.experiment import Experiment

if TYPE_CHECKING:
    from distributed import Client


def run(
    pipeline: Pipeline | str | os.PathLike[str],
    experiment: Experiment | str | os.PathLike[str],
    *,
    client: "Client | None" = None,
    cluster: AnyCluster | str | None = None,
    only: Collection[str] | None = None,
    retry: bool = False,
    strict: bool = False,
    progress: Style = "auto",
    say: Callable[[str], None] = print,
    confirm: Callable[[str], bool] | None = None,
) -> Summary:
    """Run everything in a pipeline that is not done with the same inputs, as 'i2r run' does.

    Parameters
    ----------
    pipeline
        A pipeline, or the path of its YAML file.
    experiment
        An experiment, or where it is or will be: a path or any fsspec URL.
    client
        A Dask client: the units run on its workers, which need the resource CPU (their number
        of threads) or GPU=1, and its dashboard shows them.
    cluster
        Otherwise a cluster file or what `load_cluster` made of one, a scheduler's address, or
        'none' for this process; default: worker processes on this machine.
    only
        Names of the stages to run; the others are taken as they are.
    retry
        Run only units that failed, were blocked or interrupted, and what depends on them.
    strict
        Refuse to start when a field can't be used.
    progress
        ``rich`` (a table that redraws itself; in notebooks with ipywidgets), ``plain``, ``json``,
        ``none``; ``auto`` chooses.
    say
        Takes notes for the user, one line each.
    confirm
        Asked with the question whether results of changed stages may be replaced; default: yes,
        after saying so.

    Returns
    -------
    Summary
        What ran, failed, was blocked and excluded.

    Raises
    ------
    InputError
        Before anything is written, if the experiment as a whole can't be run, if both a
        client and a cluster are given, or if workers are started from a script without
        ``if __name__ == "__main__":``.
    """
    if client is not None and cluster is not None:
        raise InputError("run: found a client and a cluster, expected one of them. Drop one.")
    if client is not None:
        cluster = ClusterSpec(type="connect", address=client.scheduler.address)
    elif isinstance(cluster, str):
        cluster = load_cluster(cluster)

    if cluster is None or cluster.type == "local":
        check_guard()

    def agree(question: str) -> bool:
        say(question)
        return True

    url = experiment.url if isinstance(experiment, Experiment) else os.fspath(experiment)
    return run_pipeline(
        pipeline if isinstance(pipeline, Pipeline) else load_pipeline(os.fspath(pipeline)),
        url,
        cluster=cluster,
        only=only,
        retry=retry,
        strict=strict,
        style=progress,
        say=say,
        confirm=confirm or agree,
    )
