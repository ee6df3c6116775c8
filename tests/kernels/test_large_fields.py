"""A field of 10,000 x 10,000 pixels: as many nuclei as its parts, in bounded memory."""

import subprocess
import sys

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
