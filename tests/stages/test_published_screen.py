"""The screen as published: two ResNets for every perturbation and fold, resumable, without leaks."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.models.resnet import ResNet18
from i2r.models.weights import decode_state, encode_state
from i2r.pipeline.run import prepare
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline
from i2r.stages.screen import Screen
from i2r.stages.screen.published import balance_classes
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles, describe_pipeline, digest_experiment
from tests.conftest import run_here

# Images of 32 px, no draws: everything else as published.
QUICK: dict[str, Any] = {
    "method": "published", "input_px": 32, "n_folds": 2, "control_draws": 0, "imagenet": False,
    "max_epochs": 1,
}  # fmt: skip


def pipeline(plate: PlateFiles, **options: Any) -> Pipeline:
    content = describe_pipeline(plate, screen=False)
    content["stages"].append({"stage": "screen", **QUICK, **options})
    return parse_pipeline(content, where="test")


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_the_larger_class_is_sampled_down_evenly_over_its_wells(
    treated: list[int], controls: list[int]
) -> None:
    counts = {f"t{i}": n for i, n in enumerate(treated)} | {
        f"c{i}": n for i, n in enumerate(controls)
    }
    own = {f"t{i}" for i in range(len(treated))}
    taken = balance_classes(counts, own)
    sums = [sum(n for k, n in taken.items() if (k in own) == side) for side in (True, False)]
    before = sorted([sum(treated), sum(controls)])
    assert min(sums) == before[0]
    assert before[0] <= max(sums) <= before[0] + max(len(treated), len(controls))
    assert all(taken[key] <= counts[key] for key in counts)
    for side in (True, False):
        cut = {n for k, n in taken.items() if (k in own) == side and n < counts[k]}
        assert len(cut) <= 1, "who gives less than it has gives as many as the others that do"


def test_the_published_pipeline_screens_with_it() -> None:
    recipe = load_pipeline(str(Path(__file__).parents[2] / "pipelines" / "image2reg.yaml"))
    screen = recipe.stage("screen")
    assert isinstance(screen, Screen)
    assert (screen.method, screen.view, screen.input_px) == ("published", "nucleus+region", 224)
    assert (screen.max_epochs, screen.n_folds, screen.halve_regions) == (300, 4, False)
    assert (screen.split_by, screen.impactful, screen.top) == ("field", "top", 41)
    assert set(screen.needs) == {"segment", "crop", "quality"}
    assert screen.worker_group == "gpu"


def test_what_is_not_there_is_said_before_anything_runs(plate: PlateFiles, tmp_path: Path) -> None:
    said: list[str] = []
    prepare(pipeline(plate), str(tmp_path / "e"), say=said.append)
    assert any("no 'weights', so ResNets start from random ones" in line for line in said)
    with pytest.raises(Exception, match="no such file, expected weights"):
        prepare(pipeline(plate, weights="/nowhere.pt"), str(tmp_path / "e"), say=said.append)
    with pytest.raises(Exception, match="no channel 'ER'"):
        prepare(pipeline(plate, channels=["ER"]), str(tmp_path / "e"), say=said.append)


def test_memory_counts_the_fields_that_regions_are_cut_from(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    stages = [
        Screen(**{**QUICK, "needs": ("segment", "crop"), **more})
        for more in ({"view": "nucleus"}, {"halve_regions": True}, {})
    ]
    bytes_of = [stage.peak_bytes(experiment, "active/0") for stage in stages]
    wells = len(set(stages[0].contrasts(experiment)["active"].keys))
    framed = wells * 2 * (96 + 448) * (128 + 448)
    assert bytes_of[2] - bytes_of[0] == 2 * framed
    assert bytes_of[1] - bytes_of[0] == 2 * framed // 4


@pytest.fixture(scope="module")
def screened_as_published(
    cropped_original: Path, plate: PlateFiles, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Screen from weights of a file, nucleus and region."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "resnet.pt").write_bytes(encode_state(ResNet18(1000).state_dict()))
    url = Path(shutil.copytree(cropped_original, folder / "experiment"))
    summary = run_here(pipeline(plate, weights=str(folder / "resnet.pt")), url)
    assert summary.exit_code == 0, [unit.error for unit in summary.failed]
    return url


def test_every_well_is_tested_once_and_the_tables_are_those_of_any_screen(
    screened_as_published: Path,
) -> None:
    experiment = open_experiment(str(screened_as_published))
    scores, calls, ranking = (experiment.table(f"screen{n}") for n in ("-scores", "-calls", ""))
    assert set(ranking["condition"]) == {"active", "inert"}
    assert ranking["score"].notna().all()
    assert len(scores) == 4
    assert (scores["n_epochs"] == 1).all()
    folds = experiment.table("screen-folds")
    assert not folds.duplicated(["condition", "plate", "well"]).any()
    assert not calls.duplicated(["condition", "plate", "well"]).any()
    assert len(calls) == len(folds)
    for condition, rows in calls.groupby("condition"):
        treated = rows.loc[rows["is_treated"], "n_nuclei"].sum()
        control = rows.loc[~rows["is_treated"], "n_nuclei"].sum()
        assert abs(treated - control) <= 4, "as many control nuclei as treated ones"
        assert ranking.set_index("condition").loc[condition, "n_nuclei"] == treated
    totals = scores["n_train_treated"] + scores["n_test_treated"]
    assert totals.groupby(scores["condition"]).nunique().max() == 1
    assert not list(screened_as_published.rglob("*.checkpoint"))


KILLED = """
import os, signal, sys
import i2r.store.files as files
from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import load_pipeline

