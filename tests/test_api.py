"""The public interface: one line each, nothing heavy imported, nothing computed on opening."""

import os
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray

import i2r
from i2r.errors import InputError
from i2r.pipeline.call import run
from i2r.pipeline.spec import load_pipeline
from i2r.pipeline.summary import Summary
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.networks import write_network
from i2r.testing import PlateFiles
from tests.conftest import short_pipeline


def imported_by(code: str) -> set[str]:
    """Run some Python and list the modules that it brought in."""
    code += "\nimport sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_brings_in_nothing_heavy(cropped_original: Path) -> None:
    heavy = {"torch", "matplotlib", "distributed", "zarr", "numba", "skimage"}
    assert not imported_by("import i2r") & {*heavy, "numpy", "pandas", "dask"}
    code = f"import i2r; print(repr(i2r.open_experiment({str(cropped_original)!r})))"
    assert not imported_by(code) & heavy


def test_configuring_stages_brings_in_nothing_that_only_units_need() -> None:
    code = (
        "from i2r.stages.base import find_stage, list_verbs\nfor v in list_verbs(): find_stage(v)"
    )
    found = imported_by(code)
    assert "xarray" in found, "stages were imported"
    assert not {"torch", "matplotlib", "distributed", "skimage", "sklearn", "h5py"} & found


