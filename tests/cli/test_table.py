"""The command table: what fits, what is chosen, and what a script gets."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.cli.table import gather_rows, lay_out, select_rows
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


@pytest.mark.parametrize("where", [(), ("n>1",), ("score!=",)])
@pytest.mark.parametrize("sort", [None, "n", "-n", "-score"])
@pytest.mark.parametrize("rows", [0, 1, 2, 9])
def test_a_table_in_parts_gives_the_rows_of_the_whole(
    where: tuple[str, ...], sort: str | None, rows: int
) -> None:
    parts = [FRAME[:0], FRAME[:1], FRAME[1:2], FRAME[2:]]
    found, n_rows = gather_rows(parts, where, sort, "screen", rows=rows)
    whole = select_rows(FRAME, where, sort, "screen")
    wanted = whole.head(rows) if rows else whole
    pd.testing.assert_frame_equal(found.reset_index(drop=True), wanted.reset_index(drop=True))
    assert n_rows in ((None, len(whole)) if rows and not where and not sort else (len(whole),))


def test_rows_behind_those_that_are_shown_are_not_read() -> None:
    def read() -> Iterator[pd.DataFrame]:
        yield FRAME
        yield FRAME
        pytest.fail("read on")

    found, n_rows = gather_rows(read(), (), None, "screen", rows=3)
    assert (len(found), n_rows) == (3, None)


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


def test_a_table_of_many_row_groups_is_read_group_by_group(
    cli: Cli, cropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from i2r.store import tables
    from i2r.store.experiment import open_experiment

    copy = shutil.copytree(cropped, tmp_path / "e")
    experiment = open_experiment(str(copy))
    whole = experiment.table("segment")
    url = experiment.table_url("segment", "P1")
    monkeypatch.setattr(tables, "GROUP_BYTES", 2000)
    with tables.Parts(url) as parts:
        for first in range(0, len(whole), 10):
            parts.add(whole[first : first + 10])
    assert len(list(tables.iterate_table(url))) > 3
    assert tables.count_rows(url) == len(whole)
    code, said = cli("table", copy, "segment", "--rows", 7)
    assert code == 0
    assert f"... {len(whole) - 7} more rows" in said
    target = tmp_path / "t.csv"
    assert cli("table", copy, "segment", "--csv", target)[0] == 0
    assert len(pd.read_csv(target)) == len(whole)
    code, said = cli("table", copy, "segment", "--sort", "-area_px", "--rows", 1, "--json")
    assert json.loads(said)[0]["area_px"] == whole["area_px"].max()


def test_a_csv_of_parts_is_aligned_and_never_half_written(
    cli: Cli, cropped: Path, tmp_path: Path
) -> None:
    import shutil

    from i2r.store import tables
    from i2r.store.experiment import open_experiment

    copy = shutil.copytree(cropped, tmp_path / "e")
    experiment = open_experiment(str(copy))
    whole = experiment.table("segment")
    url = experiment.table_url("segment", "P1")
    # A second file of the table that has its columns in another order, without one, with another.
    other = whole[whole.columns[::-1]].drop(columns="area_um2").assign(added=1)
    tables.write_table(experiment.table_url("segment", ""), other)
    target = tmp_path / "t.csv"
    for given in (["table", copy, "segment", "--csv", target],
                  ["export", copy, "--format", "csv", "--name", "segment", "-o", target, "--yes"]):  # fmt: skip
        assert cli(*given)[0] == 0
        written = pd.read_csv(target)
        expected = experiment.table("segment")
        assert len(expected) == 2 * len(whole)
        assert written["area_px"].tolist() == expected["area_px"].tolist()
        assert written["added"].isna().sum() == written["area_um2"].isna().sum() == len(whole)
    before = target.read_bytes()
    Path(url).write_bytes(Path(url).read_bytes()[:-2000])
    assert cli("table", copy, "segment", "--csv", target, "--yes")[0] != 0
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))
