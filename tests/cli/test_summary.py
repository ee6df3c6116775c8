"""What a run says at its end: the ranking's top, with what tells a finding from chance."""

from collections import Counter
from pathlib import Path

import pytest

from i2r.cli.summary import _explain_left_out, _print_ranking
from i2r.store.tables import write_table
from tests.report.experiments import make_experiment


def test_the_ranking_has_p_values_and_false_discovery_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make_experiment(tmp_path)
    ranking = experiment.table("screen-gfp")
    tested = ranking[ranking["kind"] != "control_draw"]
    _print_ranking(experiment, "screen-gfp")
    lines = capsys.readouterr().out.splitlines()
    heading = next(line.split() for line in lines if line.startswith("rank"))
    assert heading == ["rank", "perturbation", "score", "±", "folds", "p", "FDR", "wells", "nuclei"]
    first = tested.iloc[0]
    row = next(line.split() for line in lines if str(first["condition"]) in line)
    shown = [f"{first[name]:.2g}" for name in ("p_value", "fdr")]
    assert row[-4:-2] == shown
    called = int(tested["impactful"].sum())
    assert any(line.startswith(f"{called} of {len(tested)} impactful") for line in lines)


def test_what_has_no_score_is_named_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make_experiment(tmp_path)
    url = experiment.table_url("screen-gfp")
    ranking = experiment.table("screen-gfp")
    ranking.loc[ranking["kind"] != "control_draw", ["score", "p_value"]] = float("nan")
    write_table(url, ranking.assign(note="a fold has no nuclei of one kind"))
    _print_ranking(experiment, "screen-gfp")
    said = capsys.readouterr().out
    name = ranking.loc[ranking["kind"] != "control_draw", "condition"].iloc[0]
    assert f"screen-gfp: no score for {name}: a fold has no nuclei of one kind" in said
    assert "nan" not in said.split("draws of")[0]
    assert "rank " not in said


def test_nuclei_that_are_left_out_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    _explain_left_out("crop", 90, Counter())
    assert capsys.readouterr().out == ""
    _explain_left_out("crop", 90, Counter(border=2, area_small=8, tile=0))
    assert capsys.readouterr().out == "crop left out 10 of 100 nuclei: 8 area small, 2 border\n"
    _explain_left_out("crop", 99, Counter(area_small=1129))
    assert "Does 'pixel_size_um' fit the images" in capsys.readouterr().out
