"""Exported plates: equal pixels in 0.4 and 0.5, whole wells, labels of their own, tables, halves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from ome_zarr_models.v04.hcs import HCS as HCS04
from ome_zarr_models.v04.image import Image as Image04
from ome_zarr_models.v04.image_label import ImageLabel as ImageLabel04
from ome_zarr_models.v05.hcs import HCS
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel

from i2r.errors import InputError
from i2r.exports.omezarr import check_target, write_omezarr
from i2r.exports.well_images import FieldInfo, place_fields
from i2r.store import images
from i2r.store.arrays import read_array
from i2r.store.experiment import open_experiment
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline
from tests.environments import require_environment, run_in

Cli = Callable[..., tuple[int, str]]
READERS = ("ome-zarr>=0.12", "ngio>=1.1", "napari-ome-zarr>=0.9,<0.10", "ome-zarr-models>=1.7")


def read_ome(url: Path, version: str) -> dict[str, Any]:
    if version == "0.4":
        return json.loads((url / ".zattrs").read_text())
    return json.loads((url / "zarr.json").read_text())["attributes"]["ome"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("well_images", ["fields", "fused"])
def test_plates_are_valid_and_their_pixels_equal(
    cropped_original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: Any,
    well_images: Any,
) -> None:
    monkeypatch.setattr(images, "OVERVIEW_PX", 50)
    experiment = open_experiment(str(cropped_original))
    target = tmp_path / "P1.zarr"
    wells = ["A01", "P1/A03"]
    written = write_omezarr(
        experiment, target, ngff_version=version, well_images=well_images, wells=wells
    )
    fused = well_images == "fused"
    assert written[:3] == (1, 2, 2 if fused else 4)
    assert bool(written.notes) == fused  # no positions are known
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(target, mode="r", zarr_format=zarr_format)
    models = (HCS04, Image04, ImageLabel04) if version == "0.4" else (HCS, Image, ImageLabel)
    assert models[0].from_zarr(group).n_wells == 2
    plate = read_ome(target, version)["plate"]
    assert (len(plate["rows"]), len(plate["columns"])) == (2, 3)
    for well in ("A/1", "A/3"):
        source = cropped_original / "plates" / "P1.ome.zarr" / well
        fields = [read_array(f"{source}/{n}/0") for n in (1, 2)]
        labels = [read_array(f"{source}/{n}/labels/segment/0") for n in (1, 2)]
        if fused:
            image = group[f"{well}/0/0"][:]
            np.testing.assert_array_equal(image, np.concatenate(fields, axis=2))
            found = group[f"{well}/0/labels/segment/0"][:]
            second = np.where(labels[1] > 0, labels[1] + labels[0].max(), 0)
            np.testing.assert_array_equal(found, np.concatenate([labels[0], second], axis=1))
            names = ["0"]
        else:
            names = ["1", "2"]
            for name, field, mask in zip(names, fields, labels, strict=True):
                np.testing.assert_array_equal(group[f"{well}/{name}/0"][:], field)
                np.testing.assert_array_equal(group[f"{well}/{name}/labels/segment/0"][:], mask)
        for name in names:
            models[1].from_zarr(group[f"{well}/{name}"])
            models[2].from_zarr(group[f"{well}/{name}/labels/segment"])
            multiscale = read_ome(target / well / name, version)["multiscales"][0]
            assert multiscale.get("version") == ("0.4" if version == "0.4" else None)
            for before, after in zip(
                multiscale["datasets"], multiscale["datasets"][1:], strict=False
            ):
                fine, coarse = (group[f"{well}/{name}/{d['path']}"][:] for d in (before, after))
                halves = fine[:, : fine.shape[1] // 2 * 2, : fine.shape[2] // 2 * 2]
                mean = halves.reshape(1, coarse.shape[1], 2, coarse.shape[2], 2).mean(axis=(2, 4))
                np.testing.assert_array_equal(coarse, np.floor(mean + 0.5))
            assert max(coarse.shape) <= 50
            check_tables(target / well / name, version, len(np.unique(labels)) if fused else 0)


def check_tables(image: Path, version: str, n_labels: int) -> None:
    tables = image / "tables"
    listed = read_attributes(tables, version)["tables"]
    assert {"condition", "segment"} <= set(listed)
    attributes = read_attributes(tables / "segment", version)
    assert attributes["region"] == {"path": "../labels/segment"}
    nuclei = pd.read_parquet(tables / "segment" / "table.parquet")
    suffix = ".zarray" if version == "0.4" else "zarr.json"
    assert (image / "labels" / "segment" / "0" / suffix).exists()
    labels = zarr.open_array(image / "labels" / "segment" / "0", mode="r")[:]
    assert sorted(nuclei["label"]) == sorted(set(np.unique(labels)) - {0})
    sizes = np.bincount(labels.ravel())
    np.testing.assert_array_equal(nuclei["area_um2"], sizes[nuclei["label"]])


def read_attributes(url: Path, version: str) -> dict[str, Any]:
    if version == "0.4":
        return json.loads((url / ".zattrs").read_text())
    return json.loads((url / "zarr.json").read_text())["attributes"]


def test_one_contrast_for_all_wells(cropped_original: Path, tmp_path: Path) -> None:
    write_omezarr(open_experiment(str(cropped_original)), tmp_path / "out")
    plate = tmp_path / "out" / "P1.ome.zarr"
    channels = [read_ome(image, "0.5")["omero"]["channels"] for image in plate.glob("A/*/[12]")]
    assert len(channels) == 16
    assert all(found == channels[0] for found in channels)
    assert channels[0][0]["label"] == "DNA"
    assert channels[0][0]["color"] == "0000FF"
    conditions = pd.read_csv(plate / "tables" / "condition" / "table.csv")
    layout = open_experiment(str(cropped_original)).layout
    assert conditions["perturbation"].tolist() == layout["perturbation"].tolist()
    assert conditions["path"].tolist()[:2] == ["A/1", "A/2"]


def test_fields_lie_where_they_were_taken() -> None:
    infos = {
        (well, field): FieldInfo(at, [])
        for well in ("a", "b")
        for field, at in (("1", (-10.0, -20.0)), ("2", (-10.0, 28.0)), ("3", (38.5, 28.0)))
    }
    slots = place_fields(infos, shape=(100, 100), pixel_size_um=0.5)
    assert slots.offsets["b", "3"] == (97, 96)
    assert slots.shape == (197, 196)
    assert slots.origin_um == (-10.0, -20.0)
    # A stage that went astray, or one field without a position: side by side.
    astray = infos | {("a", "1"): FieldInfo((1e5, 0.0), [])}
    assert place_fields(astray, shape=(100, 100), pixel_size_um=0.5).shape == (200, 200)
    unknown = infos | {("a", "1"): FieldInfo(None, [])}
    slots = place_fields(unknown, shape=(100, 100), pixel_size_um=0.5)
    assert slots.origin_um is None
    assert slots.offsets["b", "3"] == (100, 0)


def test_fused_wells_keep_the_position(
    cropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in (cropped / "plates" / "P1.ome.zarr").glob("A/*/[12]"):
        image = read_array(f"{field}/0")
        labels = read_array(f"{field}/labels/segment/0")
        at = (-30.0, 100.0 if field.name == "1" else 0.0)
        images.write_image(str(field), image, channels=["DNA"], pixel_size_um=1.0, position_um=at)
        images.write_labels(str(field), "segment", labels, pixel_size_um=1.0)
    write_omezarr(
        open_experiment(str(cropped)), tmp_path / "P.zarr", well_images="fused", wells=["A2"]
    )
    image = tmp_path / "P.zarr" / "A" / "2" / "0"
    source = cropped / "plates" / "P1.ome.zarr" / "A" / "2"
    fused = read_array(f"{image}/0")
    assert fused.shape == (1, 96, 228)
    # The later field is seen where both are.
    np.testing.assert_array_equal(fused[..., :128], read_array(f"{source}/2/0"))
    np.testing.assert_array_equal(fused[..., 128:], read_array(f"{source}/1/0")[..., 28:])
    level = read_ome(image, "0.5")["multiscales"][0]["datasets"][0]
    assert level["coordinateTransformations"][1]["translation"] == [0.0, -30.0, 0.0]
    of_labels = read_ome(image / "labels" / "segment", "0.5")["multiscales"][0]["datasets"][0]
    assert of_labels["coordinateTransformations"][1]["translation"] == [-30.0, 0.0]
    rois = pd.read_csv(image / "tables" / "FOV_ROI_table" / "table.csv")
    assert rois["x_micrometer"].tolist() == [100.0, 0.0]


def test_the_command_says_what_it_wrote_and_refuses_the_rest(
    cropped_original: Path, tmp_path: Path, cli: Cli
) -> None:
    target = tmp_path / "out"
    given = ["export", cropped_original, "--format", "ome-zarr", "-o", target]
    code, output = cli(*given, "--wells", "A01,A02", "--ngff", "0.4")
    assert (code, "1 plate, 2 wells, 4 images, OME-Zarr 0.4" in output) == (0, True)
    assert cli(*given, "--wells", "A01")[0] == 2  # nobody to ask
    assert cli(*given, "--wells", "A01", "--yes")[0] == 0
    assert not (target / "P1.ome.zarr" / "A" / "2").exists()
    code, output = cli(*given, "--wells", "H12", "--yes")
    assert (code, "no such converted well" in output) == (2, True)
    assert (target / "P1.ome.zarr").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"found thesis\.txt"):
        check_target(tmp_path / "mine")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_readers_of_others_open_all_kinds(
    tmp_path: Path, own_plate: Callable[..., PlateFiles]
) -> None:
    python = require_environment("readers", READERS)
    plate = own_plate(wells=4, fields=3, channels=("DNA", "ER"), shape=(300, 280))
    url = tmp_path / "experiment"
    pipeline = short_pipeline(plate)
    assert run_here(pipeline, url).exit_code == 0
    experiment = open_experiment(str(url))
    plates = {"converted": url / "plates" / "P1.ome.zarr"}
    for version in ("0.4", "0.5"):
        for well_images in ("fields", "fused"):
            name = f"{version}-{well_images}.zarr"
            plates[name] = tmp_path / name
            write_omezarr(
                experiment,
                plates[name],
                ngff_version=version,  # type: ignore[arg-type]
                well_images=well_images,  # type: ignore[arg-type]
            )
    plates["full"] = write_full_plate(tmp_path / "P384.ome.zarr")
    script = Path(__file__).with_name("open_with_readers.py")
    output = run_in(python, script, *plates.values(), cwd=tmp_path)
    found = json.loads(output.partition("RESULTS ")[2])
    for name, path in plates.items():
        results = found[str(path)]
        assert not {r: v["error"] for r, v in results.items() if "error" in v}, name
        pixels = {v["pixels"] for v in results.values() if "pixels" in v}
        assert len(pixels) == 1
        ngio, napari = results["ngio"], results["napari-ome-zarr"]
        assert ngio["wells"] == (384 if name == "full" else 4)
        assert napari["kinds"] == ["image", "labels"]
        assert napari["plate_overview_bytes"] == results["ome-zarr"]["plate_overview_bytes"]
        if name == "full":
            assert (ngio["rows"], ngio["columns"]) == (16, 24)
            # At full resolution it is 69 MB.
            assert napari["plate_overview_bytes"] == 384 * 150 * 150 * 2
        elif name != "converted":
            assert ngio["conditions"] == ["control", "active", "control", "inert"]
            assert set(ngio["joined"]) == {"control", "active", "inert"}
            table = ngio["tables"]["segment"]
            assert table["labels"] == "segment"
            assert table["rows"] == ngio["label_numbers"]["segment"]
            assert ngio["nuclei"] == len(experiment.table("segment"))
            assert ngio["rois"] == (3 if "fused" in name else 0)
    both = [found[str(plates[f"{v}-fused.zarr"])]["zarr"]["pixels"] for v in ("0.4", "0.5")]
    assert both[0] == both[1]


def write_full_plate(url: Path) -> Path:
    """Write 384 wells of one field of 300 x 300 pixels, with labels."""
    from i2r.types import Well

    wells = [Well(row, column) for row in range(1, 17) for column in range(1, 25)]
    for number, well in enumerate(wells):
        image = np.full((1, 300, 300), number, np.uint16)
        field = f"{url}/{well.path}/1"
        images.write_image(field, image, channels=["DNA"], pixel_size_um=0.5)
        images.write_labels(field, "nuclei", image[0] % 2, pixel_size_um=0.5)
        images.write_well(f"{url}/{well.path}", ["1"])
    images.write_plate(str(url), name="P384", wells=wells, field_count=1)
    return url
