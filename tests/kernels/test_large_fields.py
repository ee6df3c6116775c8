"""A field of 10,000 x 10,000 pixels: as many nuclei as its parts, in bounded memory."""

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the peak of its memory is what is measured.
CODE = """
import resource
import numpy as np
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.segmentation import segment_nuclei
from tests.benchmarks.kernels import simulate_field

part = simulate_field(size_px=1000, n_nuclei=120)[0]
n_part = segment_nuclei(part).max()
measure_nuclei(segment_nuclei(part), part[None])
field = np.tile(part, (10, 10))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
labels = segment_nuclei(field)
measured = measure_nuclei(labels, field[None])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(n_part, labels.max(), len(measured["label"]), (after - before) * 1024 / field.size)
"""


@pytest.mark.slow
def test_a_field_of_a_hundred_megapixels_takes_ten_bytes_for_each() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    n_part, n_whole, n_measured, bytes_per_px = done.stdout.split()
    assert int(n_whole) == int(n_measured) == 100 * int(n_part)
    assert float(bytes_per_px) < 12


# A lamp in the corner twice as bright as nuclei; the peak is counted from before the field.
LIT = """
import numpy as np
from i2r.kernels import segmentation
from tests.benchmarks.kernels import simulate_field

part = simulate_field(size_px=1024, n_nuclei=120)[0].astype(np.float32)
y, x = np.mgrid[:2048, :2048].astype(np.float32) / 2048
lamp = 2 * part.max() * (x**2 + y**2)
field = np.clip(np.tile(part, (2, 2)) + lamp, 0, 65535).astype(np.uint16)
segmentation.segment_nuclei(field)  # compiled

def read(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

open("/proc/self/clear_refs", "w").write("5")  # the peak starts again
before = read("VmRSS")
by_turns, turns = segmentation._label_by_turns, []
segmentation._label_by_turns = lambda *args, **named: (turns.append(1), by_turns(*args, **named))
labels = segmentation.segment_nuclei(field)
print(len(turns), labels.max(), (read("VmHWM") - before) / field.size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_a_field_under_uneven_light_stays_within_the_estimate_of_the_stage() -> None:
    done = subprocess.run([sys.executable, "-c", LIT], capture_output=True, text=True, check=True)
    n_turns, n_nuclei, bytes_per_px = done.stdout.split()
    assert int(n_turns) == 1
    assert int(n_nuclei) > 300
    assert 9 < float(bytes_per_px) < 32  # `SegmentOptions.peak_bytes` has so many per pixel
