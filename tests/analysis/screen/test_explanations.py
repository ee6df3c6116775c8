"""What a change may be owed to: the number of nuclei, the focus, the DNA content, or itself."""

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.screen.explanations import (
    Measure,
    describe_explanations,
    explain_changes,
    explain_conditions,
    find_dna_channel,
    find_dna_content,
    find_focus,
)
from i2r.kernels.conditions import Wells, compare_conditions

WORDS = ["count", "focus", "dna", "own", ""]


@pytest.fixture(scope="module")
def explained() -> pd.DataFrame:
    """Fifty conditions: tens lose nuclei, blur, stop in the cycle, change by themselves, or not."""
    random = np.random.default_rng(0)
    n_plates, d = 3, 12
    which = np.tile(np.r_[np.full(16, -1), np.arange(50)], n_plates)
    plates = np.repeat(np.arange(n_plates), 66)
    cause = np.where(which < 0, "", np.array(WORDS)[which // 10])
    count = np.log(80) - 1.5 * (cause == "count") + 0.1 * random.standard_normal(len(which))
    focus = 0.1 * random.standard_normal(len(which)) - 1.0 * (cause == "focus")
    content = 0.1 * random.standard_normal(len(which)) + 1.0 * (cause == "dna")
    loadings = 0.8 * random.standard_normal((3, d))
    loadings[2, 0] = 1.0
    means = np.stack([count - np.log(80), focus, content], axis=1) @ loadings
    own = (cause == "own")[:, None] * np.eye(d)[which % d]
    means = means + own + 0.1 * random.standard_normal((len(which), d))
    counts = np.exp(count).round()
    places = np.concatenate([random.permutation(384)[:66] for _ in range(n_plates)])
    wells = Wells(means, np.ones_like(means), counts, plates, places // 24, places % 24, which)
    measures = {
        "count": Measure(np.log(counts), np.ones(len(which))),
        # Where nuclei are few, a field looks blurred too.
        "focus": Measure(focus + 0.3 * (count - np.log(80)), np.zeros(len(which))),
        "dna": Measure(means[:, 0], np.ones(len(which))),
    }
    found = compare_conditions(wells, n_draws=1000)
    told = explain_changes(wells, measures, borrows=True, n_draws=1000, seed=0)
    tests = pd.DataFrame(
        {"p_value": found.p_value, "p_place": np.nan, **describe_explanations(told, 50)}
    )
    return tests.assign(explained=explain_conditions(tests), cause=np.repeat(WORDS, 10))


def test_calls_are_named_by_what_they_come_from(explained: pd.DataFrame) -> None:
    called = explained[explained["explained"] != ""]
    assert (called.groupby("cause").size().reindex(WORDS[:4]) >= 9).all()
    agree = (called["explained"] == called["cause"]).groupby(called["cause"]).mean()
    assert (agree.reindex(WORDS[:4]) >= 0.85).all(), agree
    assert (explained.loc[explained["cause"] == "", "explained"] == "").sum() >= 9


def test_each_measure_has_a_change_of_its_own(explained: pd.DataFrame) -> None:
    typical = explained.groupby("cause")[["count_change", "focus_change", "dna_change"]].median()
    assert typical.loc["count", "count_change"] == pytest.approx(-1.5 / np.log(2), abs=0.2)
    assert abs(typical.loc["count", "focus_change"]) < 1, "it is the count that changed"
    assert typical.loc["focus", "focus_change"] < -5
    assert typical.loc["dna", "dna_change"] > 4
    assert typical.loc["own", ["count_change", "focus_change"]].abs().max() < 1


def test_what_was_not_measured_explains_nothing(explained: pd.DataFrame) -> None:
    lacking = explained.assign(p_focus=np.nan, focus_p=np.nan)
    words = pd.Series(explain_conditions(lacking))
    assert "focus" not in set(words)
    blurred = (explained["cause"] == "focus").to_numpy()
    assert (words[blurred] == "own").mean() >= 0.9
    assert (words[~blurred] == explained.loc[~blurred, "explained"].to_numpy()).all()


def test_measures_are_found_by_name() -> None:
    assert find_dna_channel(["GFP", "Hoechst 33342"]) == "Hoechst 33342"
    assert find_dna_channel(["GFP", "Actin"]) == ""
    assert find_dna_channel(["w1"]) == "w1"
    assert find_dna_content(["area_um2", "sum_GFP", "sum_DNA"]) == 2
    cells = "Cells_Intensity_IntegratedIntensity_DNA"
    nuclei = "Nuclei_Intensity_IntegratedIntensity_DNA"
    edge = "Nuclei_Intensity_IntegratedIntensityEdge_DNA"
    assert find_dna_content([edge, cells, nuclei]) == 2
    assert find_dna_content([edge, "Nuclei_Intensity_IntegratedIntensity_ER"]) == -1
    sharp = ["ImageQuality_FocusScore_DAPI", "ImageQuality_PowerLogLogSlope_DAPI"]
    assert find_focus(["area", *sharp]) == 2
    assert find_focus(["ImageQuality_PowerLogLogSlope_Actin", "Texture_Contrast_DNA"]) == -1
