"""A report with every stage in a real browser: quiet, closed to the outside, small, printable."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from i2r.pipeline.spec import load_pipeline
from i2r.report.page import find_sections
from i2r.simulation import PRESETS, write_screen
from i2r.store.experiment import open_experiment
from tests.conftest import run_here
from tests.report.test_browser import BROWSER, browse, find_console_lines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]
WIDTHS = (500, 1280)
MAX_BYTES = 15_000_000
# Comparison needs two screens and flagged fields bad ones; the simulated screen has all the rest.
ABSENT = {"comparison", "flagged"}
PROBE = """
document.title = JSON.stringify({
  overhang: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  loaded: performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:")),
  empty: [...document.querySelectorAll("svg.chart")].filter((chart) =>
    !chart.querySelector("circle, rect, polyline, path, image")).length,
  covered: [...document.querySelectorAll("svg.chart")].filter((chart) => {
    const box = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("text")].some((text) => {
      const own = text.getBoundingClientRect();
      return own.width && (own.right < box.left || own.left > box.right);
    });
  }).map((chart) => chart.getAttribute("aria-label")),
});
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate a small screen and run every stage on it, trainings as short as can be."""
    folder = tmp_path_factory.mktemp("full")
    small = {"genes": 12, "null_genes": 4, "modules": 4, "controls": 6, "fields": 1}
    design = PRESETS["smoke"]._replace(**small, field_px=240)
    write_screen(str(folder / "s"), design)
    truth = pd.read_csv(folder / "s" / "truth" / "genes.csv")
    planted = truth.loc[~truth["is_null"], "gene"].tolist()
    described = yaml.safe_load((folder / "s" / "pipeline.yaml").read_text())
    stages = {stage["stage"]: stage for stage in described["stages"]}
    short = {
        "interactome": {"noise_runs": 1, "beta_last": 1.0, "targets": planted},
        "genes": {"seeds": 1},
        "map": {"permutations": 19},
        "predict": {"permutations": 19},
        "train": {"classes": planted[:4], "max_epochs": 2, "n_folds": 2, "widths": [4, 8],
                  "surest_nuclei": 2,
                  "views": ["nucleus", "binary-nucleus"], "nucleus_px": 32},
        "embed": {},
    }  # fmt: skip
    before = ["convert", "quality", "illuminate", "segment", "crop", "features", "screen"]
    order = [*before, "train", "embed", "interactome", "genes", "map", "predict", "report"]
    described["stages"] = [
        {**stages.get(verb, {"stage": verb}), **short.get(verb, {})} for verb in order
    ]
    path = folder / "s" / "full.yaml"
    path.write_text(yaml.safe_dump(described, sort_keys=False))
    assert run_here(load_pipeline(str(path)), folder / "e").exit_code == 0
    return folder / "e"


def test_every_section_is_there_and_its_numbers_are_files(experiment: Path) -> None:
    content = (experiment / "report.html").read_text()
    sections = set(re.findall(r'<section id="([\w-]+)">', content))
    known = {module.__name__.rpartition(".")[2] for module in find_sections()}
    assert known - sections <= ABSENT
    assert "could not be drawn" not in content
    assert len(content.encode()) < MAX_BYTES
    maps = pd.read_csv(experiment / "report" / "plates" / "plate-maps.csv")
    assert len(maps) == 36
    assert maps["Nuclei"].sum() > 0
    for section, name in (
        ("embeddings", "embed-map-of-wells"),
        ("embeddings", "embed-numbers-of-clusters"),
        ("encoders", "train-confusion-matrix"),
        ("genes", "genes-silhouette-by-number-of-clusters"),
        ("mapping", "map-genes-found-among-the-best-k"),
    ):
        assert len(pd.read_csv(experiment / "report" / section / f"{name}.csv")), name
    for folder in (experiment / "report").iterdir():
        kinds = {path.suffix for path in folder.iterdir()}
        assert ".csv" in kinds or not kinds & {".svg", ".png"}, "figures without their numbers"
    steps = pd.read_csv(experiment / "report" / "accounting" / "nuclei-crop.csv")
    losses = steps.loc[steps["kind"] == "loss", "count"].sum()
    assert steps["count"].iloc[0] - losses == steps["count"].iloc[-1]


def test_every_table_that_is_listed_can_be_read(experiment: Path) -> None:
    opened = open_experiment(str(experiment))
    for name in opened.tables():
        table = opened.table(name)
        assert len(opened.lazy_table(name).compute(scheduler="sync")) == len(table)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_quiet_and_never_wider_than_the_window(
    experiment: Path, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2r.report import html

    content = (experiment / "report.html").read_text()
    script = html.read_text("script.js")
    probed = content.replace(script, script + PROBE).replace(
        html.script_hash(script), html.script_hash(script + PROBE)
    )
    assert probed != content
    page = tmp_path / "report.html"
    page.write_text(probed)
    opened = browse(tmp_path, f"--window-size={width},900", "--dump-dom", page.as_uri())
    assert find_console_lines(opened.stderr) == []
    title = re.search("<title>([^<]*)</title>", opened.stdout)
    assert title is not None
    seen = json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert seen == {"overhang": 0, "loaded": [], "empty": 0, "covered": []}


def test_it_prints(experiment: Path, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    opened = browse(
        tmp_path,
        "--no-pdf-header-footer",
        f"--print-to-pdf={printed}",
        (experiment / "report.html").as_uri(),
    )
    assert find_console_lines(opened.stderr) == []
    data = printed.read_bytes()
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) > 3
