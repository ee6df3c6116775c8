"""The pipelines for published screens take the screens' own tables, with only images put in place."""

import gzip
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.errors import InputError
from i2r.pipeline.spec import Pipeline, load_pipeline, parse_pipeline
from i2r.stages.convert import Convert
from i2r.store.experiment import open_experiment
from i2r.testing import draw_field
from tests.conftest import run_here

PIPELINES = Path(__file__).parents[2] / "pipelines"
DATA = os.environ.get("I2R_DATA")
TAORF = "taorf_wells_6plates_metadata_cellcounts.csv"
# As the table has it: role, gene, allele.
WELLS = {
    "a01": ("Untreated", "EMPTY", ""),
    "a02": ("Untreated", "EMPTY", ""),
    "b03": ("Treated", "ATF4", "WT.1"),
    "b04": ("Treated", "ATF4", "WT.2"),
    "p24": ("CTRL", "LacZ", "CTRL"),
}


def take_pipeline(name: str, folder: Path) -> Pipeline:
    """Copy a pipeline beside its data and read it there, as a user would."""
    shutil.copy(PIPELINES / name, folder / name)
    return load_pipeline(str(folder / name))


def write_taorf_images(
    folder: Path, plate: str, wells: list[str], *, shape: tuple[int, int]
) -> None:
    (folder / "images" / plate).mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    tifffile.imwrite(encoded, draw_field(1, shape=shape)[0])
    for well in wells:
        for wave in ("w159FF0023", "w2AE577AAA"):
            name = f"taoe005-u2os-72h-cp-a-au00044859_{well}_s3_{wave}-3FA4-4ACB-A277-AF596B4E9E25"
            path = folder / "images" / plate / f"{name}_illum_corrected.tif"
            path.write_bytes(encoded.getvalue())


def choose(pipeline: Pipeline, *verbs: str, **changes: object) -> Pipeline:
    """Take some stages of a pipeline, the first with other options."""
    stages = [stage for stage in pipeline.stages if stage.stage in verbs]
    return pipeline._replace(stages=(stages[0].model_copy(update=changes), *stages[1:]))


def test_rohban_plate_maps_are_the_layout(tmp_path: Path) -> None:
    lines = ["Plate,Well,ASSAY_WELL_ROLE,AlleleDesc,GeneSymbol,Cells_Count"]
    for plate in ("41744", "41749"):
        lines += [f"{plate},{w},{role},{allele},{gene},512.0"
                  for w, (role, gene, allele) in WELLS.items()]  # fmt: skip
        write_taorf_images(tmp_path, plate, list(WELLS), shape=(64, 80))
    (tmp_path / TAORF).write_text("\n".join(lines))
    pipeline = choose(take_pipeline("image2reg.yaml", tmp_path), "convert", plates=("41744",))
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    layout = experiment.layout.set_index("well")
    assert layout["role"].to_dict() == {
        "A01": "negative_control", "A02": "negative_control", "B03": "treated",
        "B04": "treated", "P24": "treated",
    }  # fmt: skip
    assert layout.loc[["B03", "B04"], "perturbation"].tolist() == ["ATF4", "ATF4"]
    assert layout["AlleleDesc"].tolist() == ["", "", "WT.1", "WT.2", "CTRL"]
    assert list(experiment.plates) == ["41744"]
    assert experiment.plates["41744"].channels == ["DNA"]
    images = experiment.plates["41744"].images("P24").compute()
    assert images.shape == (1, 1, 64, 80)
    np.testing.assert_array_equal(images[0, 0], draw_field(1, shape=(64, 80))[0])


@pytest.mark.skipif(DATA is None, reason="the published tables are not here (I2R_DATA)")
def test_the_whole_published_layout_needs_only_the_images(tmp_path: Path) -> None:
    shutil.copy(Path(str(DATA)) / "rohban2017_taorf" / TAORF, tmp_path / TAORF)
    table = pd.read_csv(tmp_path / TAORF, dtype=str)
    for plate, rows in table.groupby("Plate"):
        write_taorf_images(tmp_path, str(plate), rows["Well"].tolist(), shape=(4, 5))
    pipeline = take_pipeline("image2reg.yaml", tmp_path)
    convert, quality = pipeline.stages[:2]
    layout = convert.survey().layout
    assert len(layout) == 5 * 384
    assert layout["role"].value_counts().to_dict() == {
        "negative_control": 5 * 35, "treated": 5 * (384 - 35),
    }  # fmt: skip
    assert layout.loc[layout["role"] == "treated", "gene"].nunique() == 193
    keys = set(layout["plate"] + "/" + layout["well"])
    assert set(quality.exclude) <= keys


