"""From a folder of new images to genes: planted truth, plates that differ, masks, messages."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.weights import encode_encoder
from i2r.pipeline.run import load_last_pipeline
from i2r.pipeline.spec import parse_pipeline, parse_stage, with_stage
from i2r.pipeline.summary import Summary
from i2r.stages.predict import Predict
from i2r.stages.predict import images as predict_stage
from i2r.stages.predict.query_images import open_chain
from i2r.stages.predict.references import list_controls, relate_profiles
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.tables import read_table
from i2r.testing import draw_field, name_wells
from tests.conftest import Cli, run_here

CANDIDATES, PERTURBED, CONTROL_WELLS = 36, 18, 8
NAMES = [f"G{i:02d}" for i in range(CANDIDATES)]
SHAPE = (120, 160)


def draw(gene: str | None, seed: int, *, brightness: float = 1.0) -> np.ndarray:
    """Draw a field: genes lie on a circle of brighter and larger nuclei, controls within it."""
    angle = 2 * np.pi * NAMES.index(gene) / CANDIDATES if gene else 0.0
    gain = 1.5 ** np.cos(angle) if gene else 1.0
    radius = 8 * (1.15 ** np.sin(angle) if gene else 1.0)
    return draw_field(
        np.random.SeedSequence(seed), shape=SHAPE, gain=gain * brightness, radius_px=radius
    )[0]


def write_pictures(folder: Path, gene: str | None, *, brightness: float = 1.0) -> None:
    """Write three new fields."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        seed = 9000 + 10 * (NAMES.index(gene) if gene else 99) + number
        plane = draw(gene, seed, brightness=brightness)
        tifffile.imwrite(folder / f"field{number}.tif", plane)


