"""The graphics cards of this machine, and what a worker of one of them is started with."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from i2r.cluster.settings import WORKER_SETUP
from i2r.cluster.spec import WorkerGroup

# More processes than this on a card wait for each other in any case.
MOST_PER_CARD = 8


def count_gpus() -> int:
    """Count the NVIDIA cards this process may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    folder = Path("/proc/driver/nvidia/gpus")
    present = len(list(folder.iterdir())) if folder.is_dir() else 0
    if visible is None:
        return present
    return min(
        present, len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    )


def find_card(index: int) -> str:
    """Give the name of a card that this process may use, by its place among them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index].strip() if visible else str(index)


def share_card(group: WorkerGroup) -> int:
    """Say how many workers share a card: as the file says, or as many as were measured."""
    if group.workers_per_gpu != "auto":
        return group.workers_per_gpu
    return _measure_card() if count_gpus() else 1


@cache
def _measure_card() -> int:
    """Measure on this machine's first card, once in this process."""
    from i2r.cluster.packing import choose_packing, measure_packings

    return choose_packing(measure_packings("cuda:0", most=MOST_PER_CARD))


def make_card_options(card: str) -> dict[str, Any]:
    """Give a Nanny's arguments for a worker of one card.

    Parameters
    ----------
    card
        Its index or UUID.

    Returns
    -------
    dict
        The card as the only one the worker sees. Where dask-cuda is installed and a driver answers
        they are its workers: they hold to the cores next to the card, and open it when they start.
    """
    alone = {"env": {"CUDA_VISIBLE_DEVICES": card}, "preload": (WORKER_SETUP,)}
    try:
        from dask_cuda.plugins import CPUAffinity
        from dask_cuda.utils import get_cpu_affinity, get_gpu_count, nvml_device_index

        get_gpu_count()
        near = CPUAffinity(get_cpu_affinity(nvml_device_index(0, card)))
    except Exception:  # no package, one without its extra, no driver: each has an error of its own
        return alone
    return {
        "env": alone["env"],
        "preload": ("dask_cuda.initialize", WORKER_SETUP),
        "preload_argv": (["--create-cuda-context"], []),
        "plugins": [near],
    }
