"""The command table: what fits, what is chosen, and what a script gets."""

import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.cli.table import lay_out, select_rows
from i2r.errors import InputError

Cli = Callable[..., tuple[int, str]]
FRAME = pd.DataFrame(
    {
        "well": ["A01", "A02", "A03", "A04"],
        "score": [0.5, 0.91234567, np.nan, 0.7],
        "n": [3, 1, 2, 2],
        "hit": [False, True, False, True],
        "gene": ["TP53", "", "NA", None],
    }
)


def wells(*where: str, sort: str | None = None) -> list[str]:
    return list(select_rows(FRAME, where, sort, "screen")["well"])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("score>0.6",), "A02 A04"),
        (("score >= 0.7",), "A02 A04"),
        (("n!=2",), "A01 A02"),
        (("n=2", "hit=true"), "A04"),
        (("hit=no",), "A01 A03"),
        (("well=A03",), "A03"),
        (("well>'A02'",), "A03 A04"),
        (("gene=NA",), "A03"),
        (("gene=",), "A02 A04"),
        (("gene!=",), "A01 A03"),
        (("score=",), "A03"),
        (("score!=0.5",), "A02 A04"),
    ],
)
def test_conditions_compare(where: tuple[str, ...], expected: str) -> None:
    assert wells(*where) == expected.split()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("scor>0.6", "Did you mean 'score'"),
        ("score>high", "expected a number"),
        ("score>", "no value"),
        ("hit=maybe", "expected true or false"),
        ("score", "expected COLUMN=VALUE"),
        ("__import__('os').system('x')=1", "no column"),
    ],
)
def test_conditions_that_make_no_sense_are_a_line(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        wells(where)
    assert len(str(error.value).splitlines()) == 1


def test_rows_are_sorted_either_way_with_missing_last() -> None:
    assert wells(sort="score") == ["A01", "A04", "A02", "A03"]
    assert wells(sort="-score") == ["A02", "A04", "A01", "A03"]
    assert wells(sort="n") == ["A02", "A03", "A04", "A01"], "equal ones stay in order"


@pytest.mark.parametrize("width", [1, 5, 12, 20, 30, 200])
def test_columns_fit_and_the_others_are_named(width: int) -> None:
    lines, left_out = lay_out(FRAME, width)
    assert len(lines) == 5
    assert all(line.strip() for line in lines), "never blank"
    assert max(map(len, lines)) <= max(width, 4)
    shown = lines[0].split()
    assert [*shown, *left_out] == list(FRAME.columns) or width < 4
    if width == 200:
        assert left_out == []
        assert lines[2].split() == ["A02", "0.9123", "1", "True"]


def test_long_texts_and_line_breaks_stay_in_their_row() -> None:
    frame = pd.DataFrame({"message": ["a\nb" + "x" * 100], "n": [1]})
    lines, left_out = lay_out(frame, 60)
    assert len(lines) == 2
    assert lines[1].startswith("a bxxx")
    assert "…" in lines[1]
    assert left_out == []


def test_the_command_takes_them_all(cli: Cli, cropped: Path) -> None:
    code, said = cli(
        "table", cropped, "crop", "--where", "label<=2", "--sort", "-label", "--columns",
        "well, label", "--rows", 3,
    )  # fmt: skip
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["well", "label"]
    assert [line.split()[1] for line in lines[1:4]] == ["2", "2", "2"]
    assert "more rows" in lines[4]
    code, said = cli("table", cropped, "crop", "--columns", "wel")
    assert code == 2
    assert "Did you mean 'well'" in said
    code, said = cli("table", cropped, "crop", "--json", "--rows", "2")
    assert [set(row) >= {"plate", "well", "label"} for row in json.loads(said)] == [True, True]
    assert "layout" in json.loads(cli("table", cropped, "--json")[1])


def test_standard_output_gets_the_whole_table(cropped: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "i2r", "table", str(cropped), "crop", "--csv", "-"],
        check=True, capture_output=True, text=True, env={"COLUMNS": "20"},
    )  # fmt: skip
    table = pd.read_csv(StringIO(done.stdout))
    assert len(table) > 40
    assert list(table["plate"].unique()) == ["P1"]