def write_experiment(
    folder: Path,
    *last: dict[str, Any],
    profiles: str,
    perturbed: int = PERTURBED,
    first: dict[str, Any] | None = None,
) -> Path:
    """Run a plate of genes on the circle from images to the map."""
    (folder / "images").mkdir(parents=True)
    genes = NAMES[:: CANDIDATES // perturbed]
    wells = [None] * CONTROL_WELLS + [gene for gene in genes for _ in range(2)]
    layout = []
    for number, (well, gene) in enumerate(zip(name_wells(len(wells)), wells, strict=True)):
        tifffile.imwrite(folder / "images" / f"{well}.tif", draw(gene, number))
        role = "treated" if gene else "negative_control"
        layout.append({"well": well, "perturbation": gene or "EMPTY", "gene": gene, "role": role})
    pd.DataFrame(layout).to_csv(folder / "layout.csv", index=False)
    # Neighbours on the circle are alike, all others are not.
    angles = 2 * np.pi * np.arange(CANDIDATES) / CANDIDATES
    bumps = np.exp(3 * (np.cos(angles[:, None] - angles[None, ::3]) - 1))
    regulatory = pd.DataFrame(bumps, columns=[f"z{i}" for i in range(bumps.shape[1])])
    regulatory.insert(0, "gene", NAMES)
    regulatory.to_csv(folder / "genes.csv", index=False)
    stages = [
        {
            "stage": "convert", "source": str(folder / "images"), "pixel_size_um": 1.0,
            "layout": str(folder / "layout.csv"), "channels": {"channel": "DNA"},
            "pattern": r"(?P<well>[A-H]\d\d)\.tif$", "plate": "P1",
        },
        *([first] if first else []),
        {"stage": "segment"},
        {"stage": "crop", "size_px": 32, "min_area_um2": 60.0},
        *last,
        {"stage": "genes", "method": "import", "embeddings": str(folder / "genes.csv")},
        {"stage": "map", "profiles": profiles, "permutations": 39, "grid": "plain"},
    ]  # fmt: skip
    assert run_here(parse_pipeline({"stages": stages}, where="test"), folder / "e").exit_code == 0
    return folder / "e"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment whose map learned from chromatin features; nobody may change it."""
    folder = tmp_path_factory.mktemp("measured")
    return write_experiment(folder, {"stage": "features"}, profiles="features")


@pytest.fixture
def experiment(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "e"))


def predict(url: Path, **options: Any) -> tuple[Summary, Experiment]:
    pipeline = load_last_pipeline(open_experiment(str(url)))
    stage = parse_stage({"stage": "predict", **options}, where="test")
    summary = run_here(with_stage(pipeline, stage, where="test"), url)
    return summary, open_experiment(str(url))


def test_a_folder_of_queries_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        (tmp_path / "new" / f"q{number}").mkdir(parents=True)
        tifffile.imwrite(tmp_path / "new" / f"q{number}" / "1.tif", np.zeros((4, 4), np.uint16))
    looked: list[str] = []
    look = predict_stage.group_pictures
    monkeypatch.setattr(
        predict_stage, "group_pictures", lambda source: looked.append(source) or look(source)
    )
    stage, url = Predict(images=str(tmp_path / "new")), str(tmp_path / "e")
    for opened in (1, 2):
        experiment = Experiment(url, layout=pd.DataFrame(), sources=pd.DataFrame())
        keys = stage.keys(experiment)
        assert len(keys) == 12
        assert len({str(stage.fingerprint_inputs(experiment, key)) for key in keys}) == 12
        assert len(looked) == opened, "once, whatever the number of queries"


def test_one_command_ranks_genes_for_new_images(experiment: Path, tmp_path: Path, cli: Cli) -> None:
    """Its plate is brighter, which its controls tell apart from the genes' effects."""
    new = tmp_path / "new"
    unseen, seen = "G05", "G12"
    write_pictures(new / "unknown", unseen, brightness=1.4)
    write_pictures(new / seen.lower(), seen, brightness=1.4)
    write_pictures(tmp_path / "untreated", None, brightness=1.4)
    code, said = cli(
        "predict", experiment, "--images", new, "--controls", tmp_path / "untreated",
        "--permutations", 99, "--level", 0.8, "--cluster", "none",
    )  # fmt: skip
    assert code == 0, said
    found = open_experiment(str(experiment))
    queries = found.table("predict-queries").set_index("query")
    assert "predict: unknown: nearest " + queries.loc["unknown", "best"] in said
    assert queries.loc["unknown", "gene"] == ""
    assert not queries.loc["unknown", "left_out"]
    assert queries.loc[seen.lower(), "gene"] == seen
    assert queries.loc[seen.lower(), "left_out"]
    assert queries.loc[seen.lower(), "rank_true"] <= 4
    assert queries.loc["unknown", "answer"] == "ranked", queries["reason"].tolist()
    assert (queries["compared_with"] == "control images").all()
    assert (queries["n_nuclei"] > 30).all()
    ranked = found.table("predict")
    places = ranked[ranked["query"] == "unknown"].set_index("candidate")
    assert places.loc[unseen, "place"] <= 4
    assert places.loc[unseen, "confidence"] > 0
    # Another level answers anew and measures nothing anew.
    summary, _ = predict(experiment, images=str(new), controls=str(tmp_path / "untreated"))
    assert summary.ran == {"predict": 1}


def test_without_controls_the_output_says_what_that_means(
    experiment: Path, tmp_path: Path, cli: Cli
) -> None:
    write_pictures(tmp_path / "new", "G05")
    code, said = cli("predict", experiment, "--images", tmp_path / "new", "--cluster", "none")
    assert code == 0, said
    assert "no control images" in said
    found = open_experiment(str(experiment))
    row = found.table("predict-queries").iloc[0]
    assert (row["query"], row["compared_with"]) == ("new", "the experiment's controls")
    # Fields as the experiment's own: the comparison is fair here.
    ranked = found.table("predict").set_index("candidate")
    assert ranked.loc["G05", "place"] <= 4


def test_masks_and_bad_pictures(experiment: Path, tmp_path: Path) -> None:
    """Masks that are the segmentation's own change nothing; a bad picture leaves the others."""
    new, masks = tmp_path / "new", tmp_path / "masks"
    write_pictures(new, "G20")
    masks.mkdir()
    _, found = predict(experiment, images=str(new))
    plain = found.table("predict-queries").drop(columns="query")
    from i2r.stages.segment import ThresholdSegment

    segment = ThresholdSegment().segmenter(1.0)
    for path in new.glob("*.tif"):
        tifffile.imwrite(masks / path.name, segment(tifffile.imread(path)).astype(np.uint16))
    summary, found = predict(experiment, images=str(new), masks=str(masks))
    assert summary.exit_code == 0
    pd.testing.assert_frame_equal(found.table("predict-queries").drop(columns="query"), plain)
    tifffile.imwrite(new / "small.tif", np.zeros((8, 8), np.uint8))
    (new / "broken.tif").write_bytes(b"no image")
    summary, found = predict(experiment, images=str(new), masks=str(masks))
    assert summary.exit_code == 3
    (entry,) = [e for e in found.ledger.entries("predict") if e.key == "images/new"]
    assert entry.result["excluded"] == {"small.tif": "dtype", "broken.tif": "truncated"}
    again = found.table("predict-queries").drop(columns="query")
    pd.testing.assert_frame_equal(again, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "nowhere"}, "no picture there"),
        ({"images": "new", "queries": "q.csv"}, "'queries' is an option of the method 'queries'"),
        ({"masks": "new"}, "'masks' is an option of the method 'images'"),
        ({"images": "new", "pixel_size_um": 0.5}, "0.5 um per pixel, the experiment's 1"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    measured: Path, tmp_path: Path, options: dict[str, Any], message: str, cli: Cli
) -> None:
    write_pictures(tmp_path / "new", "G05")
    given = [
        text
        for name, value in options.items()
        for text in (
            f"--{name.replace('_', '-')}",
            value if name == "pixel_size_um" else tmp_path / value,
        )
    ]
    code, said = cli("predict", measured, *given, "--cluster", "none")
    assert code == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in said