def test_the_regulation_side_is_one_edit_away_and_has_the_published_settings(
    tmp_path: Path,
) -> None:
    """Take the '#' away, as the file says, and compare with the publication."""
    text = (PIPELINES / "image2reg.yaml").read_text()
    head, _, rest = text.partition("Take the '#' away:\n")
    (tmp_path / "p.yaml").write_text(f"{head}\n" + re.sub(r"^  # ", "  ", rest, flags=re.M))
    pipeline = load_pipeline(str(tmp_path / "p.yaml"))
    verbs = [stage.stage for stage in pipeline.stages]
    assert verbs[-5:] == ["interactome", "genes", "map", "predict", "report"]
    options = {stage.title: stage.model_dump() for stage in pipeline.stages}
    for title, expected in {
        "crop": {"mask": True, "size_px": 64, "exclude_border": False},
        "interactome": {
            "method": "steiner", "min_genes": 8000, "min_cells": 10, "max_cost": 0.594,
            "hub_quantile": 0.999, "edge_cost": "spearman", "beta_step": 0.1, "beta_last": 9.9,
            "noise_runs": 0, "logarithm": False, "targets": (),
        },
        "genes": {
            "method": "autoencoder", "settings": "published", "edge_weight": 1,
            "feature_weight": 0, "class_weight": 1, "labels": "clusters", "label_clusters": 10,
            "seeds": 1, "clusters": 8,
        },
        "map": {"grid": "plain", "published_grid": True, "hubs": "keep", "k_max": 50},
        "embed-without": {"aggregate": "mean", "correction": "none", "class_by": "gene"},
    }.items():  # fmt: skip
        assert {name: options[title][name] for name in expected} == expected, title
    pixel_um2 = options["convert"]["pixel_size_um"] ** 2
    limits = [options["crop"][name] / pixel_um2 for name in
              ("min_area_um2", "max_area_um2", "max_bbox_um2")]  # fmt: skip
    assert limits == pytest.approx([400, 4000, 4000], rel=1e-3)


# ------------------------------------------------------------------------------- JUMP-CP


def write_zipped(path: Path, *lines: str) -> None:
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def write_jump(folder: Path, *, orf: list[str]) -> dict[str, np.ndarray]:
    """Write two plates of JUMP's tables and images; returns the plates' functions."""
    plates = {"BR00117035": "2021_04_26_Batch1", "BR00117036": "2021_05_17_Batch4"}
    recorded = "/home/ubuntu/bucket/projects/jump/images"
    listed = [
        "Metadata_Plate,Metadata_Well,Metadata_Site,FileName_OrigDNA,PathName_OrigDNA,"
        "FileName_OrigER,PathName_OrigER,FileName_IllumDNA,PathName_IllumDNA"
    ]
    wells = ["Metadata_Source,Metadata_Plate,Metadata_Well,Metadata_JCP2022"]
    of_wells = {"A01": "JCP2022_915128", "A02": "JCP2022_915128", "A03": "JCP2022_900002",
                "A04": "JCP2022_915131", "A05": "JCP2022_999999", "A06": "JCP2022_915132"}  # fmt: skip
    functions = {}
    for number, plate in enumerate(plates):
        images, illum = (folder / "data" / sub / plate for sub in ("images", "illum"))
        images.mkdir(parents=True)
        illum.mkdir(parents=True)
        function = 1 + (number + 1) * np.linspace(0, 1, 80 * 96).reshape(80, 96)
        functions[plate] = function
        np.save(illum / f"{plate}_IllumDNA.npy", function)
        for column, (well, compound) in enumerate(of_wells.items()):
            wells.append(f"source_4,{plate},{well},{compound}")
            for site in (1, 2):
                name = f"r01c{column + 1:02d}f{site:02d}p01-ch5sk1fk1fl1.tiff"
                field = draw_field(100 * column + site, shape=(80, 96), radius_px=7)[0]
                tifffile.imwrite(images / name, field)
                listed.append(
                    f"{plate},{well},{site},{name},{recorded}/images/{plate},x.tiff,{recorded},"
                    f"{plate}_IllumDNA.npy,{recorded}/illum/{plate}"
                )
    (folder / "load_data_with_illum.csv").write_text("\n".join(listed))
    write_zipped(folder / "well.csv.gz", *wells, "source_1,UL000109,A01,JCP2022_033924")
    write_zipped(folder / "orf.csv.gz", *orf)
    write_zipped(
        folder / "plate.csv.gz",
        "Metadata_Source,Metadata_Batch,Metadata_Plate,Metadata_PlateType",
        *(f"source_4,{batch},{plate},ORF" for plate, batch in plates.items()),
        "source_1,Batch1_20221004,UL000109,COMPOUND_EMPTY",
    )
    return functions


