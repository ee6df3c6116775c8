"""Every part of the GPU rehearsal runs on a CPU, in tiny sizes."""

import subprocess
import sys

import pytest
import torch

from tests.gpu.rehearsal import PARTS, TINY

SLOW = {"published", "pipeline"}
TESTED = [pytest.param(part, marks=[pytest.mark.slow] if part in SLOW else []) for part in PARTS]


@pytest.mark.parametrize("part", TESTED)
def test_a_part_runs_on_a_cpu(part: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = PARTS[part]("cpu", TINY)
    finally:
        torch.set_num_threads(before)
    assert figures
    assert all(figure.value >= 0 for figure in figures)


def test_a_part_that_fails_is_named_and_the_next_one_runs() -> None:
    code = (
        "import sys, tests.gpu.rehearsal as r\n"
        "r.PARTS['segment'] = lambda device, sizes: 1 / 0\n"
        "sys.argv = ['gpu', '--device', 'cpu', '--part', 'segment', '--part', 'occlusion']\n"
        "r.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "segment: FAILED" in done.stdout
    assert "occlusion: nuclei/s" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_all_parts_and_their_bars_on_a_card() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu"], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