def test_opening_computes_and_reads_no_pixel(
    cropped_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        experiment = i2r.open_experiment(str(cropped_original))
        assert repr(experiment)
        assert isinstance(experiment.layout, pd.DataFrame)
        plate = experiment.plates["P1"]
        lazy = [plate.images("A03"), plate.labels("A03"), plate.crops("A03")]
        dataset = experiment.crops()
        assert all(isinstance(array, da.Array) for array in [*lazy, dataset["image"].data])
        with pytest.raises(AssertionError, match="computed"):
            lazy[0].compute()


def test_crops_are_the_tables_nuclei(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    crops = experiment.crops("crop")
    assert isinstance(crops, xarray.Dataset)
    table = experiment.table("crop")
    assert crops.sizes["nucleus"] == (table["crop"] >= 0).sum()
    of_well = crops.isel(nucleus=crops["well"].to_numpy() == "A03")
    np.testing.assert_array_equal(
        of_well["image"].to_numpy(), np.asarray(experiment.plates["P1"].crops("A03"))
    )
    assert crops["c"].to_numpy().tolist() == ["DNA"]
    assert set(np.unique(crops["perturbation"])) == {"control", "active", "inert"}
    with pytest.raises(InputError, match="no crops 'cropp'"):
        experiment.crops("cropp")
    with pytest.raises(InputError, match="no crops 'cropp'"):
        experiment.plates["P1"].crops("A03", name="cropp")


def test_wells_are_named_as_people_do_and_unknown_ones_refused(cropped_original: Path) -> None:
    plate = open_experiment(str(cropped_original)).plates["P1"]
    np.testing.assert_array_equal(plate.images("a3"), plate.images("r01c03"))
    for well, message in (("H12", "no well 'H12' in the layout"), ("well 3", "is no well name")):
        for opened in (plate.images, plate.labels, plate.crops):
            with pytest.raises(InputError, match=message):
                opened(well)


def test_networks_are_listed_and_opened(cropped: Path) -> None:
    experiment = open_experiment(str(cropped))
    assert experiment.networks() == []
    graph = nx.Graph()
    graph.add_node("A", prize=1.0, terminal=True)
    graph.add_node("B", prize=0.0, terminal=False)
    graph.add_edge("A", "B", cost=0.5)
    write_network(experiment.network_url("interactome"), graph)
    assert experiment.networks() == ["interactome"]
    assert set(experiment.network("interactome")) == {"A", "B"}
    assert "networks   interactome" in repr(experiment)


def test_repr_says_what_is_there(cropped_original: Path, tmp_path: Path) -> None:
    experiment = open_experiment(str(cropped_original))
    assert repr(experiment).splitlines() == [
        f"Experiment {cropped_original}",
        "  plates     P1",
        "  wells      8, 16 fields, 4 negative_control, 4 treated",
        "  channels   DNA",
        "  tables     convert, crop, quality, segment, segment-fields",
        "  crops      crop",
    ]
    assert repr(experiment.plates["P1"]) == (
        "Plate P1: 8 wells, 16 fields of (1, 96, 128) uint16, 1 um per pixel, channels DNA"
    )
    assert repr(Experiment(str(tmp_path))).splitlines()[1] == "  layout     none yet"


def test_images_and_labels_have_named_axes_in_microns(cropped_original: Path) -> None:
    plate = open_experiment(str(cropped_original)).plates["P1"]
    images = plate.open_images("a3", fields=[2])
    assert images.sizes == {"field": 1, "c": 1, "y": 96, "x": 128}
    assert images["field"].to_numpy().tolist() == ["2"]
    assert images["c"].to_numpy().tolist() == ["DNA"]
    assert isinstance(images.data, da.Array)
    np.testing.assert_allclose(images["x"], np.arange(128) + 0.5)
    assert images["y"].attrs == {"units": "um"}
    np.testing.assert_array_equal(images, plate.images("A03", fields=["2"]))
    labels = plate.open_labels("A03")
    assert labels.dims == ("field", "y", "x")
    np.testing.assert_array_equal(labels, plate.labels("A03"))


def test_a_plan_and_a_status_are_there_from_python(plate: PlateFiles, cropped: Path) -> None:
    pipeline = short_pipeline(plate)
    found = i2r.plan(pipeline.dump(), cropped)
    assert [stage["units_to_run"] for stage in found["stages"]] == [0, 0, 0, 0]
    changed = i2r.plan(short_pipeline(plate, crop={"mask": False}), open_experiment(str(cropped)))
    assert [stage["units_to_run"] for stage in changed["stages"]] == [0, 0, 0, 9]
    table = i2r.status(cropped)
    assert table.index.tolist() == ["convert", "quality", "segment", "crop"]
    assert table["done"].tolist() == [9, 9, 9, 9]
    assert not table.drop(columns="done").to_numpy().any()
    with pytest.raises(InputError, match="no experiment here"):
        i2r.status("nowhere")


def test_one_image_is_segmented_without_a_plate(cropped_original: Path) -> None:
    plate = open_experiment(str(cropped_original)).plates["P1"]
    image = plate.images("A03")[0, 0].compute()
    labels = i2r.segment(image, pixel_size_um=plate.pixel_size_um)
    assert labels.shape == image.shape
    assert labels.max() == plate.labels("A03")[0].max().compute() > 0
    with pytest.raises(InputError, match=r"expected \(y, x\)"):
        i2r.segment(image[None])


SCRIPT = """import i2r

experiment = i2r.open_experiment("e")
print(experiment.layout["plate"], i2r.status(experiment)["done"])
i2r.run({"stages": []}, experiment, replace=True)
experiment.plates["P1"].open_images("A01").sel(c="DNA")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("layout", "layuot"),
        ("status", "statsu"),
        ("replace", "replce"),
        ("open_images", "open_image"),
    ],
)
def test_a_typo_in_a_users_script_fails_type_checking(
    tmp_path: Path, right: str, wrong: str
) -> None:
    pytest.importorskip("mypy")
    cache = Path(__file__).parents[1] / ".mypy_cache" / "scripts"
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports",
               "--follow-imports=silent", f"--cache-dir={cache}"]  # fmt: skip
    said = {}
    for name, script in (("right", SCRIPT), ("wrong", SCRIPT.replace(right, wrong))):
        path = tmp_path / f"{name}.py"
        path.write_text(script)
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        said[name] = done.stdout
    assert said["right"].startswith("Success")
    assert wrong in said["wrong"]
    assert "Found 1 error" in said["wrong"]


def test_the_public_names_are_there_for_type_checkers_and_at_run_time() -> None:
    for name in i2r.__all__:
        assert getattr(i2r, name) is not None
    assert dir(i2r) == sorted(i2r.__all__)
    with pytest.raises(AttributeError, match="'statsu'"):
        i2r.statsu  # noqa: B018


def test_run_takes_paths_pipelines_and_experiments(
    plate: PlateFiles, cropped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = short_pipeline(plate)
    summary = run(pipeline, tmp_path / "e", cluster="none", progress="none")
    assert isinstance(summary, Summary)
    assert repr(summary).startswith("ran convert 9, quality 9, segment 9, crop 9 in ")
    again = run(pipeline, open_experiment(str(tmp_path / "e")), cluster="none", progress="none")
    assert repr(again).startswith("ran nothing in ")
    changed = short_pipeline(plate, crop={"mask": False})
    capsys.readouterr()
    with pytest.raises(InputError, match=r"8 results were made .* .replace=True"):
        run(changed, cropped, cluster="none", progress="none")
    summary = run(changed.dump(), cropped, cluster="none", progress="none", replace=True)
    assert summary.ran == {"crop": 9}
    assert "8 results were made with other options" in capsys.readouterr().out
    with pytest.raises(InputError, match="nothing was changed"):
        run(pipeline, cropped, cluster="none", progress="none", confirm=lambda question: False)
    path = os.path.relpath(plate.pipeline)
    assert load_pipeline(path).stages


@pytest.mark.slow
def test_run_uses_the_client_it_is_given(plate: PlateFiles, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(resources={"CPU": 1}, **options) as cluster, Client(cluster) as client:
        summary = run(short_pipeline(plate), tmp_path / "e", client=client, progress="none")
        assert summary.exit_code == 0
        workers = {entry.worker for entry in open_experiment(str(tmp_path / "e")).ledger.entries()}
        assert workers <= {
            str(worker["name"]) for worker in cluster.scheduler_info["workers"].values()
        }
        assert client.status == "running", "the client is the user's and stays open"
        with pytest.raises(InputError, match="a client and a cluster"):
            run(short_pipeline(plate), tmp_path / "e", client=client, cluster="none")
