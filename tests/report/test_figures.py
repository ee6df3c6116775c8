"""Figures and tables as files: they open by themselves and hold what the page shows."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from i2r.report import html
from i2r.report.figures import list_files
from i2r.report.page import make_page
from i2r.report.source import ReportSource
from tests.report.experiments import ALL, BOXES, make_experiment


def test_every_figure_of_a_report_opens_by_itself(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, names={"drug": "a <b> & 'c'"})
    page = make_page(ReportSource(experiment, ALL))
    found = {file.path: file.data for file in list_files(page.sections)}
    kinds = {path.rpartition(".")[2] for path in found}
    assert kinds == {"svg", "png", "csv"}
    for path, data in found.items():
        assert path.replace("/", "").replace("-", "").replace(".", "").isalnum()
        if path.endswith(".svg"):
            assert ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        elif path.endswith(".png"):
            Image.open(io.BytesIO(data)).verify()
        else:
            assert len(pd.read_csv(io.BytesIO(data)))
    assert page.content.count("<svg") == sum(path.endswith(".svg") for path in found)
    ranking = next(
        data for path, data in found.items() if path.startswith("ranking/") and b"AUC" in data
    )
    table = pd.read_csv(io.BytesIO(ranking))
    assert "a <b> & 'c'@1" in set(table["condition"])


def test_pictures_of_nuclei_and_fields_say_where_they_are_from(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, stages=[*ALL, "screen-fast"], scores={"drug@2": 0.4})
    experiment_source = ReportSource(experiment, [*ALL, "screen-fast"], gallery_nuclei=4)
    screens = pd.read_parquet(experiment.table_url("screen-fast-statistics"))
    screens.assign(method="fast").to_parquet(experiment.table_url("screen-fast-statistics"))
    page = make_page(experiment_source)
    assert not page.problems
    behind = {(section, name): table for section, name, table in page.tables}

    nuclei = behind["gallery", "crop-gfp nuclei shown"]
    assert nuclei["condition"].iloc[0] == "negative control"
    assert (nuclei.groupby("condition")["place"].max() == 4).all()
    scores = nuclei.drop_duplicates("condition").set_index("condition")["score"]
    assert scores["drug@1"] == pytest.approx(0.95)
    assert np.isnan(scores["negative control"])
    second = nuclei[(nuclei["well"] == "A03") & (nuclei["label"] == 2)].iloc[0]
    (y0, x0, y1, x1) = BOXES[1]
    assert (second["y_px"], second["x_px"]) == ((y0 + y1) / 2, (x0 + x1) / 2)
    assert (second["plate"], second["condition"]) == ("P1", "drug@1")

    fields = behind["segmentation", "segment fields shown"]
    assert {"best", "worst"} <= set(fields["shown as"])
    assert (fields["nuclei"] == len(BOXES)).all()
    assert (fields["crops"] == len(BOXES) - 1).all()

    compared = behind["comparison", "screen-gfp and screen-fast"].set_index("condition")
    assert compared.loc["drug@2", "score in screen-gfp"] == pytest.approx(0.4)
    assert "Scores in screen-gfp against scores in screen-fast" in page.content


def test_tables_hold_numbers_as_they_are() -> None:
    frame = pd.DataFrame({"name": ["x, y", 'q"'], "value": [1234.56789, np.nan]})
    body = str(html.table(frame, "Words of 'a' table: its columns."))
    (file,) = list_files([("part", "Part", body)])
    assert file.path == "part/01-words-of-a-table.csv"
    read = pd.read_csv(io.BytesIO(file.data))
    pd.testing.assert_frame_equal(read, frame)


@pytest.mark.parametrize(
    "words", ["", "../../etc", "A" * 300, "&lt;b&gt; \N{GREEK SMALL LETTER MU}m"]
)
def test_names_are_names(words: str) -> None:
    body = f'<svg viewBox="0 0 1 1" aria-label="{words}"><text>1</text></svg>'
    (file,) = list_files([("part", "Part", body)])
    name = file.path.removeprefix("part/01-").removesuffix(".svg")
    assert 0 < len(name) <= 60
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
