"""The report in a real browser: nothing is complained about, and sorting a table works."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from i2r.report import html
from i2r.report.page import make_page
from i2r.report.sections.interactome import MOST_DRAWN, choose_drawn
from i2r.report.source import ReportSource
from tests.browser import Page, open_browser
from tests.report.experiments import ALL, make_experiment
from tests.stages.test_interactome import run_network, write_tables

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
# The policy of the page allows its own script only, so the probe goes into that.
PROBE = """
document.querySelectorAll("figure.table th")[1].click();
const column = [...document.querySelectorAll("figure.table tbody")][0].rows;
document.title = [...column].map((row) => row.cells[1].textContent).join("|");
"""


def open_page(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    """Open a page and give its document as the browser has it, and its log."""
    place = folder / "report.html"
    place.write_text(content, encoding="utf-8")
    return browse(folder, "--dump-dom", place.as_uri())


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser without a window and without a profile of anybody's."""
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0",
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(
        [str(BROWSER), *options, *arguments],
        capture_output=True, text=True, timeout=120, check=True, env=environment,
    )  # fmt: skip


def find_console_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if re.search(r"CONSOLE", line)]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> str:
    experiment = make_experiment(tmp_path_factory.mktemp("browser"))
    return make_page(ReportSource(experiment, ALL)).content


def test_the_console_stays_empty(tmp_path: Path, content: str) -> None:
    opened = open_page(tmp_path, content)
    assert find_console_lines(opened.stderr) == []
    assert 'id="provenance"' in opened.stdout


def test_the_log_would_show_a_script_that_is_not_ours(tmp_path: Path, content: str) -> None:
    opened = open_page(tmp_path, content.replace("</main>", "<script>alert(1)</script></main>"))
    assert any("Content Security Policy" in line for line in find_console_lines(opened.stderr))


def test_what_is_out_of_sight_is_not_laid_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.html").write_text(content, encoding="utf-8")
    seen = "document.querySelector('#provenance h2').checkVisibility({contentVisibilityAuto: true})"
    frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
    with open_browser(tmp_path) as page:
        page.open((tmp_path / "report.html").as_uri())
        page.wait_for("document.readyState === 'complete'")
        page.evaluate(frames)
        assert not page.evaluate(seen)
        page.evaluate("document.querySelector('#provenance').scrollIntoView({behavior: 'instant'})")
        page.wait_for(seen)


