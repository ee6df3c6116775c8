"""A screen of two plates under Snakemake: a rule per plate, one for the screen, resumed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from i2r.testing import describe_pipeline, write_plate
from tests.environments import ROOT, require_environment

MANAGERS = ROOT / "pipelines" / "managers"
I2R = Path(sys.executable).with_name("i2r")


def write_screen(folder: Path) -> dict[str, Any]:
    """Write two plates, one list of images, one layout and the two pipelines."""
    plates = [
        write_plate(folder / name, wells=8, fields=2, plate=name, seed=n)
        for n, name in enumerate(("P1", "P2"))
    ]
    for kind in ("load_data", "layout"):
        both = [pd.read_csv(getattr(plate, kind), dtype=str) for plate in plates]
        pd.concat(both).to_csv(folder / f"{kind}.csv", index=False)
    images = describe_pipeline(plates[0], screen=False)
    images["stages"][0] |= {
        "source": str(folder / "load_data.csv"),
        "layout": str(folder / "layout.csv"),
        "plates": ["@PLATE@"],
    }
    images["stages"].append({"stage": "features"})
    (folder / "images.yaml").write_text(json.dumps(images))
    screen = [
        {
            "stage": "features",
            "method": "import",
            "table": str(folder / "features"),
            "layout": str(folder / "layout.csv"),
        },
        {"stage": "screen", "method": "fast"},
    ]
    (folder / "screen.yaml").write_text(json.dumps({"seed": 0, "stages": screen}))
    config = {"plates": ["P1", "P2"], "images": "images.yaml", "screen": "screen.yaml"}
    (folder / "config.yaml").write_text(json.dumps({**config, "i2r": str(I2R), "threads": 1}))
    return config


def test_the_script_passes_on_all_but_code_3(tmp_path: Path) -> None:
    fake = tmp_path / "i2r"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = errors ] && echo "P1/A01: truncated" && exit 3\nexit $CODE\n'
    )
    fake.chmod(0o755)
    problems = tmp_path / "problems.txt"
    for code, strict, expected in (
        (0, "0", 0), (1, "0", 1), (2, "0", 2), (130, "0", 130), (3, "0", 0), (3, "1", 3),
    ):  # fmt: skip
        problems.write_text("of an earlier run")
        done = subprocess.run(
            [MANAGERS / "run-i2r.sh", "p.yaml", tmp_path / "e", problems, "--array", "3"],
            env={**os.environ, "I2R": str(fake), "CODE": str(code), "I2R_STRICT": strict},
            check=False,
            capture_output=True,
        )
        assert done.returncode == expected
        assert problems.exists() == (code == 3)
    assert problems.read_text() == "P1/A01: truncated\n"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_snakemake_runs_resumes_and_goes_on_with_bad_fields(tmp_path: Path) -> None:
    python = require_environment("snake", ["snakemake-minimal>=9"])
    write_screen(tmp_path)
    (tmp_path / "P2" / "images" / "P2" / "A02_s1_DNA.tif").write_bytes(b"no image")

    def snakemake() -> str:
        done = subprocess.run(
            [
                str(python), "-m", "snakemake", "--snakefile", str(MANAGERS / "Snakefile"),
                "--configfile", "config.yaml", "--cores", "2",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    snakemake()
    ranking = pd.read_csv(tmp_path / "screen.csv")
    assert {"active", "inert"} <= set(ranking["condition"])
    assert "A02" in (tmp_path / "plates" / "P2.problems.txt").read_text()
    assert not (tmp_path / "plates" / "P1.problems.txt").exists()
    assert "Nothing to be done" in snakemake()
    # A plate's result that is gone is made from what its experiment holds.
    ledger = tmp_path / "plates" / "P1" / "ledger"
    before = sorted(ledger.glob("*.jsonl"))
    (tmp_path / "features" / "P1.parquet").unlink()
    (tmp_path / "screen.csv").unlink()
    snakemake()
    assert (tmp_path / "features" / "P1.parquet").exists()
    assert sorted(ledger.glob("*.jsonl")) == before
