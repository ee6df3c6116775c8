"""Counted from columns, from the file of the latest run, a unit's state is what its inputs say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from i2r.cluster import ClusterSpec
from i2r.pipeline import preview, run
from i2r.pipeline.plan import describe_plan
from i2r.pipeline.run import load_last_pipeline
from i2r.pipeline.spec import Pipeline
from i2r.pipeline.status import count_states, digest_inputs, fold_ledger, recount_states
from i2r.pipeline.units import UnitGraph
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.ledger import LedgerWriter
from tests.conftest import run_here
from tests.pipeline.stubs import WELLS, Finishing, Pairs, Source, Stub, Whole, chain, make_layout

STAGES = ("source", "stub", "finishing", "pairs", "whole")
KEYS = [*(f"P1/{well}" for well in WELLS), "A01+A02", "A03+A04", "*", "experiment", "P1/H12"]
# One run: which options it has, whether it folds when it begins and ends, and its events: a
# fingerprint is the wanted one, an older one, or that of the options of another run.
RUNS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.booleans(),
        st.lists(
            st.tuples(
                st.sampled_from(STAGES),
                st.sampled_from(KEYS),
                st.sampled_from(["start", "done", "done", "done", "failed", "blocked"]),
                st.sampled_from(["wanted", "wanted", "wanted", "older"]),
            ),
            max_size=40,
        ),
    ),
    max_size=3,
)


def make(log: Path, value: int = 0, **changes: Mapping[str, Any]) -> Pipeline:
    return chain(log, Stub, Finishing, Pairs, Whole, finishing={"value": value}, **changes)


def plan(folder: Path, wells: Sequence[str] = WELLS) -> Experiment:
    """Store the description of an experiment in which nothing was done."""
    survey = Source(log="", wells=tuple(wells)).survey()
    experiment = Experiment(str(folder / "e"), layout=survey.layout, sources=survey.sources)
    experiment.save_description()
    return experiment


def is_known(pipeline: Pipeline, experiment: Experiment) -> bool:
    """Tell whether the units need not be asked for their fingerprints."""
    wanted_by = digest_inputs(pipeline, experiment)
    return experiment.ledger.tally("source", wanted_by=wanted_by) is not None


def find_wanted(pipeline: Pipeline, experiment: Experiment) -> dict[tuple[str, str], str]:
    graph = UnitGraph(pipeline, experiment)
    while taken := graph.take_ready():
        for unit in taken:
            if unit.state == "ready":
                graph.settle(unit, "done")
    return {(unit.stage.title, unit.key): unit.fingerprint for unit in graph}


@given(runs=RUNS, looked_at=st.integers(0, 2), into=st.sampled_from((None, *STAGES)))
@settings(max_examples=40, deadline=None)
def test_counts_from_columns_are_those_from_fingerprints(
    runs: list[tuple[int, bool, list[tuple[str, str, Any, str]]]],
    looked_at: int,
    into: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("states")
    experiment = plan(folder)
    pipelines = [make(folder / "log", value) for value in range(3)]
    for number, (value, ends, events) in enumerate(runs, start=1):
        experiment = open_experiment(experiment.url)
        fold_ledger(pipelines[value], experiment)
        wanted = find_wanted(pipelines[value], experiment)
        writer = LedgerWriter(experiment.ledger, number)
        for stage, key, event, which in events:
            fingerprint = wanted.get((stage, key), "none") if which == "wanted" else "older"
            writer.write(stage, key, event, fingerprint)
        writer.close()
        if ends:
            experiment.ledger.fold()
    opened = open_experiment(experiment.url)
    for value, pipeline in enumerate(pipelines):
        assert is_known(pipeline, opened) == (bool(runs) and value == runs[-1][0])
    if into is not None:
        list(opened.ledger.entries(into))
    expected = recount_states(pipelines[looked_at], open_experiment(experiment.url))
    assert count_states(pipelines[looked_at], opened) == expected


def test_a_run_leaves_what_status_needs(cropped: Path) -> None:
    experiment = open_experiment(str(cropped))
    pipeline = load_last_pipeline(experiment)
    assert pipeline is not None
    assert is_known(pipeline, experiment)
    counts = count_states(pipeline, experiment)
    assert counts == recount_states(pipeline, experiment)
    assert {state for of_stage in counts.values() for state in of_stage} == {"done"}


def test_another_layout_is_noticed(tmp_path: Path) -> None:
    pipeline = chain(tmp_path / "log", Stub, Finishing, Whole)
    run_here(pipeline, tmp_path / "e")
    assert is_known(pipeline, open_experiment(str(tmp_path / "e")))
    plan(tmp_path, wells=(*WELLS[:4], "H12"))
    opened = open_experiment(str(tmp_path / "e"))
    assert not is_known(pipeline, opened)
    assert count_states(pipeline, opened)["stub"] == {"done": 4, "to do": 1}


def test_where_everything_is_done_no_unit_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = chain(tmp_path / "log", Stub, Finishing, Whole)
    run_here(pipeline, tmp_path / "e")
    expected = run_here(pipeline, tmp_path / "e")
    other = make(tmp_path / "log", 1)

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a unit was looked at")

    for module in (preview, run):
        monkeypatch.setattr(module, "UnitGraph", refuse)
    assert run_here(pipeline, tmp_path / "e") == expected
    assert not any(preview.preview_units(pipeline, open_experiment(str(tmp_path / "e"))).values())
    # Other options, or another layout than the stored one, are seen.
    with pytest.raises(AssertionError, match="looked at"):
        run_here(other, tmp_path / "e")
    survey = Source(log="", wells=(*WELLS[:4], "H12")).survey()
    given = Experiment(str(tmp_path / "e"), layout=survey.layout, sources=survey.sources)
    with pytest.raises(AssertionError, match="looked at"):
        preview.preview_units(pipeline, given)


class Silent(Stub):
    """Reads a file of the user's, and tells only its units."""

    stage: str = "silent"
    file: str = Field(description="The file")

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        return Path(self.file).read_text()


