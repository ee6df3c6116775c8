"""Every planted leak is flagged, and nothing else; anybody's table is read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from i2r.audit import fakes, screen
from i2r.audit.audit import Audit, audit_wells
from i2r.audit.checks import check_focus
from i2r.audit.explanations import explain_calls
from i2r.audit.screen import make_fakes, prepare_screen
from i2r.audit.wells import Wells, summarise_table
from i2r.cli.group import i2r
from i2r.errors import InputError
from tests.audit.planted import Planted, write_screen


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer fakes and sets of controls: what they are for is measured with all of them below."""
    monkeypatch.setattr(fakes, "FAKE_ROUNDS", 3)
    monkeypatch.setattr(fakes, "SIZES", (1.0, 10.0))
    monkeypatch.setattr(screen, "DRAWS", 80)


def read(folder: Path, name: str = "cells.parquet") -> Wells:
    return summarise_table(str(folder / name), str(folder / "layout.csv"), names={}, roles={})


def audit_screen(folder: Path, planted: Planted, *, seed: int = 0) -> Audit:
    return audit_wells(read(write_screen(folder, planted, seed=seed)))


def verdicts(audit: Audit) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in audit.findings}


LEAKS = {
    "places": Planted(gradient=0.3),
    "controls": Planted(outer_controls=True, edge=0.6),
    "counts": Planted(toxic=10, crowding=0.4),
    "plates": Planted(scale=0.5),
    "stray_wells": Planted(stray=0.04),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_flagged(name: str, tmp_path: Path) -> None:
    assert name in audit_screen(tmp_path, LEAKS[name]).leaks


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_flagged_where_nothing_is_planted(seed: int, tmp_path: Path) -> None:
    audit = audit_screen(tmp_path, Planted(), seed=seed)
    assert audit.leaks == []
    assert verdicts(audit)["plates"] == "noted", "plates differ, which their controls take out"
    assert set(audit.conditions.loc[audit.conditions["fdr"] < 0.05, "condition"]) >= {"C00", "C01"}
    assert (audit.conditions.loc[audit.conditions["fdr"] < 0.05, "word"] == "own").all()


def test_fakes_are_called_by_tests_that_take_nuclei_for_independent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "FAKE_ROUNDS", 8)
    audit = audit_screen(tmp_path, Planted())
    shares = audit.methods.set_index("method")["p < 0.05"]
    assert shares.filter(like="i2r").item() <= 0.12
    assert shares.filter(like="nuclei permuted").item() >= 0.3
    assert audit.methods["fakes"].min() >= 20
    power = audit.power["p < 0.05"].to_numpy()
    assert power[0] < 0.5 < 0.9 < power[-1]


def test_a_condition_that_acts_by_its_count_alone_is_named_so(tmp_path: Path) -> None:
    audit = audit_screen(tmp_path, Planted(toxic=8, crowding=0.6, active=3))
    rows = audit.conditions.set_index("condition")
    toxic = [f"C{k:02d}" for k in range(3, 11)]
    assert (rows.loc[toxic, "count_p"] < 1e-4).all()
    assert (rows.loc[toxic, "log2_count"] < -1).all()
    called = rows[rows["word"] != ""]
    assert set(called.loc[called["word"] == "count"].index) >= set(toxic) & set(called.index)
    assert (called.loc[called.index.isin(["C00", "C01", "C02"]), "word"] == "own").all()


def test_calls_that_come_from_focus_alone_are_named_so(tmp_path: Path) -> None:
    """Six conditions lie out of focus, which changes what is measured of their nuclei."""
    folder = write_screen(tmp_path, Planted(active=3))
    layout = pd.read_csv(folder / "layout.csv")
    cells = pd.read_parquet(folder / "cells.parquet")
    keys = pd.MultiIndex.from_frame(layout[["plate", "well"]])
    blurred = [f"C{k:02d}" for k in range(10, 16)]
    random = np.random.default_rng(0)
    sharp = 0.2 * random.standard_normal(len(layout))
    sharp = pd.Series(sharp - 1.5 * layout["perturbation"].isin(blurred).to_numpy(), index=keys)
    own = sharp.loc[pd.MultiIndex.from_frame(cells[["Metadata_Plate", "Metadata_Well"]])].to_numpy()
    features = [name for name in cells if name.startswith("Cells_")]
    cells[features] += 0.8 * own[:, None] * random.standard_normal(len(features))
    cells["ImageQuality_PowerLogLogSlope_DNA"] = own - 2
    cells.to_parquet(folder / "cells.parquet")
    made = prepare_screen(read(folder))
    p_values = screen.judge_conditions(made)
    words = {made.conditions[k]: word for k, word in explain_calls(made, p_values).items()}
    assert [words.get(name) for name in ("C00", "C01", "C02")] == ["own"] * 3
    assert sum(words.get(name) == "focus" for name in blurred) >= 5
    finding = check_focus(made, {made.conditions.index(name): word for name, word in words.items()})
    assert finding.verdict == "leak"
    assert "the table does not tell the DNA content" in finding.words
    without = made._replace(names=tuple(f"F{k}" for k in range(len(made.names))))
    assert check_focus(without, {}).verdict == "open"


