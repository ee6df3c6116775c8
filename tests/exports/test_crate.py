"""What was computed from what, as an RO-Crate; planes as CellProfiler reads them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.pipeline.records import list_options
from i2r.readers import ReaderOptions, find_reader
from i2r.readers.images import read_field
from i2r.store.arrays import read_array
from i2r.store.experiment import open_experiment
from tests.environments import require_environment, run_in

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def crate(cropped_original: Path, tmp_path: Path, cli: Cli) -> Path:
    code, said = cli("export", cropped_original, "--format", "ro-crate", "-o", tmp_path / "crate")
    assert code == 0, said
    return tmp_path / "crate"


def read_graph(crate: Path) -> dict[str, dict[str, Any]]:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    by_id = {entity["@id"]: entity for entity in graph}
    assert len(by_id) == len(graph)
    return by_id


def list_references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["@id"]] if set(value) == {"@id"} else []
        return own + [r for each in value.values() for r in list_references(each)]
    return [r for each in value for r in list_references(each)] if isinstance(value, list) else []


def test_a_crate_names_inputs_options_versions_and_outputs(
    crate: Path, cropped_original: Path
) -> None:
    graph = read_graph(crate)
    experiment = open_experiment(str(cropped_original))
    (action,) = (e for e in graph.values() if e["@type"] == "CreateAction")
    inputs = [graph[reference["@id"]] for reference in action["object"]]
    raw = {e["@id"]: e["sha256"] for e in inputs if e["@id"].startswith("file:")}
    assert len(raw) == 16
    for url in experiment.sources["url"]:
        found = hashlib.sha256(Path(url).read_bytes()).hexdigest()
        assert raw[Path(url).as_uri()] == found
    options = {e["name"]: e["value"] for e in inputs if e["@type"] == "PropertyValue"}
    assert (options["seed"], options["crop.size_px"]) == (0, 32)
    assert "segment.window_um" not in options  # its default
    outputs = {reference["@id"] for reference in action["result"]}
    assert {"tables/segment.parquet", "tables/crop.parquet"} <= outputs
    assert action["actionStatus"].endswith("CompletedActionStatus")
    assert action["startTime"] <= action["endTime"]
    software = {e["name"]: e for e in graph.values() if e["@type"] == "SoftwareApplication"}
    assert software["numpy"]["softwareVersion"] == np.__version__
    pd.testing.assert_frame_equal(
        pd.read_parquet(crate / "tables" / "segment.parquet"), experiment.table("segment")
    )


def test_all_files_and_references_are_there(crate: Path) -> None:
    graph = read_graph(crate)
    outside = ("https://w3id.org/ro/crate/", "https://bioschemas.org/", "https://github.com/")
    for entity in graph.values():
        for reference in list_references(list(entity.values())):
            assert reference in graph or reference.startswith(outside), reference
        path = crate / entity["@id"]
        if "File" in entity["@type"] and ":" not in entity["@id"]:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entity["sha256"]
            assert str(path.stat().st_size) == entity["contentSize"]
    parts = {reference["@id"] for reference in graph["./"]["hasPart"]}
    written = {str(p.relative_to(crate)) for p in crate.rglob("*") if p.is_file()}
    assert written - parts == {"ro-crate-metadata.json"}


def test_nothing_that_is_there_is_replaced(crate: Path, cropped_original: Path, cli: Cli) -> None:
    code, said = cli("export", cropped_original, "--format", "ro-crate", "-o", crate, "--yes")
    assert (code, "is there already" in said) == (2, True)


def test_options_are_those_that_are_no_defaults() -> None:
    stages = [{"stage": "quality"}, {"stage": "segment", "name": "s", "channel": "X"}]
    assert list_options({"seed": 3, "stages": stages}) == {"seed": 3, "s.channel": "X"}


def test_planes_for_cellprofiler_come_back_equal(
    cropped_original: Path, tmp_path: Path, cli: Cli
) -> None:
    target = tmp_path / "tiffs"
    given = ["export", cropped_original, "--format", "load-data", "-o", target]
    code, said = cli(*given, "--wells", "A01,A03")
    assert (code, "4 fields as TIFF" in said) == (0, True)
    table = target / "load_data.csv"
    listed = pd.read_csv(table)
    assert listed["Metadata_perturbation"].tolist() == ["control"] * 4
    scan = find_reader("loaddata", str(table))
    images = scan(str(table), ReaderOptions()).images
    assert images["well"].unique().tolist() == ["A01", "A03"]
    plate = cropped_original / "plates" / "P1.ome.zarr"
    for (well, field), rows in images.groupby(["well", "field"]):
        found = read_field(rows.itertuples(), channels=["DNA"]).image
        stored = read_array(f"{plate}/A/{int(str(well)[1:])}/{field}/0")
        np.testing.assert_array_equal(found, stored)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rocrate_reads_it(crate: Path) -> None:
    python = require_environment("crate", ["rocrate>=0.13"])
    code = (
        "import sys; from rocrate.rocrate import ROCrate; c = ROCrate(sys.argv[1]);"
        "(a,) = c.get_by_type('CreateAction');"
        "print(c.mainEntity.id, a['instrument'].id, len(a['object']), len(a['result']),"
        "sum(hasattr(e, 'source') for e in c.data_entities)); c.write(sys.argv[2])"
    )
    copy = crate.parent / "copy"
    workflow, instrument, n_inputs, n_outputs, _ = run_in(python, "-c", code, crate, copy).split()
    assert workflow == instrument == "pipeline.json"
    assert int(n_inputs) > 16
    assert int(n_outputs) >= 5
    # What rocrate writes of it has the same entities and files.
    assert set(read_graph(copy)) >= set(read_graph(crate))
    assert (copy / "tables" / "crop.parquet").exists()