write = files.write_bytes

def write_and_die(url, *pieces):
    written = write(url, *pieces)
    if url.endswith(".checkpoint"):
        os.kill(os.getpid(), signal.SIGKILL)
    return written

files.write_bytes = write_and_die
run_pipeline(load_pipeline(sys.argv[1]), sys.argv[2], cluster=ClusterSpec(type="none"), style="none")
"""


@pytest.mark.faults
def test_a_screen_killed_in_a_training_resumes_to_the_same_table(
    cropped_original: Path, plate: PlateFiles, tmp_path: Path
) -> None:
    given = pipeline(plate, max_epochs=2, view="nucleus")
    (tmp_path / "pipeline.yaml").write_text(json.dumps(given.dump()))
    found, epochs = [], []
    for name in ("whole", "killed", "forged"):
        url = Path(shutil.copytree(cropped_original, tmp_path / name))
        if name != "whole":
            code = [sys.executable, "-c", KILLED, str(tmp_path / "pipeline.yaml"), str(url)]
            assert subprocess.run(code, check=False).returncode == -signal.SIGKILL
            (left,) = url.rglob("*.checkpoint")
            state = decode_state(left.read_bytes())
            assert state["epoch"] == 1, "the first of two"
            if name == "forged":
                state["history"] *= 2
                left.write_bytes(encode_state(state))
        assert run_here(given, url).exit_code == 0
        assert not list(url.rglob("*.checkpoint"))
        found.append(digest_experiment(str(url)))
        epochs.append(open_experiment(str(url)).table("screen-scores")["n_epochs"].tolist())
    assert found[0] == found[1]
    assert epochs[1] == [2, 2, 2, 2]
    assert sorted(epochs[2]) == [2, 2, 2, 3], "it went on from what was left, not from the start"


def test_held_out_nuclei_have_no_influence_on_the_weights(
    cropped: Path, plate: PlateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blacken the crops of the wells of a fold: the encoder of that fold is the same."""
    from i2r.lazy import ensembles
    from i2r.models import train_encoder as training

    experiment = open_experiment(str(cropped))
    screen = Screen(**QUICK, view="nucleus", needs=("segment", "crop"))
    contrast = screen.contrasts(experiment)["active"]
    tested = {k for k, f in zip(contrast.keys, contrast.folds, strict=True) if f == 0}
    found = []
    train, read = training.train_encoder, None

    def keep(*args: Any, **options: Any) -> Any:
        trained = train(*args, **options)
        found.append({n: t.clone() for n, t in trained.encoder.state_dict().items()})
        return trained

    monkeypatch.setattr(training, "train_encoder", keep)
    import i2r.stages.starts as stage

    read = stage.read_pool
    for blackened in (set(), tested, set(contrast.keys) - tested):

        def read_changed(plan: Any, blackened: set[str] = blackened) -> Any:
            arrays = read(plan)
            keys = np.array([f"P1/{url.rpartition('/')[2]}" for url in plan.crops])[arrays.wells]
            arrays.crops[np.isin(keys, sorted(blackened))] //= 3
            return arrays

        monkeypatch.setattr(stage, "read_pool", read_changed)
        monkeypatch.setattr(ensembles, "open_dataset", open_anew)
        screen.build(experiment, "active/0").compute(scheduler="sync")
    same = [
        all(bool((found[0][name] == other[name]).all()) for name in found[0]) for other in found[1:]
    ]
    assert same == [True, False]


def open_anew(plan: Any, read: Any, *, device: str) -> Any:
    """Open a dataset without a cache."""
    from i2r.analysis.embedding.datasets import Dataset, make_pool

    arrays = read(plan)
    return Dataset(make_pool(arrays), arrays.wells, arrays.crop_index, arrays.field_names)
