"""One well, condition or gene on one page: found by its name, with all there is of it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2r.errors import InputError
from i2r.report.source import ReportSource
from i2r.store.experiment import Experiment
from i2r.view.live import open_source
from i2r.view.portrait import find_subject, make_portrait
from i2r.view.portrait_page import draw_page
from i2r.view.portrait_picture import draw_picture
from tests.conftest import Cli
from tests.report.experiments import make_experiment
from tests.stages.profiled import lay_out, write_features

EVIL = "<i>$x_1$"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("show"), names={"known": EVIL})


@pytest.fixture(scope="module")
def source(experiment: Experiment) -> ReportSource:
    return open_source(experiment.url)


@pytest.mark.parametrize(
    ("name", "kind", "keys"),
    [("P1/A03", "well", ["P1/A03"]), ("a3", "well", ["P1/A03"]),
     ("drug@2", "condition", ["P1/A04"]), ("DRUG@2", "condition", ["P1/A04"]),
     ("drug", "condition", ["P1/A03", "P1/A04", "P1/B01"]),
     ("negative control", "condition", ["P1/A01", "P1/A02"]),
     ("untreated", "condition", ["P1/A01", "P1/A02"]), (EVIL, "condition", ["P1/B02"])],
)  # fmt: skip
def test_names_are_wells_conditions_or_perturbations(
    source: ReportSource, name: str, kind: str, keys: list[str]
) -> None:
    found = find_subject(source, name)
    assert (found.kind, found.keys) == (kind, keys)


def test_an_unknown_name_says_what_was_probably_meant(source: ReportSource) -> None:
    with pytest.raises(InputError, match=r"'drog'.*Did you mean.*drug"):
        find_subject(source, "drog")
    with pytest.raises(InputError, match="no well, condition or gene"):
        find_subject(source, "")


def test_a_page_holds_nuclei_fields_and_why(source: ReportSource) -> None:
    portrait = make_portrait(source, find_subject(source, "drug@2"))
    assert [strip.tiles.shape[:2] for strip in portrait.strips] == [(2, 8), (2, 16)]
    assert [field.words.split(",")[0] for field in portrait.fields] == ["P1/A04", "P1/A01"]
    assert "p = 0.01" in portrait.why[0]
    assert "called (fdr < 0.05)" in portrait.why[0]
    page = draw_page(source, portrait)
    assert page.count("<figure>") >= 4
    assert "http" not in page.replace("http-equiv", "")  # offline


def test_fields_are_drawn_where_most_moved_and_channels_can_be_chosen(
    experiment: Experiment, source: ReportSource, cli: Cli, tmp_path: Path
) -> None:
    subject = find_subject(source, "drug@2")
    portrait = make_portrait(source, subject, channels=["GFP"])
    assert portrait.channels == ["GFP"]
    assert [strip.tiles.shape[0] for strip in portrait.strips] == [1, 1]
    assert [", GFP, " in field.words for field in portrait.fields] == [True, True]
    both = make_portrait(source, subject, channels=["GFP", "DNA"])
    assert np.array_equal(both.strips[0].tiles[0], portrait.strips[0].tiles[0])
    code, said = cli("show", experiment.url, "drug@2", "--channel", "RFP", "-o", str(tmp_path / "x.html"))  # fmt: skip
    assert (code, "no channel 'RFP', expected one of: DNA, GFP" in said) == (2, True)


def test_names_are_escaped_and_no_formulas(source: ReportSource) -> None:
    portrait = make_portrait(source, find_subject(source, EVIL))
    assert "<i>$" not in draw_page(source, portrait)
    assert draw_picture(portrait).startswith(b"\x89PNG")


def test_an_empty_well_and_an_early_run_have_pages_too(
    source: ReportSource, tmp_path: Path
) -> None:
    portrait = make_portrait(source, find_subject(source, "P1/B03"))
    assert [strip.words for strip in portrait.strips] == ["Negative controls, same plates"]
    early = open_source(make_experiment(tmp_path, stages=["convert"]).url)
    portrait = make_portrait(early, find_subject(early, "P1/A03"))
    assert portrait.why == ["No screen is complete: nothing was tested yet."]
    assert "P1/A03" in draw_page(early, portrait)
    draw_picture(portrait)


def test_a_gene_is_all_its_reagents_and_features_are_beside_controls(tmp_path: Path) -> None:
    def shift(name: str, values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[:, 2] += 2.0 * name.startswith("si")
        return values

    layout = lay_out({"P1": ["si1", "si2", "x", "ctrl", "ctrl", "ctrl"]})
    layout["gene"] = ["TP53", "TP53", "X", "", "", ""]
    source = open_source(write_features(tmp_path, layout, change=shift).url)
    subject = find_subject(source, "tp53")
    assert (subject.kind, subject.name, len(subject.keys)) == ("gene", "TP53", 2)
    portrait = make_portrait(source, subject)
    assert portrait.moved[0].feature == "spots"
    assert portrait.moved[0].change == pytest.approx(2.0, abs=0.4)
    assert "control <em>nuclei</em>" in draw_page(source, portrait)


def test_the_command_writes_a_page_or_a_picture(
    experiment: Experiment, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("show", experiment.url, "drug@2")[0] == 0
    assert (tmp_path / "drug@2.html").read_text().startswith("<!doctype html>")
    assert cli("show", experiment.url, "P1/A03", "-o", "well.png")[0] == 0
    assert Image.open(io.BytesIO((tmp_path / "well.png").read_bytes())).width > 1000
    code, said = cli("show", experiment.url, "P1/A03", "-o", "well.png")
    assert code == 2
    assert "well.png exists" in said
    code, said = cli("show", experiment.url, "P1/A03", "-o", "well.pdf")
    assert (code, "expected .html or .png" in said) == (2, True)
