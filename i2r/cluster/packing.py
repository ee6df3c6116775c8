"""How many trainings at once make the most of a device, measured with the screen's own network.

A small network leaves most of a large card idle between its short steps; several processes fill
it, until they wait for each other. How many depends on the card, its driver and the processors
that feed it, so it is measured and not looked up.
"""

import resource
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing import get_context
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
import torch

from i2r.models.train_classifier import TrainingSettings, fit_classifier

# Another process has to add this share of what one gives alone to be worth its memory.
WORTH = 0.1
# Share of a device's memory that trainings may take together: nuclei in memory vary.
MEMORY_SHARE = 0.8
N_NUCLEI, N_STEPS = 2048, 40


class Packing(NamedTuple):
    """What so many trainings at once do.

    Attributes
    ----------
    n
        Trainings, each in a process of its own.
    nuclei_per_s
        Nuclei that all of them together train on in a second.
    n_bytes
        Memory in use: of the card, with what others have on it, or of these processes on a CPU.
    capacity
        Memory of the card; 0 for a CPU, whose memory is not known here.
    """

    n: int
    nuclei_per_s: float
    n_bytes: int
    capacity: int


def measure_packings(
    device: str,
    *,
    most: int,
    seconds: float = 5.0,
    measure: Callable[[str, int, float], Packing] | None = None,
) -> list[Packing]:
    """Measure 1, 2, ... trainings at once until one more gives nothing.

    Parameters
    ----------
    device
        ``cuda:0``, or ``cpu`` with one thread for each.
    most
        The most to try.
    seconds
        How long each is measured, after everything is loaded and warm.
    measure
        Measures one number of trainings; default: the screen's network on random nuclei.

    Returns
    -------
    list of Packing
        In the order tried. The last one may be no better than the one before.
    """
    found: list[Packing] = []
    for n in range(1, most + 1):
        found.append((measure or run_together)(device, n, seconds))
        last = found[-1]
        too_large = bool(last.capacity) and last.n_bytes > MEMORY_SHARE * last.capacity
        if too_large or (n > 1 and _gain(found[-2:], found[0]) < WORTH):
            break
    return found


def choose_packing(found: Sequence[Packing]) -> int:
    """Choose how many trainings run at once: the most that fit and are worth it, 1 at least."""
    chosen = 1
    for before, after in pairwise(found):
        fits = not after.capacity or after.n_bytes <= MEMORY_SHARE * after.capacity
        if not fits or _gain([before, after], found[0]) < WORTH:
            break
        chosen = after.n
    return chosen


def _gain(pair: Sequence[Packing], alone: Packing) -> float:
    """Give what one more training adds, as a share of one alone."""
    return (pair[1].nuclei_per_s - pair[0].nuclei_per_s) / alone.nuclei_per_s


def run_together(device: str, n: int, seconds: float) -> Packing:
    """Run some trainings in processes of their own, started together, and add up what they do."""
    context = get_context("spawn")
    ready, results = context.Barrier(n), context.Queue()
    processes = [
        context.Process(target=_train_for, args=(device, seconds, ready, results), daemon=True)
        for _ in range(n)
    ]
    for process in processes:
        process.start()
    found: list[tuple[float, int, int]] = []
    while len(found) < n:
        try:
            found.append(results.get(timeout=1.0))
        except Empty as error:
            failed = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
            if failed:
                for process in processes:
                    process.terminate()
                raise RuntimeError(f"{n} trainings on {device}: {len(failed)} died") from error
    for process in processes:
        process.join()
    rates, sizes, capacities = zip(*found, strict=True)
    return Packing(n, sum(rates), max(sizes) if capacities[0] else sum(sizes), capacities[0])


def _train_for(device: str, seconds: float, ready: Any, results: Any) -> None:
    """Train over and over on random nuclei; report nuclei per second and memory."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    crops = random.integers(0, 4096, (N_NUCLEI, 1, 64, 64), dtype=np.uint16)
    treated, wells = np.arange(N_NUCLEI) % 2 == 0, np.arange(N_NUCLEI) % 8
    settings = TrainingSettings(min_steps=N_STEPS, max_steps=N_STEPS)

    def train() -> int:
        fit_classifier(crops, treated, wells, settings=settings, seed=0, device=device)
        return N_STEPS * settings.batch_size

    train()
    ready.wait()
    started, n_nuclei = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        n_nuclei += train()
    rate = n_nuclei / (time.perf_counter() - started)
    if torch.device(device).type == "cuda":
        free, capacity = torch.cuda.mem_get_info(device)
        size = capacity - free
    else:
        size, capacity = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0
    # Whoever ends first must not free its memory before the others have looked.
    ready.wait()
    results.put((rate, size, capacity))
