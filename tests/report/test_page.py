"""The whole page: what is in it, what is escaped, what stays out of it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from markupsafe import escape

from i2r.report import page
from i2r.report.page import find_sections, make_page
from i2r.report.source import ReportSource
from i2r.store.experiment import Experiment
from tests.report import experiments
from tests.report.experiments import ALL, make_experiment

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SECTIONS = [
    "overview", "plates", "ranking", "gallery", "segmentation", "accounting", "timings", "provenance",
]  # fmt: skip
EVIL = "<script>alert(1)</script>"


def draw(folder: Path, stages: list[str] | None = None, **content: object) -> str:
    """Make an experiment and its page; no section may fail."""
    stages = ALL if stages is None else stages
    experiment = make_experiment(folder, stages=stages, **content)
    made = make_page(ReportSource(experiment, stages), now=NOW)
    assert not made.problems
    return made.content


def anchors(content: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', content)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("complete"))


@pytest.fixture(scope="module")
def complete(experiment: Experiment) -> str:
    return make_page(ReportSource(experiment, ALL), now=NOW).content


def test_sections_are_found_by_their_path() -> None:
    modules = find_sections()
    names = [module.__name__.rpartition(".")[2] for module in modules]
    # Others may add theirs.
    assert [name for name in names if name in SECTIONS] == SECTIONS
    assert all(isinstance(module.TITLE, str) and callable(module.draw) for module in modules)


def test_a_complete_experiment_has_all_sections(complete: str) -> None:
    assert anchors(complete) == SECTIONS
    assert re.findall(r'<a href="#(\w+)">[A-Z]\w+</a></li>', complete) == SECTIONS


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([], ["overview", "provenance"]),
        (["convert"], ["overview", "accounting", "timings", "provenance"]),
        (["convert", "quality"], ["overview", "plates", "accounting", "timings", "provenance"]),
        (["convert", "segment"], ["overview", "plates", "segmentation", "accounting", "timings", "provenance"]),
        (["convert", "segment", "crop-dna"], [s for s in SECTIONS if s != "ranking"]),
    ],
)  # fmt: skip
def test_sections_without_content_are_left_out(
    tmp_path: Path, stages: list[str], expected: list[str]
) -> None:
    assert anchors(draw(tmp_path, stages)) == expected


def test_nothing_comes_from_outside(complete: str) -> None:
    assert "http:" not in complete
    assert "https:" not in complete
    targets = re.findall(r"""(?:src|href)=["']?([^"'>]{1,6})""", complete)
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"url\(|@import|<iframe|<object", complete)
    assert "default-src 'none'" in complete


def test_the_page_is_small(complete: str) -> None:
    assert len(complete) < 400_000


def test_every_picture_is_described(complete: str) -> None:
    for tag in re.findall(r"<img [^>]*>", complete):
        assert re.search(r'alt="[^"]{8,}"', tag), tag[-120:]
    assert complete.count("<svg") == len(
        re.findall(r'<svg [^>]*role="img" aria-label="[^"]{8,}"', complete)
    )


def test_equal_experiments_give_equal_pages(experiment: Experiment, complete: str) -> None:
    again = make_page(ReportSource(Experiment(experiment.url), ALL), now=NOW)
    assert again.content == complete


def test_names_are_escaped(tmp_path: Path) -> None:
    content = draw(
        tmp_path, names={"drug": EVIL, "known": 'a" onload="x'}, plates=[f"{EVIL} é"],
        failed={f"{EVIL} é/A04": f"broken {EVIL}"}, excluded={f"{EVIL} é/A03": {"2": EVIL}},
        options={"source": EVIL},
    )  # fmt: skip
    assert EVIL not in content
    assert 'onload="x' not in content
    assert str(escape(EVIL)) in content
    # The page's own script is the only one.
    assert content.count("<script") == 1


def test_unusual_names_and_plates_are_shown(tmp_path: Path) -> None:
    names = {"drug": "5-FU β $x_1$ 薬", "known": "% {{ 7 * 7 }} {% raw %}"}
    content = draw(tmp_path, names=names, plates=["plate 1", "Плата/2 #%"])
    for name in names.values():
        assert str(escape(name)) in content
    assert "Плата/2 #%" in content


def test_overview_says_what_was_found_and_what_to_look_at(tmp_path: Path) -> None:
    content = draw(
        tmp_path, failed={"P1/A04": "P1/A04: image is broken. Export it again."},
        excluded={"P1/A03": {"2": "blurred"}}, scores={"drug@1": 0.99, "known": float("nan")},
    )  # fmt: skip
    # Conditions with 0.85, 0.9, 0.99 and 0.75; of drug@2 there is a row in the ranking all the same.
    assert "4 of 4 conditions score above the range of draws" in content
    assert "drug@1 (0.990)" in content
    assert "<b>1</b><span>plate</span>" in content
    assert "<b>1</b><span>failed unit</span>" in content
    assert "1 unit failed" in content
    assert "image is broken" in content
    assert "1 field left out: 1 blurred" in content
    assert "1 well without any nucleus" in content
    assert "P1/B03: toxic" in content
    assert "1 condition without a score" in content
    assert "no nuclei" in content


