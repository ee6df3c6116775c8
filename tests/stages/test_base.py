"""What every stage has in common: fingerprints, random streams, how it is found."""

import pickle
from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
import pytest

from i2r import extensions
from i2r.errors import InputError
from i2r.pipeline.spec import parse_pipeline
from i2r.stages.base import FINISH, Stage, find_stage, list_verbs, seed_sequence
from i2r.store.experiment import Experiment
from tests.pipeline.stubs import Stub, make_layout


def plan(**columns: object) -> Experiment:
    return Experiment("/nowhere", layout=make_layout().assign(**columns))


def fingerprint(stage: Stub, experiment: Experiment | None = None, **options: object) -> str:
    key = str(options.get("key", "P1/A01"))
    return stage.fingerprint(
        experiment or plan(), key, options.get("upstream", {"source:P1/A01": "f"})
    )  # type: ignore[arg-type]


def test_every_input_changes_the_fingerprint_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub = Stub(log="x")
    prints = {
        "as it is": fingerprint(stub),
        "option": fingerprint(Stub(log="x", value=1)),
        "threads": fingerprint(Stub(log="x", threads=2)),
        "upstream": fingerprint(stub, upstream={"source:P1/A01": "g"}),
        "more upstream": fingerprint(stub, upstream={"source:P1/A01": "f", "source:P1/A02": "f"}),
        "shape": fingerprint(stub, plan(height_px=5)),
        "type": fingerprint(stub, plan(dtype="uint8")),
        "channels": fingerprint(stub, plan(channels=[["DNA"]] * 6)),
        "fields": fingerprint(stub, plan(fields=[["1"]] * 6)),
        "last unit": fingerprint(stub, key=FINISH),
    }
    monkeypatch.setattr(Stub, "version", 2)
    prints["version"] = fingerprint(stub)
    for (one, first), (other, second) in combinations(prints.items(), 2):
        assert first != second, (one, other)


def test_what_changes_no_result_changes_no_fingerprint() -> None:
    expected = fingerprint(Stub(log="x"))
    assert fingerprint(Stub(log="y", wait_s=3, behave={"a": "fail"})) == expected
    assert fingerprint(Stub(log="x", name="other", needs=("source",))) == expected
    assert fingerprint(Stub(log="x"), plan(perturbation="other", gene="TP53")) == expected
    assert fingerprint(Stub(log="x"), upstream={"source:P1/A01": "f"}) == expected


def test_the_order_of_upstream_units_does_not_matter() -> None:
    one, other = {"a:1": "x", "b:2": "y"}, {"b:2": "y", "a:1": "x"}
    assert fingerprint(Stub(log="x"), upstream=one) == fingerprint(Stub(log="x"), upstream=other)


def test_columns_of_the_layout_count_where_a_stage_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stub, "layout_columns", ("gene",))
    stub = Stub(log="x")
    assert fingerprint(stub, plan(gene="a"), key=FINISH) != fingerprint(
        stub, plan(gene="b"), key=FINISH
    )
    assert fingerprint(stub, plan(perturbation="a"), key=FINISH) == fingerprint(stub, key=FINISH)


# ------------------------------------------------------------------------------- random streams


def test_every_unit_has_its_own_stream_and_keeps_it() -> None:
    keys = [
        (seed, name, key) for seed in (0, 1) for name in ("a", "b") for key in ("P/A01", "P/A02")
    ]
    draws = [
        tuple(np.random.default_rng(seed_sequence(*key)).integers(0, 2**62, 3)) for key in keys
    ]
    assert len(set(draws)) == 8
    again = [
        tuple(np.random.default_rng(seed_sequence(*key)).integers(0, 2**62, 3)) for key in keys
    ]
    assert again == draws


