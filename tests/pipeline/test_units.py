"""What is ready, what waits, what is blocked, and what has to be done again."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.pipeline.status import count_states
from i2r.pipeline.units import State, Unit, UnitGraph
from i2r.stages.base import FINISH, WHOLE
from i2r.store.experiment import Experiment
from tests.conftest import run_here
from tests.pipeline.stubs import (
    WELLS,
    Finishing,
    Merged,
    Nothing,
    Pairs,
    Passes,
    Source,
    Stub,
    Whole,
    chain,
    count_attempts,
    make_layout,
    make_pipeline,
)  # fmt: skip

KEYS = [f"P1/{well}" for well in WELLS]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def plan(tmp_path: Path) -> Experiment:
    return Experiment(str(tmp_path / "absent"), layout=make_layout())


def names(units: list[Unit]) -> set[str]:
    return {unit.name for unit in units}


# ------------------------------------------------------------------------------- readiness


def test_a_well_goes_on_as_soon_as_it_is_done_itself(tmp_path: Path, log: Path) -> None:
    graph = UnitGraph(chain(log, Stub), plan(tmp_path))
    first = graph.take_ready()
    assert names(first) == {f"source {key}" for key in KEYS}
    assert graph.take_ready() == []
    for unit in first:
        graph.settle(unit, "done")
        assert names(graph.take_ready()) == {f"stub {unit.key}"}


def test_a_last_unit_waits_for_all_others_however_they_end(tmp_path: Path, log: Path) -> None:
    graph = UnitGraph(chain(log, Finishing), plan(tmp_path))
    for unit in graph.take_ready():
        graph.settle(unit, "done")
    ends: list[State] = ["failed", "done", "failed", "done", "done", "done"]
    for unit, end in zip(graph.take_ready(), ends, strict=True):
        assert graph.take_ready() == []
        graph.settle(unit, end)
    assert names(graph.take_ready()) == {"finishing *"}


def test_whole_experiment_stages_wait_for_every_unit_and_the_last_one(
    tmp_path: Path, log: Path
) -> None:
    graph = UnitGraph(chain(log, Finishing, Whole), plan(tmp_path))
    seen: list[str] = []
    while taken := graph.take_ready():
        for unit in taken:
            seen.append(unit.name)
            graph.settle(unit, "done")
    assert seen[-2:] == ["finishing *", f"whole {WHOLE}"]
    assert len(seen) == 6 + 7 + 1


def test_of_two_stages_of_one_unit_the_later_waits_for_the_last_unit_of_the_earlier(
    tmp_path: Path, log: Path
) -> None:
    graph = UnitGraph(chain(log, Merged, Whole), plan(tmp_path))
    for unit in graph.take_ready():
        graph.settle(unit, "done")
    (only,) = graph.take_ready()
    assert only.name == f"merged {WHOLE}"
    graph.settle(only, "done")
    assert names(graph.take_ready()) == {"merged *"}


def test_what_has_nothing_to_read_is_blocked_and_so_is_what_follows(
    tmp_path: Path, log: Path
) -> None:
    graph = UnitGraph(chain(log, Finishing, Whole), plan(tmp_path))
    for unit in graph.take_ready():
        graph.settle(unit, "failed")
    blocked = []
    while taken := graph.take_ready():
        blocked += taken
    assert {u.name for u in blocked} == {
        *(f"finishing {k}" for k in KEYS),
        "finishing *",
        f"whole {WHOLE}",
    }
    assert all(u.state == "blocked" and u.error for u in blocked)
    assert "source P1/A01 is not done" in {u.error for u in blocked}


def test_aggregates_go_on_with_what_is_done(tmp_path: Path, log: Path) -> None:
    graph = UnitGraph(chain(log, Pairs), plan(tmp_path))
    for unit in graph.take_ready():
        graph.settle(unit, "failed" if unit.key in ("P1/A01", "P1/A03", "P1/A04") else "done")
    states = {u.key: u.state for u in graph.take_ready()}
    assert states == {"A01+A02": "ready", "A03+A04": "blocked", "A05+A06": "ready"}


def test_an_aggregate_that_lacked_a_unit_has_another_fingerprint_than_with_it(
    tmp_path: Path, log: Path
) -> None:
    prints = []
    for end in ("failed", "done"):
        graph = UnitGraph(chain(log, Pairs, Whole), plan(tmp_path))
        for unit in graph.take_ready():
            graph.settle(unit, end if unit.key == "P1/A01" else "done")  # type: ignore[arg-type]
        prints.append({u.key: u.fingerprint for u in graph.take_ready()})
    lacking, whole = prints
    assert lacking["A01+A02"] != whole["A01+A02"]
    assert lacking["A03+A04"] == whole["A03+A04"]


def test_a_stage_without_units_blocks_what_reads_it(tmp_path: Path, log: Path) -> None:
    graph = UnitGraph(chain(log, Nothing, Whole), plan(tmp_path))
    (unit,) = [unit for unit in graph.take_ready() if unit.stage.title == "whole"]
    assert (unit.name, unit.state, unit.error) == (
        f"whole {WHOLE}",
        "blocked",
        "no unit of nothing is done",
    )


def test_an_aggregate_waits_for_what_it_reads_and_for_nothing_else(
    tmp_path: Path, log: Path
) -> None:
    graph = UnitGraph(chain(log, Pairs), plan(tmp_path))
    first = {unit.key: unit for unit in graph.take_ready()}
    assert list(first) == KEYS, "in the layout's order"
    graph.settle(first["P1/A03"], "done")
    assert graph.take_ready() == []
    graph.settle(first["P1/A04"], "done")
    assert names(graph.take_ready()) == {"pairs A03+A04"}


def test_units_follow_others_of_their_stage(tmp_path: Path, log: Path) -> None:
    """Three passes: per well, all together, per well again."""
    graph = UnitGraph(chain(log, Passes, Whole), plan(tmp_path))
    for unit in graph.take_ready():
        graph.settle(unit, "done")
    first = graph.take_ready()
    assert names(first) == {f"passes first/{well}" for well in WELLS}
    for unit in first:
        assert graph.take_ready() == []
        # What is left goes on without what failed, and has another fingerprint.
        graph.settle(unit, "failed" if unit.key == "first/A03" else "done")
    (between,) = graph.take_ready()
    assert between.key == "between"
    graph.settle(between, "done")
    second = graph.take_ready()
    assert names(second) == {f"passes second/{well}" for well in WELLS}
    units, whole = graph.list_upstream(second[0])
    assert (units, whole) == ([("source", "P1/A01"), ("passes", "between")], [])
    for unit in second:
        graph.settle(unit, "done")
    assert names(graph.take_ready()) == {f"whole {WHOLE}"}


def test_a_retry_runs_the_passes_after_one_that_failed(tmp_path: Path, log: Path) -> None:
    failing = chain(log, Passes, passes={"behave": {"first/A03": "refuse"}})
    assert run_here(failing, tmp_path / "e").ran == {"source": 6, "passes": 12}
    summary = run_here(chain(log, Passes), tmp_path / "e", retry=True, confirm=lambda q: True)
    assert summary.ran == {"passes": 8}, "the one, that between, and all after"
    assert run_here(chain(log, Passes), tmp_path / "e").ran == {}


def test_what_follows_nothing_that_is_done_is_blocked(tmp_path: Path, log: Path) -> None:
    graph = UnitGraph(chain(log, Passes), plan(tmp_path))
    for end in ("done", "failed"):
        for unit in graph.take_ready():
            graph.settle(unit, end)  # type: ignore[arg-type]
    blocked = graph.take_ready()
    assert {u.state for u in blocked} == {"blocked"}
    assert {u.error for u in blocked} == {"passes first/A01 is not done", "passes between is not done"}  # fmt: skip


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_unit_ends_whatever_fails_and_in_whatever_order(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    graph = UnitGraph(chain(folder / "log", Stub, Finishing, Pairs, Whole), plan(folder))
    flying: list[Unit] = []
    started = Counter[str]()
    while True:
        flying += [u for u in graph.take_ready() if u.state == "ready"]
        if not flying:
            break
        unit = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        started[unit.name] += 1
        for name in unit.stage.needs:
            read = graph.find_read(unit.stage, unit.key, name)
            units = graph.units[name]
            waited_for = [*units.values()] if read is None else [units[key] for key in read]
            assert all(u.state in ("done", "failed", "blocked") for u in waited_for)
        graph.settle(unit, data.draw(st.sampled_from(["done", "failed"])))
    assert {u.state for u in graph} <= {"done", "failed", "blocked"}
    assert set(started.values()) == {1}
    for unit in graph:
        if unit.state == "blocked" and unit.key != FINISH:
            read = [(n, graph.find_read(unit.stage, unit.key, n)) for n in unit.stage.needs]
            lacks = [all(graph.units[n][k].state != "done" for k in graph.units[n] if keys is None or k in keys)
                     for n, keys in read]  # fmt: skip
            assert any(lacks)


# ------------------------------------------------------------------------------- what is current


def test_a_second_look_finds_everything_done(tmp_path: Path, log: Path) -> None:
    pipeline = chain(log, Finishing, Pairs, Whole)
    run_here(pipeline, tmp_path / "e")
    experiment = Experiment(str(tmp_path / "e"))
    graph = UnitGraph(pipeline, experiment)
    assert graph.take_ready() == []
    assert {u.state for u in graph} == {"done"}
    assert {k: dict(v) for k, v in count_states(pipeline, experiment).items()} == {
        "source": {"done": 6}, "finishing": {"done": 7}, "pairs": {"done": 3}, "whole": {"done": 1},
    }  # fmt: skip


def test_a_changed_option_touches_its_stage_and_what_follows(tmp_path: Path, log: Path) -> None:
    run_here(chain(log, Stub, Finishing, Whole), tmp_path / "e")
    changed = chain(log, Stub, Finishing, Whole, finishing={"value": 1})
    counts = count_states(changed, Experiment(str(tmp_path / "e")))
    assert {k: dict(v) for k, v in counts.items()} == {
        "source": {"done": 6}, "stub": {"done": 6}, "finishing": {"out of date": 7},
        "whole": {"out of date": 1},
    }  # fmt: skip


def test_options_that_only_say_how_to_run_touch_nothing(tmp_path: Path, log: Path) -> None:
    run_here(chain(log, Finishing), tmp_path / "e")
    other = chain(log, Finishing, finishing={"wait_s": 0.001, "name": "finishing"})
    assert run_here(other, tmp_path / "e").ran == {}


def test_a_stage_may_appear_twice_under_two_names(tmp_path: Path, log: Path) -> None:
    source = Source(log=str(log))
    stages = [
        source,
        Stub(log=str(log), needs=("source",)),
        Stub(log=str(log), name="other", needs=("source",)),
    ]
    summary = run_here(make_pipeline(*stages), tmp_path / "e")
    assert summary.ran == {"source": 6, "stub": 6, "other": 6}
    assert count_attempts(log)["other P1/A01"] == 1


def test_a_key_listed_twice_is_a_bug_that_is_noticed(tmp_path: Path, log: Path) -> None:
    class Twice(Stub):
        stage: str = "twice"

        def keys(self, experiment: Experiment) -> list[str]:
            return ["a", "a"]

    with pytest.raises(AssertionError, match="twice"):
        UnitGraph(chain(log, Twice), plan(tmp_path))
