"""Simulated screens: deterministic, with truth beside them, and ready to run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.pipeline.spec import load_pipeline
from i2r.simulation import PRESETS, ScreenDesign, write_screen
from i2r.simulation.designs import (
    CONTROL,
    draw_surroundings,
    plan_genes,
    plan_layout,
)  # fmt: skip
from i2r.simulation.effects import (
    EFFECT_SIZE,
    KINDS,
    draw_directions,
    list_changes,
    make_phenotype,
)  # fmt: skip
from i2r.simulation.networks import plan_network
from i2r.simulation.nuclei import Phenotype
from i2r.store.layout import read_layout
from i2r.types import Well

TINY = ScreenDesign(genes=3, null_genes=1, plates=2, controls=2, fields=1, field_px=96)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_files_for_any_number_of_processes(tmp_path: Path) -> None:
    for name, workers, design in (("a", 1, TINY), ("b", 2, TINY), ("c", 1, TINY._replace(seed=1))):
        write_screen(str(tmp_path / name), design, workers=workers)
    one, two, other = (contents(tmp_path / name) for name in "abc")
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if name.endswith(".tif"))
    assert len([name for name in one if name.endswith(".tif")]) == 2 * 5


def test_layout_and_pipeline_are_what_i2r_reads(tmp_path: Path) -> None:
    write_screen(str(tmp_path / "s"), TINY)
    layout = read_layout(str(tmp_path / "s" / "layout.csv"))
    assert (layout["role"] == "negative_control").sum() == 4
    assert set(layout.loc[layout["role"] == "treated", "gene"]) == {"GENE001", "GENE002", "GENE003"}
    convert = load_pipeline(str(tmp_path / "s" / "pipeline.yaml")).stages[0]
    survey = convert.survey()
    assert survey is not None
    assert survey.notes == ()
    assert len(survey.layout) == 10
    assert len(survey.sources) == 10


def test_truth_states_effects_in_turn_and_none_for_nulls(tmp_path: Path) -> None:
    design = ScreenDesign(genes=40, null_genes=24, strength=0.5, seed=3)
    genes = plan_genes(design)
    assert list(genes.columns[:5]) == ["gene", "is_null", "effect", "size", "module"]
    assert list(genes.columns[5:]) == [f"change_{kind}" for kind in KINDS]
    assert (genes["module"] == -1).all()
    assert genes["gene"].is_unique
    assert genes["is_null"].sum() == 24
    nulls = genes[genes["is_null"]]
    assert (nulls["effect"] == "none").all()
    assert (nulls["size"] == 0).all()
    active = genes[~genes["is_null"]]
    assert active["effect"].value_counts().to_dict() == dict.fromkeys(("size", "texture", "spots", "density"), 4)  # fmt: skip
    share = active["size"] / active["effect"].map(EFFECT_SIZE)
    assert share.between(0.375, 0.625).all()
    assert share.std() > 0.02
    write_screen(str(tmp_path / "s"), TINY)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "s" / "truth" / "genes.csv"), plan_genes(TINY)
    )


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        ("size", Phenotype(size=1.1)), ("texture", Phenotype(texture=1.1)),
        ("spots", Phenotype(foci=0.1)), ("density", Phenotype(density=1.1)),
        ("elongation", Phenotype(elongation=1.1)), ("brightness", Phenotype(brightness=1.1)),
    ],
)  # fmt: skip
def test_an_effect_changes_one_thing(effect: str, expected: Phenotype) -> None:
    assert make_phenotype({effect: 0.1}) == expected
    assert make_phenotype({}) == Phenotype()


def test_directions_of_modules_are_far_from_each_other_and_steps_undo_each_other() -> None:
    random = np.random.default_rng(0)
    rows = draw_directions(8, random)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
    assert (rows[:, [KINDS.index("spots"), KINDS.index("elongation")]] >= 0).all()
    cosines = (rows @ rows.T)[~np.eye(8, dtype=bool)]
    drawn = [draw_directions(8, random) for _ in range(5)]
    assert cosines.max() < 0.8, "one of so many draws is well spread"
    assert np.ptp([(r @ r.T - 2 * np.eye(8)).max() for r in drawn]) > 0
    forth, back = (list_changes(sign * rows[0], 1.5) for sign in (1, -1))
    for kind in KINDS:
        if kind == "spots":
            assert forth[kind] == -back[kind] == pytest.approx(1.5 * rows[0, KINDS.index("spots")])
        else:
            assert (1 + forth[kind]) * (1 + back[kind]) == pytest.approx(1)
    alone = list_changes(np.eye(len(KINDS))[KINDS.index("texture")], 1.0)
    assert alone["texture"] == pytest.approx(EFFECT_SIZE["texture"])
    assert sum(abs(change) for change in alone.values()) == pytest.approx(0.6)


MODULES = ScreenDesign(genes=30, null_genes=6, modules=4, strength=2.0)


def test_genes_of_a_module_share_an_effect_and_vary_from_it() -> None:
    def between(design: ScreenDesign) -> tuple[float, float]:
        genes = plan_genes(design)
        active = genes[~genes["is_null"]]
        assert active["module"].value_counts().to_dict() == dict.fromkeys(range(4), 6)
        assert (genes.loc[genes["is_null"], "module"] == -1).all()
        changes = active.filter(like="change_").to_numpy()
        assert not genes[genes["is_null"]].filter(like="change_").to_numpy().any()
        named = [row[f"change_{row['effect']}"] for _, row in active.iterrows()]
        assert active["size"].tolist() == named
        # Logarithms of the factors, in steps of the effect sizes: the direction.
        sizes = np.array([EFFECT_SIZE[kind] for kind in KINDS])
        spots = KINDS.index("spots")
        steps = np.log1p(changes) / np.log1p(sizes)
        steps[:, spots] = changes[:, spots] / sizes[spots]
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        same = active["module"].to_numpy()[:, None] == active["module"].to_numpy()
        cosines = steps @ steps.T
        return cosines[same & ~np.eye(24, dtype=bool)].min(), cosines[~same].max()

    within, across = between(MODULES._replace(variation=0.0))
    assert within == pytest.approx(1, abs=1e-3)
    assert across < 0.8
    assert 0.5 < between(MODULES)[0] < 0.99


def test_shuffled_links_leave_images_and_move_genes_in_the_network(tmp_path: Path) -> None:
    genes, dealt = (plan_genes(MODULES._replace(linked=linked)) for linked in (True, False))
    same = genes.columns.drop("module")
    pd.testing.assert_frame_equal(genes[same], dealt[same])
    assert sorted(genes["module"]) == sorted(dealt["module"])
    active = ~genes["is_null"]
    assert (genes["module"] == dealt["module"])[active].mean() < 0.6
    assert (dealt.loc[~active, "module"] == -1).all()


def test_the_network_follows_the_modules() -> None:
    network = plan_network(MODULES)
    genes = plan_genes(MODULES)
    truth = network.genes.set_index("gene")["module"]
    assert truth[genes["gene"]].tolist() == genes["module"].tolist()
    assert network.genes["is_screened"].sum() == 30
    assert truth[truth >= 0].value_counts().to_dict() == dict.fromkeys(range(4), 18)
    ends = network.interactions[["protein1", "protein2"]].to_numpy()
    assert set(ends.ravel()) == set(truth.index)
    inside = [(truth[a], truth[b]) for a, b in ends if truth[a] >= 0 and truth[b] >= 0]
    assert np.mean([a == b for a, b in inside]) > 0.75
    loose = [row for row in ends if -1 in (truth[row[0]], truth[row[1]])]
    assert len(loose) == 6 * 3
    assert network.interactions["cost"].between(0.05, 0.85).all()
    assert network.lines["symbol"].tolist() == network.cells["gene"].tolist() == list(truth.index)
    values = network.lines.set_index("symbol")
    higher = values["U2OS"] - values.drop(columns="U2OS").mean(axis=1)
    assert higher[truth >= 0].mean() > higher[truth < 0].mean() + 0.5
    together = np.corrcoef(network.cells.set_index("gene").to_numpy())
    same = (truth.to_numpy()[:, None] == truth.to_numpy()) & (truth.to_numpy() >= 0)
    np.fill_diagonal(same, False)
    assert together[same].mean() > 0.25
    assert abs(together[~same & ~np.eye(len(truth), dtype=bool)].mean()) < 0.1


def test_sister_plates_repeat_the_layout_and_shuffled_ones_do_not() -> None:
    def places(kind: str) -> list[tuple[str, ...]]:
        layout = plan_layout(ScreenDesign(genes=20, plates=3, layout=kind))  # type: ignore[arg-type]
        assert not layout.duplicated(["plate", "well"]).any()
        counts = layout.groupby(["plate", "perturbation"]).size()
        assert (counts.drop(CONTROL, level="perturbation") == 1).all()
        return [tuple(rows["perturbation"]) for _, rows in layout.groupby("plate")]

    assert len(set(places("sister"))) == 1
    assert len(set(places("shuffled"))) == 3


def test_positions_differ_alike_on_all_plates() -> None:
    design = ScreenDesign(plates=2)
    wells = [Well(row, column) for row in range(1, 9) for column in range(1, 13)]
    gains = np.log([[draw_surroundings(design, p, w).gain for w in wells] for p in (0, 1)])
    assert np.corrcoef(gains)[0, 1] > 0.15
    assert gains.std(axis=1) == pytest.approx(0.10, rel=0.6)
    ideal = design._replace(drift=0.0)
    assert draw_surroundings(ideal, 0, wells[5]) == draw_surroundings(ideal, 1, wells[80])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genes": 0}, "genes is 0, expected 1 or more"),
        ({"null_genes": 13}, "13 null genes of 12 genes"),
        ({"genes": 1600}, "the largest plate has 1536 wells"),
        ({"strength": 3.0}, "strength is 3, expected a number from 0 to 2"),
        ({"drift": float("nan")}, "drift is nan, expected a number from 0 to 10"),
        ({"drift": float("inf")}, "drift is inf"),
        ({"variation": float("nan")}, "variation is nan"),
        ({"field_px": 10**8}, "field_px is 1e[+]08, expected a number from 0 to 16384"),
        ({"field_px": 8}, "field_px is 8, expected 64 or more"),
        ({"modules": 1}, "expected 2 or more with two genes each"),
        ({"modules": 4}, "4 modules for 6 genes with an effect"),
    ],
)
def test_designs_that_cannot_be_made(change: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        write_screen(str(tmp_path / "s"), ScreenDesign()._replace(**change))
    assert not (tmp_path / "s").exists()


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"not empty \(found mine.txt\)"):
        write_screen(str(tmp_path), TINY)


def test_a_screen_that_was_stopped_is_finished_and_another_one_is_not_mixed_in(
    tmp_path: Path,
) -> None:
    write_screen(str(tmp_path / "whole"), TINY)
    expected = contents(tmp_path / "whole")
    (tmp_path / "whole" / "pipeline.yaml").unlink()
    (image, *_) = (tmp_path / "whole" / "images").rglob("*.tif")
    image.unlink()
    with pytest.raises(InputError, match=r"not empty \(found design.json"):
        write_screen(str(tmp_path / "whole"), TINY._replace(seed=1))
    assert not image.exists()
    write_screen(str(tmp_path / "whole"), TINY)
    assert contents(tmp_path / "whole") == expected
    with pytest.raises(InputError, match="not empty"):
        write_screen(str(tmp_path / "whole"), TINY)


def test_presets_can_be_made() -> None:
    for design in PRESETS.values():
        design.check()
        assert len(plan_layout(design)) == design.plates * (design.genes + design.n_controls)
        assert set(plan_network(design).genes["module"]) == {-1, *range(design.modules)}


def test_a_screen_with_modules_brings_all_that_its_pipeline_reads(tmp_path: Path) -> None:
    design = TINY._replace(genes=5, modules=2)
    write_screen(str(tmp_path / "s"), design)
    pipeline = load_pipeline(str(tmp_path / "s" / "pipeline.yaml"))
    assert [stage.stage for stage in pipeline.stages][-5:] == ["interactome", "genes", "map", "predict", "report"]  # fmt: skip
    assert pipeline.stage("interactome").needs == ("screen",)
    assert "features" in pipeline.stage("map").needs
    for url in (s for stage in pipeline.stages for s in stage.model_dump().values()):
        if isinstance(url, str) and "/" in url and url.startswith(str(tmp_path)):
            assert Path(url).exists(), url
    truth = pd.read_csv(tmp_path / "s" / "truth" / "modules.csv")
    assert truth["is_screened"].sum() == 5


def test_the_command_replaces_single_options_of_a_preset(tmp_path: Path) -> None:
    options = {"genes": 4, "plates": 1, "controls": 2, "fields": 1, "field-px": 80, "workers": 1}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    result = CliRunner().invoke(i2r, ["simulate", str(tmp_path / "s"), *given])
    assert result.exit_code == 0, result.output
    assert "1 plates, 6 wells, 6 fields, 2 of 4 genes with an effect\n" in result.output
    assert not (tmp_path / "s" / "interactions.tsv").exists(), "two genes make no modules"
    assert pd.read_csv(tmp_path / "s" / "truth" / "genes.csv")["is_null"].sum() == 2


def test_the_recommended_pipeline_is_one() -> None:
    pipeline = load_pipeline(str(Path(__file__).parents[2] / "pipelines" / "screen.yaml"))
    screen = next(stage for stage in pipeline.stages if stage.stage == "screen")
    assert set(screen.needs) == {"features", "quality"}
    assert screen.worker_group == "cpu"
