"""What status says while a run works on an experiment."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from i2r.pipeline.current_run import estimate_left, find_current_run
from i2r.store.experiment import open_experiment
from i2r.store.ledger import LedgerWriter
from i2r.store.lock import RunLock

Cli = Callable[..., tuple[int, str]]


def test_time_left_is_that_of_the_units_that_wait() -> None:
    states = {
        "convert": Counter({"done": 4}), "segment": Counter({"done": 2, "to do": 5, "interrupted": 1}),
        "crop": Counter({"to do": 8}),
    }  # fmt: skip
    seconds = {"convert": [1.0] * 4, "segment": [2.0, 4.0]}
    assert estimate_left(states, seconds, slots=3) == (6.0, ("crop",))
    assert estimate_left({"convert": states["convert"]}, seconds, slots=1) == (0.0, ())


def test_a_run_under_way_is_told_with_its_failures(cli: Cli, cropped: Path) -> None:
    assert find_current_run(open_experiment(str(cropped)), {}) is None
    with RunLock(str(cropped), command="i2r run p.yaml e"):
        experiment = open_experiment(str(cropped))
        number = experiment.ledger.last_run + 1
        record = json.loads((cropped / "runs" / "000001.json").read_text())
        record = {k: v for k, v in record.items() if k != "finished_s"} | {"run": number}
        (cropped / "runs" / f"{number:06d}.json").write_text(json.dumps(record))
        writer = LedgerWriter(experiment.ledger, number)
        writer.write("crop", "P1/A01", "done", "x", seconds=2.0)
        writer.write("crop", "P1/A02", "failed", "x", error="broken")
        writer.write("crop", "P1/A03", "start", "x")
        writer.close()
        code, said = cli("status", cropped)
        assert code == 0
        assert "under way" in said
        line = next(text for text in said.splitlines() if text.startswith("running since "))
        assert f"i2r run p.yaml e (process {os.getpid()} on " in line
        assert "1 units done, 1 failed (see 'i2r errors'), 1 under way; about " in line
        running = json.loads(cli("status", cropped, "--json")[1])["running"]
        assert (running["done"], running["failed"], running["running"]) == (1, 1, 1)
    assert "running" not in cli("status", cropped)[1]
    assert json.loads(cli("status", cropped, "--json")[1])["running"] is None


def test_an_experiment_of_an_earlier_version_is_still_read(cli: Cli, cropped: Path) -> None:
    """Its table of image files lacks what newer readers say of files."""
    path = cropped / "sources.parquet"
    table = pd.read_parquet(path)
    newer = [name for name in ("problem", "inverted", "factor") if name in table]
    assert newer
    table.drop(columns=newer).to_parquet(path)
    code, said = cli("status", cropped, "--json")
    assert code == 0, said
    assert {row["stage"]: row["done"] for row in json.loads(said)["stages"]}["convert"] == 9
