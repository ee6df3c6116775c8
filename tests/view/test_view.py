"""The local page: read only, for those who know its address, and right in a real browser."""

import http.client
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from i2r.errors import InputError
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.ledger import LedgerWriter
from i2r.view.channels import find_channels
from i2r.view.live import LiveExperiment
from i2r.view.questions import Picture, answer
from tests.browser import BROWSER, Page, open_browser
from tests.report.experiments import BOXES, SIZE, make_experiment
from tests.stages.profiled import lay_out, write_features

EVIL = "<img src=x onerror=\"document.title='hurt'\">"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    made = make_experiment(tmp_path_factory.mktemp("view"), names={"known": EVIL})
    moved = pd.DataFrame(
        {"condition": ["drug@4", "drug@4", "drug@2"], "place": [1, 2, 1],
         "feature": ["shell_1_GFP", "mean_DNA", "area_um2"], "change": [-5.0, 3.0, 2.0],
         "low": [-6.0, 2.0, 1.0], "high": [-4.0, 4.0, 3.0]}
    )  # fmt: skip
    tables.write_table(made.table_url("screen-gfp-features"), moved)
    return made


@pytest.fixture(scope="module")
def live(experiment: Experiment) -> LiveExperiment:
    return LiveExperiment(experiment.url)


def start(experiment: Experiment) -> tuple[subprocess.Popen[str], str]:
    """Start the command; give it and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "i2r", "view", experiment.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="module")
def address(experiment: Experiment) -> Iterator[str]:
    process, printed = start(experiment)
    yield printed
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0  # Ctrl-C is how it ends
    assert process.stdout is not None
    process.stdout.close()


def fetch(address: str, path: str, *, method: str = "GET", host: str = "") -> tuple[int, bytes]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request(method, path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


# ----------------------------------------------------------------------------- the server


def test_nobody_without_the_address_is_let_in(address: str) -> None:
    token = urlsplit(address).path
    assert fetch(address, token)[0] == 200
    for path in ("/", "/wrong/", "/wrong/ask/about", token[:-2] + "/ask/about"):
        assert fetch(address, path)[0] in (403, 404), path
    assert fetch(address, f"{token}ask/about", host="evil.example")[0] == 403
    assert fetch(address, f"{token}ask/about", host="localhost:1")[0] == 200
    assert urlsplit(address).hostname == "127.0.0.1"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(address: str, method: str) -> None:
    assert fetch(address, f"{urlsplit(address).path}ask/about", method=method)[0] == 405


@pytest.mark.parametrize(
    "question",
    [
        "field?key=../../../etc/passwd&field=1", "field?key=P1/A01&field=../../../../x",
        "outlines?key=P1/A01&field=1&segment=../convert", "crops?crop=../x&nuclei=P1/A01~0",
        "crops?nuclei=P1/A01~99999", "crops?nuclei=P1/A01~x", "plate?plate=../P1",
        "plate?plate=P1&measure=mean|../../x|y", "nucleus?key=P1/A01&index=99", "nothing",
        "field?key=P1/A01&field=1&black=nan", "nearest?key=P1/A01&index=0&space=../x", "crops",
    ],
)  # fmt: skip
def test_names_are_compared_and_never_taken_as_paths(address: str, question: str) -> None:
    status, body = fetch(address, f"{urlsplit(address).path}ask/{quote(question, safe='?=&')}")
    is_picture = question.startswith(("field", "outlines", "crops"))
    assert status == (404 if is_picture else 200)
    assert list(json.loads(body)) == ["error"]


def test_files_beside_the_page_are_not_served(address: str) -> None:
    for name in ("../server.py", "%2e%2e/server.py", "index.html", "experiment.json"):
        assert fetch(address, urlsplit(address).path + name)[0] in (403, 404)


def test_a_taken_port_is_an_error_in_one_line(address: str, experiment: Experiment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "i2r", "view", experiment.url, "--port", str(urlsplit(address).port)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: --port")
    assert len(done.stderr.splitlines()) == 1


# ----------------------------------------------------------------------------- what it says


def values(live: LiveExperiment, name: str, **given: str) -> dict[str, Any]:
    found = answer(live, name, given)
    assert isinstance(found, dict)
    json.dumps(found, allow_nan=False)
    return found


def picture(live: LiveExperiment, name: str, **given: str) -> np.ndarray:
    found = answer(live, name, given)
    assert isinstance(found, Picture)
    return np.asarray(Image.open(io.BytesIO(found.data)))


def test_plates_are_coloured_by_any_measure(live: LiveExperiment) -> None:
    about = values(live, "about")
    names = {choice["id"] for choice in about["measures"]}
    assert {"well|Nuclei", "well|Focus, DNA", "mean|segment|label", "layout|dose"} <= names | {"mean|segment|label"}  # fmt: skip
    for name in names:
        found = values(live, "plate", plate="P1", measure=name)
        assert len(found["wells"]) == 7
    nuclei = {w["well"]: w["value"] for w in values(live, "plate", plate="P1", measure="well|Nuclei")["wells"]}  # fmt: skip
    assert nuclei["A01"] == 2 * len(BOXES)
    assert nuclei["B03"] == 0


def test_hits_are_the_ranking_and_conditions_have_wells(live: LiveExperiment) -> None:
    hits = values(live, "hits")
    assert hits["screen"] == "screen-gfp"
    assert {"condition", "score"} <= set(hits["columns"])
    assert EVIL in {row["condition"] for row in hits["rows"]}
    told = values(live, "condition", condition="drug@2")
    assert [well["key"] for well in told["wells"]] == ["P1/A04"]
    with pytest.raises(InputError, match="no condition 'x'"):
        answer(live, "condition", {"condition": "x"})


def test_crops_fields_and_outlines_are_what_was_written(live: LiveExperiment) -> None:
    found = values(live, "nuclei", key="P1/A03", crop="crop-gfp", count="5")
    assert (found["total"], len(found["nuclei"])) == (8, 5)
    asked = " ".join(f"{quote(n['key'], safe='')}~{n['crop']}" for n in found["nuclei"])
    window = found["contrast"][1]
    sheet = picture(
        live, "crops", crop="crop-gfp", nuclei=asked, channel="GFP",
        black=str(window["black"]), white=str(window["white"]),
    )  # fmt: skip
    assert sheet.shape == (SIZE, 5 * SIZE)
    assert sheet[:, :SIZE].max() == 255
    well = values(live, "well", key="P1/A03")
    assert [field["nuclei"] for field in well["fields"]] == [5, 5]
    assert picture(live, "field", key="P1/A03", field="1", channel="DNA").shape == (60, 80)
    outlines = picture(live, "outlines", key="P1/A03", field="1", crop="crop-gfp", index="1")
    y0, x0, y1, x1 = BOXES[1]
    assert outlines[y0, x0] == 2  # the chosen nucleus
    assert outlines[BOXES[0][0], BOXES[0][1]] == 1
    assert outlines[(y0 + y1) // 2, (x0 + x1) // 2] == 0
    hit = values(
        live, "at", key="P1/A03", field="1", crop="crop-gfp",
        y=str((y0 + 2) / 60), x=str((x0 + 2) / 80),
    )  # fmt: skip
    assert hit == {"label": 2, "crop": 1}
    # The nucleus at the border has no crop.
    y0, x0, *_ = BOXES[-1]
    hit = values(live, "at", key="P1/A03", field="1", y=str((y0 + 2) / 60), x=str((x0 + 2) / 80))
    assert hit == {"label": 5, "crop": None}


def test_plates_of_any_name_are_found_again(tmp_path: Path) -> None:
    plate = "P 1%~é,#?&"
    made = make_experiment(tmp_path, plates=[plate], stages=["convert", "segment", "crop-gfp"])
    live = LiveExperiment(made.url)
    (first, *_) = values(live, "nuclei", key=f"{plate}/A01", count="3")["nuclei"]
    asked = f"{quote(first['key'], safe='')}~{first['crop']}"
    assert picture(live, "crops", nuclei=f"{asked} {asked}").shape == (SIZE, 2 * SIZE)
    assert len(values(live, "plate", plate=plate, measure="well|Nuclei")["wells"]) == 7


@pytest.mark.parametrize(
    ("feature", "found"),
    [("mean_GFP", ["GFP"]), ("area_um2", []), ("Nuclei_Correlation_K_DNA_GFP", ["DNA", "GFP"]),
     ("mean_ER_2", ["ER_2"]), ("mean_ER", ["ER"]), ("meanDNA", []), ("DNA-DNA", ["DNA"])],
)  # fmt: skip
def test_features_name_their_channels_as_whole_words(feature: str, found: list[str]) -> None:
    assert find_channels(feature, ["DNA", "GFP", "ER", "ER_2"]) == found


def test_nuclei_are_shown_in_the_channel_that_moved(live: LiveExperiment) -> None:
    def find(**given: str) -> str:
        return str(values(live, "nuclei", **given)["moved_channel"])

    assert find(condition="drug@4") == "GFP"
    assert find(condition="drug@2") == "DNA"  # an area is one of the channel that was segmented
    assert values(live, "well", key="P1/B01")["moved_channel"] == "GFP"  # it holds drug@4


def test_an_empty_well_has_no_nuclei(live: LiveExperiment) -> None:
    found = values(live, "nuclei", key="P1/B03", crop="crop-gfp")
    assert found["nuclei"] == []


def test_the_nearest_nuclei_are_those_of_the_same_kind(tmp_path: Path) -> None:
    def shift(name: str, nuclei: np.ndarray) -> np.ndarray:
        return nuclei + 30.0 * (name == "odd")

    contents = {f"P{n}": ["odd", "plain", "other", "ctrl", "ctrl"] for n in (1, 2)}
    made = write_features(tmp_path, lay_out(contents), change=shift)
    live = LiveExperiment(made.url)
    found = values(live, "nearest", space="features", key="P1/A01", index="3", count="70")
    kinds = [item["condition"] for item in found["nuclei"]]
    # 40 nuclei per well: 39 others of this well, 40 of the other plate's.
    assert set(kinds) == {"odd"}
    assert (found["n_nuclei"], found["n_plates"]) == (400, 2)
    assert ("P1/A01", 3) not in {(n["key"], n["crop"]) for n in found["nuclei"]}
    distances = [item["distance"] for item in found["nuclei"]]
    assert distances == sorted(distances)


def test_what_a_run_adds_shows_without_a_new_start(tmp_path: Path) -> None:
    made = write_features(tmp_path, lay_out({"P1": ["a", "ctrl", "ctrl"]}))
    now = [0.0]
    live = LiveExperiment(made.url, clock=lambda: now[0])
    assert values(live, "about")["segments"] == []
    writer = LedgerWriter(made.ledger, 2)
    writer.write("segment", "P1/A01", "done", "x", result={"nuclei": 7})
    writer.flush()
    assert values(live, "version")["version"] == 1  # looked at once a second at most
    now[0] = 2.0
    assert values(live, "version")["version"] == 2
    assert "segment" in values(live, "about")["segments"]
    writer.close()


# ----------------------------------------------------------------------------- in a browser


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser(address: str, tmp_path: Path) -> None:
    with open_browser(tmp_path) as page:
        page.resize(1280, 900)
        page.open(address)
        page.wait_for("document.documentElement?.dataset.ready")
        _choose_a_hit_by_its_row(page)
        _keep_and_go_back(page)
        _choose_by_keys(page)
        page.open(f"{address}?{urlencode({'condition': EVIL, 'key': 'P1/B02', 'index': '0', 'crop': 'crop-gfp', 'channel': 'GFP'})}")  # fmt: skip
        page.wait_for("document.querySelector('#nucleus h2')")
        page.wait_for("document.querySelector('#condition h2')?.textContent.includes('onerror')")
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert page.evaluate("document.title").startswith("experiment ")
        assert page.evaluate("document.querySelector('#channel').value") == "GFP"
        page.wait_for("[...document.images].length === 2 && [...document.images].every((i) => i.complete && i.naturalWidth > 0)")  # fmt: skip
        assert page.complaints == []


def _choose_a_hit_by_its_row(page: Page) -> None:
    """Filter the table, click a row, see nuclei."""
    page.evaluate("(() => { const f = document.querySelector('#filter'); f.value = 'drug@4'; f.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.wait_for("document.querySelectorAll('#hits tbody tr').length === 1")
    page.evaluate("document.querySelector('#hits tbody tr').click()")
    page.wait_for("document.querySelectorAll('#condition .nuclei button').length > 0")
    assert "condition=drug%404" in page.evaluate("location.search")
    assert "drug@4" in page.evaluate("document.querySelector('#condition h2').textContent")
    # It moved in GFP, so that is the channel, until another is chosen.
    assert page.evaluate("document.querySelector('#channel').value") == "GFP"
    assert "channel=GFP" in page.evaluate(
        "document.querySelector('#condition .nuclei').dataset.sheet"
    )


def _keep_and_go_back(page: Page) -> None:
    """Click a well: the address follows; going back shows what was there before."""
    page.wait_for("!!document.querySelector('#condition .chips button')")
    page.evaluate("document.querySelector('#condition .chips button').click()")
    page.wait_for("location.search.includes('key=P1%2FB01')")
    page.wait_for("document.querySelector('#well .field img')")
    page.evaluate("history.back()")
    page.wait_for("!location.search.includes('key=')")
    page.wait_for("document.querySelector('#well').childElementCount === 0")


def _choose_by_keys(page: Page) -> None:
    """Arrows go from well to well and from row to row; what is chosen keeps the focus."""
    assert page.evaluate("document.querySelectorAll('#map rect[tabindex=\"0\"]').length") == 1
    page.evaluate("document.querySelector('#map rect[data-key=\"P1/A01\"]').focus()")
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    page.wait_for("location.search.includes('key=P1%2FB02')")
    page.wait_for("document.activeElement.dataset.key === 'P1/B02'")
    page.evaluate("(() => { const f = document.querySelector('#filter'); f.value = ''; f.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.wait_for("document.querySelectorAll('#hits tbody tr').length > 1")
    page.evaluate("document.querySelector('#hits tbody tr').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown")
    second = page.evaluate("document.querySelectorAll('#hits tbody tr')[1].dataset.name")
    assert page.evaluate("document.activeElement.dataset.name") == second
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter")
    page.wait_for("document.querySelector('tr[aria-selected=true]')?.tabIndex === 0")
    assert page.evaluate("document.activeElement.dataset.name") == second
    # A heading holds a button, which both keys press, and which keeps the focus.
    page.evaluate("document.querySelector('#hits thead button').focus()")
    for key, text, code, order in (("Enter", "\r", 13, "ascending"), (" ", " ", 32, "descending")):
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=key, text=text,
                      windowsVirtualKeyCode=code)  # fmt: skip
        page.wait_for(f"document.querySelector('#hits th[aria-sort={order}]') !== null")
        page.wait_for("document.activeElement.closest('#hits th[aria-sort]') !== null")
