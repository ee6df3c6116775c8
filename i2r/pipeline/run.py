"""Run a pipeline on an experiment: checks first, then the lock, then the loop."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from i2r.cluster import AnyCluster, ClusterSpec
from i2r.errors import DiskFullError, I2RError, InputError, join_problems
from i2r.pipeline.capacity import check_capacity
from i2r.pipeline.changes import find_other_plates, list_changed_rows, list_changes
from i2r.pipeline.executors import Executor, open_executor
from i2r.pipeline.loop import RunLoop
from i2r.pipeline.preview import Say, find_damaged_units, find_failed, list_units, preview_units
from i2r.pipeline.progress import Progress, Style
from i2r.pipeline.records import describe_run
from i2r.pipeline.rehearsal import choose_rehearsals
from i2r.pipeline.relocation import recall_sources
from i2r.pipeline.spec import Pipeline, parse_pipeline
from i2r.pipeline.status import fold_ledger, is_settled
from i2r.pipeline.summary import Summary, collect_excluded, find_blocked, list_excluded
from i2r.pipeline.units import UnitGraph
from i2r.stages.base import FINISH
from i2r.stages.convert import Convert
from i2r.store import files
from i2r.store.access import check_access
from i2r.store.experiment import Experiment, check_target, has_experiment, open_experiment
from i2r.store.layout import empty_layout, empty_sources
from i2r.store.ledger import LedgerWriter
from i2r.store.lock import RunLock, remove_dead_lock
from i2r.surroundings import NO_TORCH


def prepare(pipeline: Pipeline, url: str, *, say: Say = lambda line: None) -> Experiment:
    """Find out what there is to do without writing anything.

    Parameters
    ----------
    pipeline
        The stages; the one that brings images in is asked what it finds.
    url
        The experiment, which need not exist where the first stage reads no other one: a
        pipeline that brings no images in makes an experiment without wells.
    say
        Takes notes for the user, one line each.

    Raises
    ------
    InputError
        If the experiment can't be run like this.
    """
    surveys = [found for stage in pipeline.stages if (found := stage.survey()) is not None]
    if len(surveys) > 1:
        raise InputError(
            "pipeline: two stages bring wells in. Keep one 'convert', or one import with 'layout'."
        )
    if surveys:
        check_target(url)
        sources = recall_sources(surveys[0].sources, url)
        experiment = Experiment(url, layout=surveys[0].layout, sources=sources)
        for note in surveys[0].notes:
            say(note)
    elif pipeline.stages[0].may_begin() and not has_experiment(url):
        check_target(url)
        experiment = Experiment(url, layout=empty_layout(), sources=empty_sources())
    else:
        experiment = open_experiment(url)
    problems = list_missing_packages(pipeline)
    problems += [line for stage in pipeline.stages for line in stage.check(experiment)]
    if problems:
        raise InputError(join_problems(problems))
    for stage in pipeline.stages:
        for note in stage.notes(experiment):
            say(note)
    return experiment


def list_missing_packages(pipeline: Pipeline) -> list[str]:
    """List the stages that need PyTorch where it is not installed."""
    titles = [stage.title for stage in pipeline.stages if stage.needs_torch]
    if not titles or find_spec("torch") is not None:
        return []
    return [f"stage {title!r} needs a network, and {NO_TORCH}" for title in titles]


def run_pipeline(
    pipeline: Pipeline,
    url: str,
    *,
    cluster: AnyCluster | None = None,
    only: Collection[str] | None = None,
    retry: bool = False,
    strict: bool = False,
    style: Style = "auto",
    say: Say = lambda line: None,
    confirm: Callable[[str], bool] = lambda question: True,
    command: str = "i2r.run",
    performance_report: bool = False,
    deep: Collection[str] | None = None,
) -> Summary:
    """Run everything in a pipeline that is not done with the same inputs.

    Parameters
    ----------
    pipeline
        The stages, from `load_pipeline`.
    url
        The experiment; made where it does not exist.
    cluster
        Where the units run; default: local worker processes.
    only
        Names of the stages to run, the others are taken as they are.
    retry
        Run only units that failed, were blocked or interrupted, and what depends on them.
    strict
        Refuse to start when a field can't be used, and fail units whose fields turn out so.
    style
        How progress is shown.
    say, confirm
        Show the user a line; ask whether results of changed stages may be replaced.
    command
        What is being run, for the lock and the record.
    performance_report
        Whether to write Dask's performance report of the run to ``runs/<run>.html``.
    deep
        Keys of units whose output is read and compared with its checksums first; empty for all.
        None looks whether it is there, and reads only tables that are used.

    Returns
    -------
    Summary
        What ran, failed, was blocked and excluded.

    Raises
    ------
    InputError
        Before anything is written, if the experiment as a whole can't be run.
    """
    if cluster is None or cluster.type != "none":
        check_shared(url)
    experiment = prepare(pipeline, url, say=say)
    if strict:
        problems = [
            line
            for stage in pipeline.stages
            if isinstance(stage, Convert)
            for line in stage.find_bad_fields(experiment)
        ]
        if problems:
            raise InputError(join_problems(problems))
    damaged, preview = find_damaged_units(
        pipeline, experiment, only=only, retry=retry, say=say, deep=deep
    )
    pending = sum(len(names) for names in preview.values())
    if not pending:
        remove_dead_lock(url)
        return _nothing_to_do(pipeline, experiment, only)
    if not retry:
        # What is made again because it was damaged has the options that it had.
        kept = preview_units(pipeline, experiment, only=only) if damaged else preview
        ask_before_replacing(pipeline, experiment, kept, confirm, say=say)
    check_access(url)
    try:
        with RunLock(url, command=command) as lock:
            # Only now: an earlier client may have ended between the look and the lock.
            experiment = experiment.reopen()
            with open_executor(cluster or ClusterSpec(), say=say) as executor:
                check_capacity(pipeline.stages, experiment, executor)
                if executor.link:
                    say(f"dashboard: {executor.link}")
                wants_gpu = any(s.worker_group == "gpu" for s in pipeline.stages)
                if wants_gpu and not executor.slots("gpu"):
                    say("no GPU worker: GPU stages run on the CPU workers")
                experiment.save_description()
                begin_stages(pipeline, experiment, preview)
                executor.rehearse(choose_rehearsals(s for s in pipeline.stages if preview[s.title]))
                run = experiment.ledger.last_run + 1
                with ExitStack() as stack:
                    if performance_report:
                        url_html = experiment.path("runs", f"{run:06d}.html")
                        stack.enter_context(executor.report(url_html))
                    graph = _make_graph(pipeline, experiment, only=only, damaged=damaged)
                    summary = _run(pipeline, graph, executor, lock, run, style, retry, command)
                    if not summary.damaged or summary.stopped:
                        return summary
                    say(f"made again, because they were damaged: {list_units(summary.damaged)}")
                    experiment = experiment.reopen()
                    graph = _make_graph(pipeline, experiment, only=only, damaged=summary.damaged)
                    again = _run(pipeline, graph, executor, lock, run + 1, style, retry, command)
                    return again._replace(
                        ran=summary.ran + again.ran, seconds=summary.seconds + again.seconds
                    )
    except OSError as error:
        if not files.is_full(error):
            raise I2RError(
                f"{error.filename or url}: {error.strerror or error}. Look after the disk and the "
                "permissions, and run the same command again: it goes on where it stopped."
            ) from error
        raise DiskFullError(
            f"{url}: no space left. Free some space and run the same command again."
        ) from error


def run_units_of(pipeline: Pipeline, experiment: Experiment, executor: Executor) -> Summary:
    """Run all units of a new experiment without any question, such as those of a trial."""
    with RunLock(experiment.url, command="i2r plan") as lock:
        experiment.save_description()
        graph = _make_graph(pipeline, experiment)
        return _run(pipeline, graph, executor, lock, 1, "none", False, "i2r plan")


def begin_stages(
    pipeline: Pipeline, experiment: Experiment, pending: Mapping[str, Sequence[str]]
) -> None:
    """Let stages do what their units share, once, where any unit is to be computed."""
    for stage in pipeline.stages:
        keys = [key for key in pending[stage.title] if key != FINISH]
        if keys:
            stage.begin(experiment, keys)


def check_shared(url: str) -> None:
    """Refuse an experiment that other processes can't see: each would write into its own.

    Raises
    ------
    InputError
        If it is in this process's memory.
    """
    if url.startswith("memory://"):
        raise InputError(
            f"{url}: found an experiment in this process's memory, expected one that workers see. "
            "Give --cluster none (cluster='none' in Python), or another place."
        )


def ask_before_replacing(
    pipeline: Pipeline,
    experiment: Experiment,
    preview: Mapping[str, Collection[str]],
    confirm: Callable[[str], bool],
    *,
    say: Say = lambda line: None,
) -> None:
    """Ask whether results that other options or inputs gave, or other plates, may be replaced.

    Raises
    ------
    InputError
        If the answer is no; nothing was changed.
    """
    others = find_other_plates(experiment)
    if others and not confirm(others):
        raise InputError("nothing was changed.")
    replaced = {
        stage: number
        for stage, keys in preview.items()
        if (number := sum(experiment.ledger.result(stage, k) is not None for k in keys
                          if k != FINISH))
    }  # fmt: skip
    verbs = {stage.title: stage.stage for stage in pipeline.stages}
    if all(verbs.get(title) == "report" for title in replaced):
        return  # a report is made of results, and none of these is replaced
    changes = list_changes(pipeline, experiment)
    for line in list_changed_rows(experiment):
        say(f"changed since the last run: {line}")
    named = "; ".join(
        f"{stage}: {changes[stage]}" if stage in changes else stage for stage in sorted(replaced)
    )
    if not confirm(
        f"{sum(replaced.values())} results were made with other options or inputs and will be "
        f"replaced ({named})."
    ):
        raise InputError("nothing was changed.")


def _make_graph(
    pipeline: Pipeline,
    experiment: Experiment,
    *,
    only: Collection[str] | None = None,
    damaged: Collection[tuple[str, str]] = (),
) -> UnitGraph:
    """Fold the ledger and make a run's units, one after the other: one graph is held at a time."""
    fold_ledger(pipeline, experiment)
    return UnitGraph(pipeline, experiment, only=only, damaged=damaged)