class Frank(Silent):
    """Says so for all of its units together."""

    stage: str = "frank"

    def external_files(self, experiment: Experiment) -> object:
        return Path(self.file).read_text()


@pytest.mark.parametrize("kind", [Silent, Frank])
def test_a_changed_file_of_the_users_is_noticed(kind: type[Silent], tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_text("one")
    name = kind.model_fields["stage"].default
    pipeline = chain(tmp_path / "log", kind, **{name: {"file": str(file)}})
    run_here(pipeline, tmp_path / "e")
    opened = open_experiment(str(tmp_path / "e"))
    assert is_known(pipeline, opened)
    assert count_states(pipeline, opened)[name] == {"done": 6}
    file.write_text("two")
    assert not is_known(pipeline, opened)
    assert count_states(pipeline, opened)[name] == {"out of date": 6}
    file.write_text("one")
    assert is_known(pipeline, opened)


def test_a_damaged_state_is_made_again_from_the_segments(tmp_path: Path) -> None:
    pipeline = make(tmp_path / "log")
    run_here(pipeline, tmp_path / "e")
    before = count_states(pipeline, open_experiment(str(tmp_path / "e")))
    state = tmp_path / "e" / "ledger" / "state.parquet"
    for data in (b"", b"PAR1", state.read_bytes()[:-40], b"\0" * 500):
        state.write_bytes(data)
        opened = open_experiment(str(tmp_path / "e"))
        assert not is_known(pipeline, opened)
        assert count_states(pipeline, opened) == before


def test_units_of_a_stage_that_runs_alone_do_not_hide_the_others(tmp_path: Path) -> None:
    pipeline = make(tmp_path / "log")
    run_here(pipeline, tmp_path / "e", only={"source", "stub"})
    opened = open_experiment(str(tmp_path / "e"))
    assert is_known(pipeline, opened)
    counts = count_states(pipeline, opened)
    assert counts == recount_states(pipeline, opened)
    assert counts["whole"] == {"to do": 1}
    assert make_layout().shape[0] == counts["stub"]["done"]


def test_the_plan_of_what_is_done_looks_at_no_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, url = make(tmp_path / "log"), str(tmp_path / "e")
    before = describe_plan(pipeline, url, ClusterSpec())["stages"]
    run_here(pipeline, url)

    def refuse(stage: Stub, *given: object) -> None:
        raise AssertionError(f"asked {stage.title}")

    for name in ("keys", "peak_bytes", "bytes_in", "bytes_out"):
        monkeypatch.setattr(Stub, name, refuse)
    after = describe_plan(pipeline, url, ClusterSpec())["stages"]
    assert [(row["stage"], row["units"]) for row in after] == [
        (row["stage"], row["units"]) for row in before
    ]
    assert {row["units_to_run"] for row in after} == {0}
    assert all(row["fits"] for row in after)
