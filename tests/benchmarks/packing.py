"""How many trainings at once does a device take? ``python -m tests.benchmarks.packing``."""

import argparse

import torch

from i2r.cluster.packing import choose_packing, measure_packings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--most", type=int, default=4)
    options = parser.parse_args()
    found = measure_packings(options.device, most=options.most)
    for packing in found:
        print(
            f"{packing.n} at once on {options.device}: {packing.nuclei_per_s:8.0f} nuclei/s in all, "
            f"{packing.n_bytes / 2**20:6.0f} MiB"
        )
    print(f"chosen: {choose_packing(found)}")


if __name__ == "__main__":
    main()
