"""All benchmarks, one after another: ``python -m tests.benchmarks`` (about half an hour)."""

import os
import subprocess
import sys

NAMES = [
    "kernels", "features", "crops", "loader", "conversion", "chain", "mapping", "genes", "regulation", "recovery", "screens",
    "nulls", "scale", "scaling", "backpressure", "packing", "encoders", "view",
] + (["segmenter", "bbbc013", "steiner"] if "I2R_DATA" in os.environ else [])  # fmt: skip

for name in NAMES:
    print(f"\n==== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False)
