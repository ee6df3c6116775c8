"""``i2r doctor --warm`` compiles ahead; without it an experiment is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r


def test_without_experiment_and_warm_it_says_what_is_missing() -> None:
    result = CliRunner().invoke(i2r, ["doctor"])
    assert result.exit_code == 2
    assert "--warm" in result.output


@pytest.mark.slow
def test_warm_compiles_once_and_needs_no_experiment(tmp_path: Path) -> None:
    compiled = []
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "i2r", "doctor", "--warm"],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            check=True,
        )
        compiled.append({(p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*.nbc")})
    assert len(compiled[0]) > 60
    assert compiled[1] == compiled[0]