def test_controls_in_columns_of_their_own_are_open_where_nothing_shows(tmp_path: Path) -> None:
    audit = audit_screen(tmp_path, Planted(outer_controls=True))
    (finding,) = (f for f in audit.findings if f.name == "controls")
    assert finding.verdict == "open"
    assert "Controls sit in columns 1, 12 only" in finding.words


def test_profiles_of_wells_say_what_they_can(tmp_path: Path) -> None:
    folder = write_screen(tmp_path, Planted(gradient=0.3))
    cells = pd.read_parquet(folder / "cells.parquet")
    wells = cells.groupby(["Metadata_Plate", "Metadata_Well"], as_index=False).median()
    wells.to_csv(folder / "wells.csv", index=False)
    audit = audit_wells(read(folder, "wells.csv"))
    assert "places" in audit.leaks
    assert verdicts(audit)["counts"] == "open"
    assert "energy_nuclei_p" not in audit.conditions
    assert audit.summary["rows_are"] == "wells"


def test_sums_are_those_of_the_rows_in_any_order(tmp_path: Path) -> None:
    folder = write_screen(tmp_path, Planted(plates=2))
    cells = pd.read_parquet(folder / "cells.parquet")
    cells.sample(frac=1, random_state=0).to_csv(folder / "mixed.csv", index=False)
    wells = read(folder, "mixed.csv")
    by = cells.groupby(["Metadata_Plate", "Metadata_Well"])
    names = list(wells.features)
    index = pd.MultiIndex.from_frame(wells.table[["plate", "well"]])
    np.testing.assert_allclose(wells.means, by[names].mean().loc[index], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(wells.variances, by[names].var().loc[index], rtol=1e-3)
    np.testing.assert_array_equal(wells.counts, by.size().loc[index])
    assert np.bincount(wells.sample_well).max() == 40


def test_fakes_are_made_of_controls_and_leave_some(tmp_path: Path) -> None:
    made = prepare_screen(read(write_screen(tmp_path, Planted())))
    labels = make_fakes(made, seed=0)
    assert labels is not None
    is_fake = labels >= len(made.conditions)
    assert made.is_control[is_fake].all()
    assert (labels[~made.is_control] == made.which[~made.is_control]).all()
    for fake in np.unique(labels[is_fake]):
        assert sorted(made.plates[labels == fake]) == [0, 1, 2, 3]
    assert np.bincount(made.plates[labels < 0]).min() >= 12


def call(*arguments: object) -> Result:
    return CliRunner().invoke(i2r, [str(a) for a in arguments], terminal_width=200)


def test_the_command_writes_a_page_a_table_and_json(tmp_path: Path) -> None:
    folder = write_screen(tmp_path, Planted(gradient=0.3, plates=3))
    given = ("audit", folder / "cells.parquet", "--layout", folder / "layout.csv")
    result = call(*given, "-o", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "LEAK" in result.output
    found = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert "places" in found["leaks"]
    assert found["summary"]["conditions"] == 40
    assert len(pd.read_csv(tmp_path / "a" / "conditions.csv")) == 40
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "Places on the plate" in page
    assert "http" not in page.partition("<body>")[2]
    again = call(*given, "-o", tmp_path / "a")
    assert "will be replaced" in str(again.exception)
    printed = call(*given, "--json")
    assert json.loads(printed.output[printed.output.index("{") :])["leaks"] == found["leaks"]


def test_wrong_input_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    folder = write_screen(tmp_path, Planted(plates=2))
    layout = pd.read_csv(folder / "layout.csv")
    layout.assign(plate="other").drop_duplicates("well").to_csv(folder / "other.csv", index=False)
    result = call(
        "audit", folder / "cells.parquet", "--layout", folder / "other.csv", "-o", tmp_path / "a"
    )
    assert isinstance(result.exception, InputError)
    assert "plate 'other' has no row" in str(result.exception)
    assert not (tmp_path / "a").exists()
    missing = call("audit", folder / "none.csv", "--layout", folder / "layout.csv")
    assert "no such file" in str(missing.exception)