def test_tables_are_sorted_by_a_click(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = html.read_text
    script = own("script.js") + PROBE
    monkeypatch.setattr(
        html, "read_text", lambda name: script if name == "script.js" else own(name)
    )
    experiment = make_experiment(
        tmp_path, names={"known": "another", "toxic": "Zinc", "drug": "drug 10"}
    )
    opened = open_page(tmp_path, make_page(ReportSource(experiment, ALL)).content)
    assert find_console_lines(opened.stderr) == []
    title = re.search("<title>([^<]*)</title>", opened.stdout)
    assert title is not None
    assert title[1].split("|") == ["another", "drug 10@1", "drug 10@2", "drug 10@4", "Zinc"]


KEYS = {
    "Enter": 13, "Tab": 9, " ": 32, "Escape": 27, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


def press(page: Page, key: str) -> None:
    """Press a key and let it go."""
    text = {"Enter": "\r", " ": " "}.get(key, "")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                  windowsVirtualKeyCode=KEYS[key])  # fmt: skip


def test_a_page_is_used_by_keyboard(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.html").write_text(content, encoding="utf-8")
    with open_browser(tmp_path) as page:
        page.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-reduced-motion", "value": "reduce"}])  # fmt: skip
        page.open((tmp_path / "report.html").as_uri())
        page.wait_for("document.readyState === 'complete'")
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        press(page, "Tab")
        focused = "document.activeElement"
        assert page.evaluate(f"{focused}.textContent") == "Skip to the content"
        assert page.evaluate(f"{focused}.getBoundingClientRect().top >= 0")
        assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
        press(page, "Enter")
        page.wait_for(f"{focused}.tagName === 'MAIN'")
        # What scrolls can be reached, and says what it is.
        boxes = "[...document.querySelectorAll('.scroll')]"
        assert page.evaluate(f"{boxes}.length") > 3
        named = "box.tabIndex === 0 && box.getAttribute('role') && box.getAttribute('aria-label')"
        assert page.evaluate(f"{boxes}.every((box) => {named})")
        heading = "document.querySelectorAll('figure.table th')[1]"
        for key, order in (("Enter", "ascending"), (" ", "descending")):
            page.evaluate(f"{heading}.querySelector('button').focus()")
            press(page, key)
            assert page.evaluate(f"{heading}.getAttribute('aria-sort')") == order
        nameless = "!button.getAttribute('aria-label') && !button.textContent.trim()"
        assert page.evaluate(
            f"[...document.querySelectorAll('button')].filter((button) => {nameless}).length"
        ) == 0  # fmt: skip
        assert page.complaints == []


def open_report(page: Page, folder: Path, content: str) -> None:
    """Open a report and wait until it is there."""
    (folder / "report.html").write_text(content, encoding="utf-8")
    page.open((folder / "report.html").as_uri())
    page.wait_for("document.readyState === 'complete'")


def test_wells_of_a_plate_map_are_read_by_keyboard(tmp_path: Path, content: str) -> None:
    said = "document.activeElement.getAttribute('aria-label')"
    shown = "document.querySelector('.reading:not([hidden])')?.textContent ?? ''"
    plate = "document.querySelector('.plate svg')"
    words = dict(re.findall(r"<title>([A-P]\d\d) ([^<]*)</title>", content.partition("</svg>")[0]))
    with open_browser(tmp_path) as page:
        open_report(page, tmp_path, content)
        # One stop for the Tab key, however many wells.
        assert page.evaluate(f"{plate}.querySelectorAll('[tabindex]').length") == 1
        assert page.evaluate(f"{plate}.getAttribute('role')") == "group"
        page.evaluate("document.querySelector('.plate').previousElementSibling?.focus()")
        wells = page.evaluate(
            f"[...{plate}.querySelectorAll('.wells rect')].map((r) => r.textContent.split(' ')[0])"
        )
        for _ in range(60):
            press(page, "Tab")
            if page.evaluate(f"{plate}.contains(document.activeElement)"):
                break
        assert page.evaluate(said) == f"{wells[0]} {words[wells[0]]}"
        row, column = wells[0][0], int(wells[0][1:])
        right = min(w for w in wells if w[0] == row and int(w[1:]) > column)
        for key, well in (("ArrowRight", right), ("ArrowLeft", wells[0]), ("ArrowLeft", wells[0]),
                          ("End", wells[-1]), ("Home", wells[0])):  # fmt: skip
            press(page, key)
            assert page.evaluate(said) == f"{well} {words[well]}"
            assert page.evaluate(shown) == page.evaluate(said)
            assert page.evaluate("document.activeElement.getAttribute('role')") == "img"
            assert page.evaluate(f"{plate}.querySelectorAll('[tabindex=\"0\"]').length") == 1
        below = [w for w in wells if w[0] > row and int(w[1:]) == column]
        press(page, "ArrowDown")
        assert page.evaluate(said).startswith(min(below, default=wells[0]))
        assert page.evaluate("getComputedStyle(document.activeElement).strokeWidth") == "3px"
        press(page, "Escape")
        assert page.evaluate(shown) == ""
        press(page, "Tab")
        assert not page.evaluate(f"{plate}.contains(document.activeElement)")
        assert page.complaints == []


def test_marks_of_all_charts_are_read_by_keyboard(tmp_path: Path, content: str) -> None:
    marks = "[...svg.querySelectorAll(':not(text):not(svg) > title')]"
    charts = "[...document.querySelectorAll('figure:not(.network) svg')]"
    walk = f"""{charts}.map((svg) => {{
      const titles = {marks}.map((title) => title.textContent);
      if (!titles.length || svg.querySelector(".wells")) return "";
      svg.querySelector("[tabindex='0']").focus();
      const heard = titles.map(() => {{
        const name = document.activeElement.getAttribute("aria-label");
        document.activeElement.dispatchEvent(
          new KeyboardEvent("keydown", {{ key: "ArrowRight", bubbles: true, cancelable: true }}));
        return name;
      }});
      return heard.join("|") === titles.join("|") ? "heard" : heard.join("|");
    }}).filter((found) => found)"""
    with open_browser(tmp_path) as page:
        open_report(page, tmp_path, content)
        page.evaluate(
            "document.querySelectorAll('details').forEach((part) => { part.open = true; })"
        )
        found = page.evaluate(walk)
        assert len(found) > 1
        assert set(found) == {"heard"}


def test_a_chart_that_scrolls_in_a_narrow_window_is_reached_by_keyboard(
    tmp_path: Path, content: str
) -> None:
    figures = "[...document.querySelectorAll('figure:has(> .chart)')]"
    scrolling = f"{figures}.filter((f) => f.scrollWidth > f.clientWidth + 1)"
    reached = (
        "f.tabIndex === 0 && f.getAttribute('aria-label') && f.getAttribute('role') === 'group'"
    )
    with open_browser(tmp_path) as page:
        page.resize(400, 800)
        open_report(page, tmp_path, content)
        # What is out of sight is not laid out, nor looked at.
        page.evaluate("document.body.insertAdjacentHTML('beforeend',"
                      "'<style>main > section { content-visibility: visible !important }</style>')")  # fmt: skip
        page.wait_for(f"{scrolling}.length > 0 && {scrolling}.every((f) => {reached})")
        page.resize(1300, 800)
        page.wait_for(f"!{figures}.some((f) => f.hasAttribute('tabindex'))")


def test_a_table_of_sentences_fits_a_narrow_window(tmp_path: Path) -> None:
    words = "wells of a condition differ from plate to plate by more than chance explains"
    frame = pd.DataFrame({"question": [words], "verdict": ["noted"], "found": [words]})
    body = html.table(frame, "What was asked.")
    made = html.page([("v", "Verdicts", body)], made_by="i2r audit", heading="Audit", source="t")
    (tmp_path / "page.html").write_text(made, encoding="utf-8")
    with open_browser(tmp_path) as page:
        page.resize(500, 800)
        page.open((tmp_path / "page.html").as_uri())
        page.wait_for("document.readyState === 'complete'")
        assert page.evaluate(
            "(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.scroll'))"
        )


NETWORK_PROBE = """
const network = document.querySelector("figure.network"), drawing = network.querySelector("svg");
const read = () => drawing.getAttribute("viewBox");
const views = [read()];
network.querySelectorAll("button")[0].click();
views.push(read());
drawing.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
views.push(read());
const wanted = network.querySelector("input");
wanted.value = "m4";
wanted.dispatchEvent(new Event("input"));
views.push(read(), network.querySelector("output").textContent,
  [...network.querySelectorAll(".found")].map((gene) => gene.dataset.gene).join(","));
window.dispatchEvent(new Event("beforeprint"));
views.push(read());
document.title = views.join("|");
"""


def test_networks_are_searched_zoomed_and_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = html.read_text
    script = own("script.js") + NETWORK_PROBE
    monkeypatch.setattr(
        html, "read_text", lambda name: script if name == "script.js" else own(name)
    )
    experiment = run_network(write_tables(tmp_path), tmp_path / "e")
    made = make_page(ReportSource(experiment, ["interactome"]))
    assert not made.problems
    assert "part that is left by cost below which interactions count" in made.content
    assert "part that is left by degree quantile from which genes are left out" in made.content
    opened = open_page(tmp_path, made.content)
    assert find_console_lines(opened.stderr) == []
    title = re.search("<title>([^<]*)</title>", opened.stdout)
    assert title is not None
    whole, zoomed, moved, found, said, names, printed = title[1].split("|")
    assert (whole, printed) == ("0 0 1000 700", "0 0 1000 700")
    places = [[float(x) for x in view.split()] for view in (zoomed, moved, found)]
    assert places[0] == pytest.approx([150, 105, 700, 490])
    assert places[1] == pytest.approx([255, 105, 700, 490])
    assert places[2][2] == pytest.approx(400)
    assert (said, names) == ("1 found", "M4")


def test_of_a_large_network_targets_and_frequent_genes_are_drawn() -> None:
    table = pd.DataFrame(
        {"gene": [f"G{i}" for i in range(1000)], "terminal": [i == 999 for i in range(1000)],
         "frequency": [float(i < 200) for i in range(1000)], "degree": range(1000)}
    )  # fmt: skip
    drawn = choose_drawn(table)["gene"]
    assert len(drawn) == MOST_DRAWN
    assert {"G999", "G0", "G199", "G998"} <= set(drawn)
    assert "G300" not in set(drawn)