def _run(
    pipeline: Pipeline,
    graph: UnitGraph,
    executor: Executor,
    lock: RunLock,
    run: int,
    style: Style,
    retry: bool,
    command: str,
) -> Summary:
    """Run the loop under the lock, with its record in ``runs/``."""
    experiment = graph.experiment
    writer = LedgerWriter(experiment.ledger, run)
    record = describe_run(pipeline, executor, run=run, command=command)
    record_url = experiment.path("runs", f"{run:06d}.json")
    files.write_bytes(record_url, json.dumps(record, indent=1).encode())
    slots = executor.slots("cpu") + executor.slots("gpu")
    progress = Progress(graph, slots=slots, style=style)
    eligible = find_failed(graph) | graph.list_damaged() if retry else None
    with progress:
        loop = RunLoop(
            graph,
            executor,
            writer,
            progress,
            eligible=eligible,
            check=lock.check,
            token=lock.token,
        )
        summary = loop.run()
    if lock.is_lost:
        return summary
    record |= {
        "finished_s": time.time(),
        "seconds": summary.seconds,
        "units_run": dict(summary.ran),
        "failed": len(summary.failed),
        "blocked": len(summary.blocked),
        "stopped": summary.stopped,
        "timings": summary.timings,
    }
    try:
        files.write_bytes(record_url, json.dumps(record, indent=1).encode())
        experiment.ledger.fold()
    except OSError as error:
        if not files.is_full(error):
            raise
    return summary


def _nothing_to_do(
    pipeline: Pipeline, experiment: Experiment, only: Collection[str] | None
) -> Summary:
    """Summarise an experiment in which everything is current."""
    if is_settled(pipeline, experiment, only=only):
        excluded = list_excluded(experiment, [stage.title for stage in pipeline.stages])
        return Summary(Counter(), [], [], excluded, 0.0)
    graph = UnitGraph(pipeline, experiment, only=only)
    while graph.take_ready():
        pass
    return Summary(Counter(), [], find_blocked(graph), collect_excluded(graph), 0.0)


def load_last_pipeline(experiment: Experiment) -> Pipeline | None:
    """Read the pipeline of the experiment's latest run; None before the first."""
    content = experiment.last_pipeline()
    if content is None:
        return None
    return parse_pipeline(content, where=f"{experiment.url}, its last run", recorded=True)
