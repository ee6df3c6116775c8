"""A run as a job array: slices that know nothing of each other, and the same results."""

from pathlib import Path

import pytest

from i2r.cli.array import run_as_array
from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.pipeline import spec
from i2r.pipeline.array import finish_array, place_units, prepare_array, run_slice
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.units import UnitGraph
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import run_here, short_pipeline
from tests.pipeline.stubs import (
    Finishing,
    Merged,
    Pairs,
    Passes,
    Source,
    Stub,
    Whole,
    chain,
    count_attempts,
)


@pytest.fixture(autouse=True)
def stubs_are_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices read their pipeline from the record of the run, as any process would."""
    known = {k.model_fields["stage"].default: k for k in (Source, Stub, Finishing, Pairs, Whole)}
    find = spec.find_stage
    monkeypatch.setattr(spec, "find_stage", lambda verb: known.get(verb) or find(verb))


def run_all(pipeline: object, url: Path, n_slices: int, *, order: int = 1) -> dict[str, int]:
    plan = prepare_array(pipeline, str(url), n_slices=n_slices, command="test")  # type: ignore[arg-type]
    assert plan is not None
    for run in plan.runs:
        for number in range(n_slices)[::order]:
            run_slice(str(url), run=run, number=number, style="none")
    return finish_array(str(url))


@pytest.mark.parametrize(("n_slices", "order"), [(1, 1), (3, -1)])
def test_slices_in_any_order_give_what_one_process_gives(
    n_slices: int, order: int, plate: PlateFiles, cropped_original: Path, tmp_path: Path
) -> None:
    url = tmp_path / "e"
    assert run_all(short_pipeline(plate), url, n_slices, order=order) == {"done": 36}
    assert digest_experiment(str(url)) == digest_experiment(str(cropped_original))
    assert not (url / "run.lock").exists()
    # Nothing is left for an ordinary run, which reads the same ledger.
    assert run_here(short_pipeline(plate), url).ran == {}


@pytest.mark.parametrize("stages", [(Stub, Finishing, Pairs, Whole), (Passes, Whole)])
def test_no_slice_waits_for_another_one_of_its_wave(
    stages: tuple[type[Stub], ...], tmp_path: Path
) -> None:
    pipeline = chain(tmp_path / "log", *stages)
    experiment = prepare_experiment(pipeline, tmp_path / "e")
    graph = UnitGraph(pipeline, experiment)
    places = place_units(graph, 3)
    assert set(places) == {f"{u.stage.title}:{u.key}" for u in graph}
    for stage in pipeline.stages:
        for key, unit in graph.units[stage.title].items():
            here = places[f"{stage.title}:{key}"]
            for name in stage.needs:
                units = graph.units[name]
                read = graph.find_read(stage, key, name) if key != "*" else []
                before = list(units.values()) if read is None else [units[k] for k in read]
                before += [graph.units[stage.title][k] for k in stage.follows(experiment, key)]
                before = [graph.units[stage.title][k] for k in graph.units[stage.title] if k != "*"] if key == "*" else before  # fmt: skip
                for other in before:
                    there = places[f"{other.stage.title}:{other.key}"]
                    assert there.wave < here.wave or (
                        there.wave == here.wave and there.slice == here.slice
                    )
            assert unit.state in ("waiting", "ready")
    assert {place.wave for place in place_units(graph, 1).values()} == {1}
    if Stub not in stages:
        return
    # A well's units stay together, so the images are read once the slice has them in memory.
    assert places["source:P1/A02"] == places["stub:P1/A02"] == places["finishing:P1/A02"]


@pytest.mark.parametrize("n_slices", [3, 4])
def test_the_whole_waits_for_the_tables_of_another_whole(n_slices: int, tmp_path: Path) -> None:
    """A report of what 'predict' found, whose table its last unit makes, in another slice."""
    pipeline = chain(tmp_path / "log", Merged, Whole)
    places = place_units(
        UnitGraph(pipeline, prepare_experiment(pipeline, tmp_path / "e")), n_slices
    )
    last, whole = places["merged:*"], places["whole:experiment"]
    assert whole.wave == last.wave + (whole.slice != last.slice)


def prepare_experiment(pipeline: object, url: Path) -> object:
    from i2r.pipeline.run import prepare

    return prepare(pipeline, str(url))  # type: ignore[arg-type]


def test_failures_are_recorded_and_left_for_the_next_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    behave = {"behave": {"P1/A02": "refuse"}}
    pipeline = chain(log, Stub, Finishing, stub=behave)
    totals = run_all(pipeline, tmp_path / "e", 2)
    assert totals == {"done": 6 + 5 + 5 + 1, "failed": 1, "blocked": 1}
    again = run_here(chain(log, Stub, Finishing), tmp_path / "e", confirm=lambda q: True)
    assert again.ran == {"stub": 1, "finishing": 2}


def test_a_performance_report_among_the_records_does_not_matter(tmp_path: Path) -> None:
    url, pipeline = tmp_path / "e", chain(tmp_path / "log", Stub)
    assert run_here(chain(tmp_path / "log"), url).ran == {"source": 6}
    (url / "runs" / "000001.html").write_text("<html>")
    assert run_all(pipeline, url, 2) == {"done": 12}
    assert not (url / "run.lock").exists()


def test_a_task_that_was_lost_is_done_by_the_next_run(tmp_path: Path) -> None:
    pipeline = chain(tmp_path / "log", Stub)
    plan = prepare_array(pipeline, str(tmp_path / "e"), n_slices=2, command="test")
    assert plan is not None
    run_slice(str(tmp_path / "e"), run=plan.runs[0], number=1, style="none")
    assert finish_array(str(tmp_path / "e")) == {"done": 6, "to do": 6}
    assert run_here(pipeline, tmp_path / "e").ran == {"source": 3, "stub": 3}


def test_ctrl_c_ends_all_tasks_that_run_here_and_gives_the_lock_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, log = tmp_path / "e", tmp_path / "log"
    pipeline = chain(log, Stub, stub={"behave": {"P1/A01": "interrupt"}})
    with pytest.raises(SystemExit) as ended:
        run_as_array(pipeline, str(url), ClusterSpec(type="none"), 2, yes=True)
    assert ended.value.code == 130
    assert "stopped: interrupted" in capsys.readouterr().err
    assert count_attempts(log)["source P1/A02"] == 0, "that is the second task's"
    assert not (url / "run.lock").exists()
    assert run_here(chain(log, Stub), url).exit_code == 0


def test_a_task_that_is_started_again_has_a_segment_of_its_own(tmp_path: Path) -> None:
    url, log = str(tmp_path / "e"), tmp_path / "log"
    behave = {"behave": {"P1/A01": "interrupt"}}
    pipeline = chain(log, Stub, stub=behave)
    plan = prepare_array(pipeline, url, n_slices=2, command="test")
    assert plan is not None
    (run,) = plan.runs
    assert run_slice(url, run=run, number=0, style="none").stopped
    # As if the unit behaved: whoever starts the task again has the same command.
    with pytest.raises(AssertionError):
        assert run_slice(url, run=run, number=0, style="none").stopped == ""
    names = sorted(p.name for p in (tmp_path / "e" / "ledger").glob("*.jsonl"))
    assert names == [f"{run:06d}.000000.jsonl", f"{run:06d}.000002.jsonl"]
    assert count_attempts(log)["source P1/A01"] == 1


def test_the_array_holds_the_experiment_until_it_is_finished(tmp_path: Path) -> None:
    url = str(tmp_path / "e")
    pipeline = chain(tmp_path / "log", Stub)
    plan = prepare_array(pipeline, url, n_slices=2, command="i2r run x --array 2")
    assert plan is not None
    with pytest.raises(InputError, match="a job array of 2 slices") as error:
        run_pipeline(pipeline, url, style="none")
    assert "(i2r run x --array 2)" in str(error.value)
    assert "i2r array finish" in str(error.value)
    finish_array(url)
    with pytest.raises(InputError, match="run 1 is over"):
        run_slice(url, run=1, number=0)
    with pytest.raises(InputError, match="no job array works here"):
        finish_array(url)
    assert run_here(pipeline, url).exit_code == 0
    with pytest.raises(InputError, match="not a job array"):
        run_slice(url, run=open_experiment(url).ledger.last_run, number=0)
    assert prepare_array(pipeline, url, n_slices=2, command="test") is None
