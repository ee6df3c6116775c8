"""Result tables: which files hold them, read whole and opened lazily."""

from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from i2r.errors import InputError
from i2r.store import results
from i2r.store.experiment import open_experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.tables import write_table
from tests.report.experiments import ALL, make_experiment


def test_a_lazy_table_is_the_table_and_reads_nothing_on_opening(cropped_original: Path) -> None:
    experiment = open_experiment(str(cropped_original))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        lazy = experiment.lazy_table("segment")
        assert isinstance(lazy, dd.DataFrame)
        assert list(lazy.columns) == list(experiment.table("segment").columns)
        with pytest.raises(AssertionError, match="computed"):
            lazy["label"].compute()
    # Strings are of dask's own type, from Arrow.
    read = lazy.compute(scheduler="sync")
    pd.testing.assert_frame_equal(read, experiment.table("segment"), check_dtype=False)
    chosen = experiment.lazy_table("segment", columns=["well", "label"])
    assert list(chosen.compute(scheduler="sync").columns) == ["well", "label"]
    with pytest.raises(InputError, match="no table 'segments'"):
        experiment.lazy_table("segments")


def test_a_table_that_fills_the_memory_is_warned_of(
    cropped_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = open_experiment(str(cropped_original))
    n_rows = len(experiment.table("segment"))
    monkeypatch.setattr(results, "MANY_ROWS", n_rows // 2)
    with pytest.warns(
        UserWarning, match=r"about .* million rows.*lazy_table\('segment'\)"
    ) as found:
        assert len(experiment.table("segment")) == n_rows
    assert found[0].filename == __file__
    experiment.lazy_table("segment")  # filters make warnings errors here


def test_parts_of_units_that_are_done_are_partitions(tmp_path: Path) -> None:
    """Stages are not complete here, and the first part has no rows."""
    experiment = make_experiment(tmp_path, stages=ALL[:3])
    assert not experiment.ledger.is_merged("segment")
    lazy = experiment.lazy_table("segment")
    assert lazy.npartitions == len(experiment.wells)
    counts = lazy.groupby("well")["label"].count().compute(scheduler="sync")
    assert counts.to_dict() == experiment.table("segment").groupby("well").size().to_dict()


def test_a_table_that_is_never_merged_is_read_from_the_parts_of_its_stage(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, stages=[])
    writer = LedgerWriter(experiment.ledger, 2)
    for stage in ("genes", "genes-two"):
        for seed in (0, 1, 2):
            part = pd.DataFrame({"seed": [seed], "stage": [stage]})
            write_table(experiment.part_url(f"{stage}-seeds", f"seed-{seed}"), part)
        writer.write(stage, "seed-0", "done", "x")
        writer.write(stage, "seed-1", "failed" if stage == "genes" else "done", "x")
    writer.close()
    experiment = open_experiment(experiment.url)
    for _ in range(2):
        assert experiment.table("genes-seeds")["seed"].tolist() == [0]
    two = experiment.table("genes-two-seeds")
    assert (two["seed"].tolist(), set(two["stage"])) == ([0, 1], {"genes-two"})