ORF = [
    "Metadata_JCP2022,Metadata_broad_sample,Metadata_Symbol,Metadata_pert_type",
    "JCP2022_900002,ccsbBroad304_00001,NAT1,trt",
    "JCP2022_915128,ccsbBroad304_99985,BFP,negcon",
    "JCP2022_915131,ccsbBroad304_99994,LacZ,negcon",
    "JCP2022_915132,ccsbBroad304_99997,eGFP,poscon",
]


def test_jump_tables_and_illumination_functions_are_taken(tmp_path: Path) -> None:
    functions = write_jump(tmp_path, orf=ORF)
    pipeline = choose(
        take_pipeline("jump-orf.yaml", tmp_path),
        "convert", "illuminate", "quality", "segment",
        plates=tuple(functions),
    )  # fmt: skip
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    experiment = open_experiment(str(tmp_path / "e"))
    layout = experiment.layout
    assert layout["batch"].unique().tolist() == ["2021_04_26_Batch1", "2021_05_17_Batch4"]
    assert layout["gene"].tolist() == 2 * ["BFP", "BFP", "NAT1", "LacZ", "", "eGFP"]
    assert layout["role"].tolist() == 2 * [
        "negative_control", "negative_control", "treated", "treated", "empty", "positive_control",
    ]  # fmt: skip
    for name, function in functions.items():
        plate = experiment.plates[name]
        raw = plate.images("A03").compute()
        corrected = plate.images("A03", after=["illuminate"]).compute()
        np.testing.assert_allclose(corrected, raw / function, atol=0.51)
    assert len(experiment.table("segment")) > 20


def test_the_real_orf_table_joins(tmp_path: Path) -> None:
    if DATA is None:
        pytest.skip("the published tables are not here (I2R_DATA)")
    whole = gzip.decompress((Path(DATA) / "jump_orf_metadata" / "orf.csv.gz").read_bytes())
    functions = write_jump(tmp_path, orf=whole.decode().splitlines())
    convert = take_pipeline("jump-orf.yaml", tmp_path).stages[0]
    assert isinstance(convert, Convert)
    layout = convert.model_copy(update={"plates": tuple(functions)}).survey().layout
    assert layout["gene"].tolist() == 2 * ["BFP", "BFP", "NAT1", "LacZ", "", "eGFP"]


def test_a_source_without_functions_is_refused(tmp_path: Path) -> None:
    functions = write_jump(tmp_path, orf=ORF)
    table = tmp_path / "load_data_with_illum.csv"
    listed = pd.read_csv(table, dtype=str)
    listed.drop(columns=["FileName_IllumDNA", "PathName_IllumDNA"]).to_csv(table, index=False)
    pipeline = choose(
        take_pipeline("jump-orf.yaml", tmp_path), "convert", "illuminate", plates=tuple(functions)
    )
    with pytest.raises(InputError, match="names 0 illumination functions of BR00117035/DNA"):
        run_here(pipeline, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_real_jump_field_is_divided_by_the_function_of_its_table(tmp_path: Path) -> None:
    if DATA is None:
        pytest.skip("the real field is not here (I2R_DATA)")
    name = "JUMP_BR00117006_r01c01f01p01-ch5sk1fk1fl1.tiff"
    field = Path(DATA) / "cellpainting_fields" / name
    pixels = tifffile.imread(field)
    function = np.linspace(1, 2, pixels.size).reshape(pixels.shape)
    np.save(tmp_path / "BR00117006_IllumDNA.npy", function)
    (tmp_path / "load_data.csv").write_text(
        "Metadata_Plate,Metadata_Well,Metadata_Site,FileName_OrigDNA,PathName_OrigDNA,"
        f"FileName_IllumDNA\nBR00117006,A01,1,{name},{field.parent},BR00117006_IllumDNA.npy\n"
    )
    (tmp_path / "layout.csv").write_text("well,perturbation,role\nA01,BFP,negative_control\n")
    pipeline = parse_pipeline(
        {
            "stages": [
                {
                    "stage": "convert",
                    "source": str(tmp_path / "load_data.csv"),
                    "layout": str(tmp_path / "layout.csv"),
                    "pixel_size_um": 0.598,
                },
                {"stage": "illuminate", "method": "given"},
            ]
        },
        where="test",
    )
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    plate = open_experiment(str(tmp_path / "e")).plates["BR00117006"]
    corrected = plate.images("A01", after=["illuminate"]).compute()
    np.testing.assert_allclose(corrected[0, 0], pixels / function, atol=0.51)
