"""The doors of the fuzz by coverage, with inputs that are always the same; atheris is not needed."""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.coverage import DOORS, make_door


@pytest.mark.parametrize("name", DOORS)
def test_a_door_takes_damaged_files(name: str, tmp_path: Path) -> None:
    take, valid = make_door(name, tmp_path)
    random = np.random.default_rng(0)
    for data in (b"", valid, valid[: len(valid) // 2], valid[len(valid) // 2 :], valid * 2):
        take(data)
    for _ in range(8):
        damaged = bytearray(valid)
        for at in random.integers(len(valid), size=3):
            damaged[at] = random.integers(256)
        take(bytes(damaged))