def test_all_scores_missing(tmp_path: Path) -> None:
    nan = float("nan")
    scores = dict.fromkeys(("drug@1", "drug@2", "drug@4", "known", "toxic"), nan)
    content = draw(tmp_path, scores=scores, draws=0)
    assert "Nothing was scored." in content
    assert "too few draws" in content


def test_many_conditions_are_all_drawn_and_the_best_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wells = [
        (f"{row}{column:02d}", f"gene {row}{column}", float("nan"), "treated")
        for row in "ABCDEFGH"
        for column in range(1, 13)
    ]
    wells[0] = ("A01", "untreated", float("nan"), "negative_control")
    monkeypatch.setattr(experiments, "WELLS", wells)
    scores = {
        f"gene {row}{column}": 0.99 - 0.002 * n
        for n, (row, column) in enumerate((r, c) for r in "ABCDEFGH" for c in range(1, 13))
    }
    content = draw(tmp_path, ["screen-gfp"], scores=scores)
    assert "All 95 conditions by score" in content
    assert "The 40 highest scores" in content
    assert content.count("<title>gene ") == 95 + 2 * 40


def test_a_screen_that_is_not_complete_is_not_ranked(tmp_path: Path) -> None:
    from i2r.store.ledger import LedgerWriter

    experiment = make_experiment(tmp_path)
    writer = LedgerWriter(experiment.ledger, 2)
    writer.write("screen-gfp", "*", "failed", "x", error="no disk")
    made = make_page(ReportSource(experiment, ALL), now=NOW)
    assert "ranking" not in anchors(made.content)
    assert "screen-gfp *: no disk" in made.content


def test_secrets_stay_out(tmp_path: Path) -> None:
    content = draw(
        tmp_path, failed={"P1/A04": "s3://me:hunter2@bucket/x.tif?X-Signature=cafe is truncated"},
        options={"source": "s3://me:hunter2@bucket/raw?sig=cafe", "api_token": "hunter2"},
    )  # fmt: skip
    assert "hunter2" not in content
    assert "cafe" not in content
    assert "s3://bucket/raw" in content


def test_a_section_that_fails_leaves_the_others(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ModuleType("i2r.report.sections.broken")
    vars(broken).update(TITLE="Broken", ORDER=1, draw=lambda source: 1 / 0)
    sections = [broken, *find_sections()]
    monkeypatch.setattr(page, "find_sections", lambda: sections)
    made = make_page(ReportSource(experiment, ALL), now=NOW)
    assert isinstance(made.problems["broken"], ZeroDivisionError)
    assert "This section could not be drawn: ZeroDivisionError" in made.content
    assert anchors(made.content) == ["broken", *SECTIONS]


def test_fifty_plates_stay_small(tmp_path: Path) -> None:
    plates = [f"plate {n:02d}" for n in range(50)]
    stages = ["quality"]
    experiment = make_experiment(tmp_path, stages=stages, plates=plates)
    made = make_page(ReportSource(experiment, stages), now=NOW)
    assert not made.problems
    assert "The first 12 plates of 50 are drawn in full, 38 as small\npictures" in made.content
    assert len(made.content) < 2_000_000


def test_the_ranking_states_intervals_p_values_and_the_rule(complete: str) -> None:
    assert "95 % from" in complete
    assert "FDR: Benjamini-Yekutieli, of positive controls apart." in complete
    assert "3 of 5 conditions are impactful (fdr &lt; 0.05)" in complete
    assert "5 sets of control wells" in complete
    assert "LEAKING" not in complete


def test_leaking_splits_and_repeated_layouts_are_marked(tmp_path: Path) -> None:
    content = draw(tmp_path, statistics={"is_leaking": True, "layout_repeats": True})
    assert content.count("LEAKING SPLIT") == 2, "in the ranking and among the warnings"
    assert content.count("The plates repeat one layout") == 2


def test_screens_of_two_methods_are_compared(tmp_path: Path) -> None:
    stages = [*ALL, "screen-fast"]
    content = draw(tmp_path / "1", stages)
    assert "comparison" not in anchors(content), "both are networks"
    experiment = make_experiment(tmp_path / "2", stages=stages)
    other = {"drug@1": 0.5, "drug@2": 0.97, "drug@4": 0.9}
    experiments.write_ranking(
        experiment, "screen-fast", other, draws=5, statistics={"method": "fast"}
    )
    made = make_page(ReportSource(Experiment(experiment.url), stages), now=NOW)
    assert not made.problems
    assert "comparison" in anchors(made.content)
    assert "both call 2 impactful, screen-gfp alone\n1, screen-fast alone 0" in made.content
