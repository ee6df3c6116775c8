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
from tests.report.experiments import ALL, make_experiment


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


def test_tables_hold_numbers_as_they_are() -> None:
    frame = pd.DataFrame({"name": ["x, y", 'q"'], "value": [1234.56789, np.nan]})
    body = str(html.table(frame, "words"))
    (file,) = list_files([("part", "Part", body)])
    assert file.path == "part/01-table.csv"
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