def test_the_stream_is_the_one_of_the_design() -> None:
    from hashlib import sha256

    words = np.frombuffer(sha256(b"screen/active/0").digest()[:16], "<u4").tolist()
    assert seed_sequence(5, "screen", "active/0").spawn_key == tuple(words)
    assert seed_sequence(5, "screen", "active/0").entropy == 5


# ------------------------------------------------------------------------------- found by path


def test_stages_are_found_by_their_modules() -> None:
    assert {"convert", "quality", "segment", "crop", "screen"} <= set(list_verbs())
    assert "base" not in list_verbs()
    for verb in list_verbs():
        assert find_stage(verb).__module__.split(".")[:3] == ["i2r", "stages", verb]


def test_an_unknown_stage_is_guessed() -> None:
    with pytest.raises(
        InputError, match=r"stage 'sement': unknown; did you mean 'segment'\? There are: convert"
    ):
        find_stage("sement")
    with pytest.raises(InputError, match="stage 'base': unknown"):
        find_stage("base")


def test_other_packages_add_stages_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "stub", "tests.pipeline.stubs:Stub"

        def load(self) -> type[Stub]:
            return Stub

    monkeypatch.setattr(
        extensions, "entry_points", lambda group: [Point()] if group == "i2r.stages" else []
    )
    assert find_stage("stub") is Stub
    assert "stub" in list_verbs()


@pytest.mark.parametrize("verb", ["convert", "quality", "segment", "crop", "screen"])
def test_memory_bounds_grow_with_the_fields(verb: str) -> None:
    options = {"source": "/x", "layout": "/y", "pixel_size_um": 1.0} if verb == "convert" else {}
    stage = find_stage(verb)(**options)  # type: ignore[arg-type]
    if verb == "screen":
        return  # its units are not wells
    small = stage.peak_bytes(plan(), "P1/A01")
    large = stage.peak_bytes(plan(height_px=2000, width_px=2000), "P1/A01")
    assert 0 < small < large


def test_needs_are_told_apart_by_their_verbs_and_travel_with_the_stage() -> None:
    stages = [
        "convert", "segment", {"stage": "crop", "name": "a"}, {"stage": "crop", "name": "segment-b"},
        {"stage": "screen", "needs": ["segment-b", "a", "segment"]},
    ]  # fmt: skip
    content = [
        {"stage": "convert", "source": "x", "layout": "y", "pattern": "z", "pixel_size_um": 1}
        if s == "convert"
        else s
        for s in stages
    ]
    screen = pickle.loads(pickle.dumps(parse_pipeline({"stages": content}, where="t").stages[-1]))
    assert screen.upstream_title("crop") == "a", "the last of them"
    assert screen.upstream_title("segment") == "segment"
    assert screen.upstream_title("train") == ""
    assert screen.list_lacking("crop", "train") == [
        "stage 'screen': needs segment-b, a, segment, expected a 'train' stage among them. Add its "
        "name to 'needs', or leave 'needs' out."
    ]
    assert find_stage("screen")(needs=("crop",)).upstream_title("crop") == "crop"


def test_names_of_earlier_versions_still_count() -> None:
    """A stage of another package, written before the names changed."""

    class Old(Stage):
        stage: Literal["old"] = "old"
        depth: int = 1
        reads: ClassVar[Mapping[str, bool]] = {"crop": True}
        execution_only: ClassVar[frozenset[str]] = frozenset({"depth"})

        def inputs(self, experiment: Experiment, key: str) -> object:
            return ["own", super().inputs(experiment, key)]  # type: ignore[misc]

        def outside(self, experiment: Experiment) -> object:
            return ["file"]

    experiment, key = plan(), "P1/A01"
    assert Old().chosen_upstream == {"crop": True}
    described = Old().fingerprint_inputs(experiment, key)
    assert described[0] == "own"  # type: ignore[index]
    assert described[1][-1] == ["file"]  # type: ignore[index]
    one, other = (stage.fingerprint(experiment, key, {}) for stage in (Old(), Old(depth=2)))
    assert one == other
