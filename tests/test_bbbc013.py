"""The whole chain on a real plate: GFP finds the high doses, DNA finds nothing, chance is 0.5."""

import os
from pathlib import Path

import pytest

from i2r.store.experiment import open_experiment
from tests.benchmarks.bbbc013 import compare, measure_doses, screen_doses, screen_plate
from tests.benchmarks.foreign import compare as compare_rankings
from tests.benchmarks.foreign import screen_foreign


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_gfp_finds_high_doses_and_dna_finds_nothing(tmp_path: Path) -> None:
    root = os.environ.get("I2R_DATA")
    if root is None:
        pytest.skip("I2R_DATA does not name the folder of the shared real data")
    table, figures = compare(screen_plate(Path(root) / "bbbc013_u2os_plate", tmp_path))
    print(table.round(3).to_string(index=False))
    print(figures)
    assert len(table) == 20
    assert figures["gfp_high_doses"] >= 0.90
    assert figures["dna_highest"] <= 0.65
    assert figures["gfp_minus_dna"] >= 0.25
    for channel in ("gfp", "dna"):
        assert figures[f"{channel}_draws"] >= 20
        assert figures[f"{channel}_draws_mean"] == pytest.approx(0.5, abs=0.04)


@pytest.fixture(scope="module")
def screened_doses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = os.environ.get("I2R_DATA")
    if root is None:
        pytest.skip("I2R_DATA does not name the folder of the shared real data")
    folder = tmp_path_factory.mktemp("doses")
    return screen_doses(Path(root) / "bbbc013_u2os_plate", folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_scores_rise_with_the_dose_of_both_drugs_and_the_report_says_so(
    screened_doses: Path,
) -> None:
    """LY294002 and wortmannin both keep FKHR-GFP in the nucleus, the more the higher the dose."""
    folder = screened_doses
    ranking = open_experiment(str(folder)).table("screen")
    trends = measure_doses(ranking)
    print(trends)
    assert list(trends.index) == ["LY294002", "wortmannin"]
    assert (trends["tau"] > 0.4).all()
    assert (trends["p_value"] < 0.025).all(), "both, with two tests"
    scores = ranking.set_index("condition")["score"]
    for drug in trends.index:
        assert scores[f"{drug}@9"] > 0.75 > scores[f"{drug}@1"]
    page = (folder / "report.html").read_text()
    for row in trends.itertuples():
        # The plate's doses lie along its columns: the order is seen, what makes it is not.
        assert f"rise with the dose: tau {row.tau:.2f}, no p-value: doses run along columns" in page
    called = set(ranking.loc[ranking["impactful"], "condition"])
    assert called >= {f"{drug}@{dose}" for drug in trends.index for dose in range(5, 10)}
    words = ranking.set_index("condition")["explained"]
    assert set(words[list(called)]) == {"own"}, "FKHR moves: no nuclei, focus or DNA explain it"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_features_of_another_program_rank_the_doses_as_the_images_do(
    screened_doses: Path, tmp_path: Path
) -> None:
    data = Path(os.environ["I2R_DATA"]) / "bbbc013_u2os_plate"
    images = open_experiment(str(screened_doses)).table("screen")
    table = open_experiment(str(screen_foreign(data, tmp_path))).table("screen")
    found = compare_rankings(images, table)
    print(found)
    assert found.scores >= 0.85
    assert found.p_values >= 0.8
    assert not found.images, "what the images call, the table calls"
    assert found.both >= {
        f"{drug}@{d}" for drug in ("LY294002", "wortmannin") for d in range(4, 11)
    }
    assert found.foreign <= {
        f"{drug}@{d}" for drug in ("LY294002", "wortmannin") for d in range(1, 4)
    }, "and beyond that low doses alone"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_six_controls_call_the_doses_that_sixteen_call(tmp_path: Path) -> None:
    root = os.environ.get("I2R_DATA")
    if root is None:
        pytest.skip("I2R_DATA does not name the folder of the shared real data")
    folder = screen_doses(Path(root) / "bbbc013_u2os_plate", tmp_path, controls=6)
    ranking = open_experiment(str(folder)).table("screen")
    trends = measure_doses(ranking)
    print(trends)
    print(ranking[["condition", "score", "p_value", "fdr", "impactful"]].to_string())
    called = set(ranking.loc[ranking["impactful"], "condition"])
    assert called >= {f"{drug}@{dose}" for drug in trends.index for dose in range(5, 10)}
    assert (trends["tau"] > 0.4).all(), "doses are in order"
    judged = ranking[ranking["rank"] > 0]
    assert judged["impactful"].is_monotonic_decreasing, "what is called stands above what is not"
