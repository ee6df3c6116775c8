"""What a run says at its end: the ranking's top, with what tells a finding from chance."""

from pathlib import Path

import pytest

from i2r.cli.summary import _print_ranking
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
