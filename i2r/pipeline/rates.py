"""How long units take: as they did in earlier runs, or as two fields take on this machine now."""

import tempfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from i2r.cluster import ClusterSpec
from i2r.errors import I2RError
from i2r.pipeline.executors import open_executor
from i2r.pipeline.run import run_units_of
from i2r.pipeline.spec import Pipeline
from i2r.stages.base import FINISH, Stage
from i2r.store.experiment import Experiment
from i2r.store.files import join_url

# Stages that go field by field: what they take grows with the fields.
MEASURED = ("convert", "quality", "segment", "crop", "features")


class Rates(NamedTuple):
    """Seconds per unit by stage, and where they are from.

    Attributes
    ----------
    seconds
        By the stage's title, of one unit; stages of which nothing is known are not in it.
    how
        "earlier runs", "two fields, measured on this machine", or "" where nothing is known.
    """

    seconds: Mapping[str, float]
    how: str


def find_rates(
    pipeline: Pipeline, experiment: Experiment, *, say: Callable[[str], None] = lambda line: None
) -> Rates:
    """Find how long the units of a pipeline's stages take.

    Parameters
    ----------
    pipeline, experiment
        As `i2r.pipeline.run.prepare` gives it.
    say
        Told before fields are measured, which takes some seconds.

    Returns
    -------
    Rates
        Of earlier runs where there are any; else convert, quality, segment, crop and features are
        run on one field of two wells, in a temporary folder, and the faster of the two counts:
        the first one pays for what is loaded.
    """
    seconds: dict[str, list[float]] = {}
    for stage in pipeline.stages:
        for entry in experiment.ledger.entries(stage.title):
            if entry.event == "done" and entry.key != FINISH:
                seconds.setdefault(stage.title, []).append(entry.seconds)
    if seconds:
        known = {title: sum(found) / len(found) for title, found in seconds.items()}
        return Rates(known, "earlier runs")
    measured = _measure(pipeline, experiment, say)
    return Rates(measured, "two fields, measured on this machine" if measured else "")


def _measure(
    pipeline: Pipeline, experiment: Experiment, say: Callable[[str], None]
) -> dict[str, float]:
    """Run one field of two wells in a temporary folder; nothing where that fails."""
    stages: list[Stage] = []
    for stage in pipeline.stages:
        is_known = stage.stage in MEASURED and getattr(stage, "method", "") != "import"
        if is_known and stage.worker_group == "cpu":
            kept = {s.title for s in stages}
            stages.append(
                stage.model_copy(update={"needs": tuple(n for n in stage.needs if n in kept)})
            )
    layout, sources = _choose_fields(experiment)
    if not stages or stages[0].stage != "convert" or layout.empty:
        return {}
    say("measuring two fields to estimate times")
    few = Pipeline(tuple(stages), pipeline.seed)
    n_fields = float(experiment.layout["n_fields"].mean())
    with tempfile.TemporaryDirectory(prefix="i2r-plan-") as folder:
        trial = Experiment(join_url(folder, "trial"), layout=layout, sources=sources)
        try:
            with open_executor(ClusterSpec(type="none")) as executor:
                run_units_of(few, trial, executor)
        except (I2RError, OSError):
            return {}
        ledger = trial.reopen().ledger
        found = {}
        for stage in stages:
            entries = [e for e in ledger.entries(stage.title) if e.event == "done"]
            seconds = [e.seconds for e in entries if e.key != FINISH]
            if seconds:
                found[stage.title] = min(seconds) * n_fields
        return found


def _choose_fields(experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the first field of two wells in the middle of the first plate."""
    layout, sources = experiment.layout, experiment.sources
    if layout.empty or sources.empty:
        return layout.iloc[:0], sources
    plate = layout[layout["plate"] == layout["plate"].iloc[0]]
    usable = plate[plate["n_fields"] > 0]
    rows = usable.iloc[len(usable) // 2 :].head(2) if len(usable) > 1 else usable
    first = [str(fields[0]) for fields in rows["fields"]]
    rows = rows.assign(fields=[[field] for field in first], n_fields=1)
    wanted = pd.MultiIndex.from_arrays([rows["plate"], rows["well"], first])
    places = pd.MultiIndex.from_frame(sources[["plate", "well", "field"]].astype(str))
    return rows.reset_index(drop=True), sources[places.isin(wanted)].reset_index(drop=True)