def test_what_fails_in_a_unit_is_one_line(experiment: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", "G05")
    for path in (tmp_path / "new").glob("*.tif"):
        tifffile.imwrite(path, np.zeros(SHAPE, np.uint16))
    summary, found = predict(experiment, images=str(tmp_path / "new"))
    assert summary.exit_code == 3
    (entry,) = [e for e in found.ledger.entries("predict") if e.key != "*"]
    assert entry.error.startswith("new: no nucleus with a crop in 3 picture(s)")
    write_pictures(tmp_path / "new", "G05")
    _, found = predict(experiment, images=str(tmp_path / "new"), pages={"GFP": 0})
    (entry,) = [e for e in found.ledger.entries("predict") if e.key != "*"]
    assert "pages GFP, expected one of 'DNA'" in entry.error


def test_new_images_are_embedded_and_corrected_as_the_wells_were(tmp_path: Path) -> None:
    """The fields of a well as new images: the same profile as the well's, however corrected."""
    settings = EncoderSettings(
        embedding_dim=8, widths=(4, 8), high=(30000.0,), nucleus_px=32, window_px=64, region_px=32,
        view="nucleus+region",
    )  # fmt: skip
    weights = tmp_path / "encoder.pt"
    weights.write_bytes(encode_encoder(build_encoder(settings, seed=1).eval()))
    embed = {"stage": "embed", "encoder": str(weights), "umap": False}
    url = write_experiment(tmp_path / "x", embed, profiles="embed", perturbed=9)
    new, controls = tmp_path / "new", tmp_path / "untreated"
    for folder, wells in ((new, ["A09"]), (controls, name_wells(CONTROL_WELLS))):
        folder.mkdir()
        for name in wells:
            shutil.copy(tmp_path / "x" / "images" / f"{name}.tif", folder)
    numbers = [f"d{i}" for i in range(8)]
    for correction, aggregate, without in (
        ("none", "mean", "nothing"),
        ("standardize-to-controls", "mean", "the experiment's controls"),
        ("sphering", "median", "the experiment's controls"),
    ):
        pipeline = load_last_pipeline(open_experiment(str(url)))
        options = {**embed, "correction": correction, "aggregate": aggregate}
        run_here(with_stage(pipeline, parse_stage(options, where="test"), where="test"), url)
        found = open_experiment(str(url))
        wells = found.table("embed").set_index("well")
        well = wells.loc["A09", [f"e{i}" for i in range(8)]].to_numpy(dtype=float)
        # The map learns from the corrected profiles.
        inputs = found.table("map-inputs").set_index("gene")
        pair = wells[wells["gene"] == wells.loc["A09", "gene"]]
        rows = pair[[f"e{i}" for i in range(8)]].to_numpy(dtype=float)
        expected = np.average(rows, axis=0, weights=pair["n_nuclei"])
        np.testing.assert_allclose(inputs.loc[wells.loc["A09", "gene"], numbers], expected)
        # Controls of the same images change nothing; without any the experiment's are taken.
        for given, compared in ((str(controls), "control images"), ("", without)):
            summary, found = predict(url, images=str(new), controls=given)
            assert summary.exit_code == 0
            assert found.table("predict-queries")["compared_with"].tolist() == [compared]
            own = read_table(found.part_url("predict-profiles", "images/new"))
            part = found.part_url("predict-profiles", "controls")
            chain = open_chain(found, "map", has_masks=False)
            related, _ = relate_profiles(
                own, numbers, read_table(part) if given else None,
                list_controls(found, chain, [""]), where="test",
            )  # fmt: skip
            assert related["n_nuclei"].tolist() == [wells.loc["A09", "n_nuclei"]]
            np.testing.assert_allclose(related[numbers].to_numpy()[0], well, rtol=1e-3, atol=1e-4)


def test_new_images_are_divided_by_the_experiments_illumination(tmp_path: Path, cli: Cli) -> None:
    url = write_experiment(
        tmp_path / "x", {"stage": "features"}, profiles="features", perturbed=9,
        first={"stage": "illuminate"},
    )  # fmt: skip
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(tmp_path / "x" / "images" / "A09.tif", new)
    code, said = cli("predict", url, "--images", new, "--cluster", "none")
    assert code == 0, said
    assert "divided by the experiment's illumination functions" in " ".join(said.split())
    found = open_experiment(str(url))
    well = found.table("features").query("well == 'A09'")
    names = [n for n in read_table(found.part_url("predict-profiles", "images/new")) if n in well]
    assert len(names) > 20

    def measure() -> np.ndarray:
        part = read_table(open_experiment(str(url)).part_url("predict-profiles", "images/new"))
        return part[names].to_numpy(dtype=float)

    np.testing.assert_allclose(measure(), well[names].to_numpy(dtype=float), rtol=1e-5)
    summary, _ = predict(url, images=str(new), illumination="none")
    assert summary.exit_code == 0
    assert measure().shape[0] != len(well) or not np.allclose(measure(), well[names], rtol=1e-5)
    tifffile.imwrite(new / "A09.tif", tifffile.imread(new / "A09.tif")[:100])
    summary, found = predict(url, images=str(new))
    (entry,) = [e for e in found.ledger.entries("predict") if e.key != "*"]
    assert "A09.tif is (100, 160), the experiment's illumination functions are" in entry.error
    summary, _ = predict(url, images=str(new), illumination="none")
    assert summary.exit_code == 0


@pytest.mark.slow
def test_an_encoder_without_each_gene_answers_wells_and_new_images(tmp_path: Path) -> None:
    """A known gene's answer is the map's own, by the encoder that never saw it."""
    train = {
        "stage": "train", "hold_out": "classes", "max_epochs": 1, "widths": [4, 8],
        "embedding_dim": 4, "class_by": "gene",
    }  # fmt: skip
    embed = {"stage": "embed", "umap": False}
    url = write_experiment(tmp_path / "x", train, embed, profiles="embed", perturbed=6)
    summary, found = predict(url)
    assert summary.exit_code == 0
    queries = found.table("predict-queries").set_index("gene")
    assert queries["left_out"].all()
    ranks = found.table("map").set_index("gene")["rank"]
    assert len(ranks) == 6
    np.testing.assert_array_equal(queries.loc[ranks.index, "rank_true"], ranks)
    write_pictures(tmp_path / "new", "G05")
    summary, found = predict(url, images=str(tmp_path / "new"))
    assert summary.exit_code == 0
    profiles = read_table(found.part_url("predict-profiles", "images/new"))
    assert profiles["encoder"].tolist() == [
        f"nucleus/without-{gene}" for gene in sorted(ranks.index)
    ]
    assert np.isfinite(profiles.filter(like="d").drop(columns="encoder").to_numpy()).all()
    assert found.table("predict-queries")["query"].tolist() == ["new"]
