"""Run pipelines from Python, and look at what a run would do and has done."""

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from i2r.cluster import AnyCluster, ClusterSpec, load_cluster
from i2r.errors import InputError
from i2r.pipeline.plan import describe_plan
from i2r.pipeline.progress import Style
from i2r.pipeline.run import load_last_pipeline, run_pipeline
from i2r.pipeline.script import check_guard
from i2r.pipeline.spec import Pipeline, load_pipeline
from i2r.pipeline.status import STATES, count_states
from i2r.pipeline.summary import Summary
from i2r.store.experiment import Experiment, open_experiment

if TYPE_CHECKING:
    from distributed import Client

AnyPipeline = Pipeline | Mapping[str, Any] | str | os.PathLike[str]
AnyExperiment = Experiment | str | os.PathLike[str]


def run(
    pipeline: AnyPipeline,
    experiment: AnyExperiment,
    *,
    client: "Client | None" = None,
    cluster: AnyCluster | str | None = None,
    only: Collection[str] | None = None,
    retry: bool = False,
    strict: bool = False,
    replace: bool = False,
    progress: Style = "auto",
    say: Callable[[str], None] = print,
    confirm: Callable[[str], bool] | None = None,
) -> Summary:
    """Run everything in a pipeline that is not done with the same inputs, as 'i2r run' does.

    Parameters
    ----------
    pipeline
        A pipeline, its content as a mapping, or the path of its YAML file.
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
    replace
        Replace results that other options or inputs gave. Otherwise a run that would do so is
        refused, and the error says which results and why.
    progress
        ``rich`` (a table that redraws itself; in notebooks with ipywidgets), ``plain``, ``json``,
        ``none``; ``auto`` chooses.
    say
        Takes notes for the user, one line each.
    confirm
        Asked with the question whether such results may be replaced, in place of ``replace``.

    Returns
    -------
    Summary
        What ran, failed, was blocked and excluded.

    Raises
    ------
    InputError
        Before anything is written, if the experiment as a whole can't be run, if results would
        be replaced, if both a client and a cluster are given, or if workers are started from a
        script without ``if __name__ == "__main__":``.
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
        if not replace:
            raise InputError(f"run: {question} Say so with 'replace=True', or change it back.")
        say(question)
        return True

    return run_pipeline(
        load_pipeline(pipeline),
        _url(experiment),
        cluster=cluster,
        only=only,
        retry=retry,
        strict=strict,
        style=progress,
        say=say,
        confirm=confirm or agree,
    )


def plan(
    pipeline: AnyPipeline,
    experiment: AnyExperiment,
    *,
    cluster: AnyCluster | str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Find out what `run` would do, as 'i2r plan' does; nothing is written.

    Parameters
    ----------
    pipeline, experiment, cluster, say
        As for `run`.

    Returns
    -------
    dict
        See `i2r.pipeline.plan.describe_plan`. ``pandas.DataFrame(found["stages"])`` is a table.
    """
    spec = load_cluster(cluster) if isinstance(cluster, str) else cluster
    return describe_plan(load_pipeline(pipeline), _url(experiment), spec or ClusterSpec(), say=say)


def status(experiment: AnyExperiment) -> pd.DataFrame:
    """Count what is done of an experiment's last pipeline, as 'i2r status' does.

    Returns
    -------
    DataFrame
        A row per stage, by its name, in the pipeline's order. Columns, all of whole numbers:
        ``done``, ``out of date`` (done with other inputs), ``failed``, ``blocked``,
        ``interrupted`` and ``to do``.

    Raises
    ------
    InputError
        If there is no experiment, or nothing was run in it yet.
    """
    opened = open_experiment(_url(experiment))
    last = load_last_pipeline(opened)
    if last is None:
        raise InputError(f"{opened.url}: nothing was run here yet. Start with 'run'.")
    rows = {title: dict(counts) for title, counts in count_states(last, opened).items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(STATES))
    return table.fillna(0).astype("int64").rename_axis("stage")


def _url(experiment: AnyExperiment) -> str:
    return experiment.url if isinstance(experiment, Experiment) else os.fspath(experiment)
