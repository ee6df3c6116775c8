"""Memory and time of regulation at the size of a genome: ``python -m tests.benchmarks.genome``.

Draws counts of 50,000 cells by 20,000 genes (``--cells``, ``--genes``) as AnnData, 8 % of them not
zero, and a network of 10,000 of the genes with 50,000 interactions, and prints the peak memory and
the time of Spearman costs of the network in a process of its own, beside the estimate; likewise a
network of STRING's size (19,566 proteins, 11.9 million rows) and a panel of 1,378 lines by 19,177
genes. Then the time of a shuffled link for 500 targets among 1,000 candidates, in one space and in
a space per target. ``--parts cells string panel map`` (default: all).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from i2r.analysis.regulation.interactome_inputs import prepare_interactome
from i2r.analysis.regulation.interactome_sizes import estimate_interactome
from i2r.kernels import mapping, selection
from i2r.kernels.links import link_genes
from i2r.stages.interactome import Interactome

TARGETS, CANDIDATES, WIDTH, DENSITY = 500, 1000, 160, 0.08
STRING, PANEL = (19_566, 11_900_000), (1_378, 19_177)
PARTS = ["cells", "string", "panel", "map"]


def write_counts(path: Path, n_cells: int, n_genes: int) -> None:
    """Write sparse counts, some cells at a time."""
    import h5py

    random = np.random.default_rng(0)
    per_cell = int(DENSITY * n_genes)
    with h5py.File(path, "w") as file:
        file["var/_index"] = [f"G{i}".encode() for i in range(n_genes)]
        file["var"].attrs["_index"] = "_index"
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": np.array([n_cells, n_genes])})
        size = n_cells * per_cell
        data = group.create_dataset("data", (size,), "f4", chunks=(2**20,), compression="lzf")
        indices = group.create_dataset("indices", (size,), "i4", chunks=(2**20,), compression="lzf")
        group["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * per_cell
        for first in range(0, n_cells, 1000):
            n = min(1000, n_cells - first)
            # Strides that no size has in common with the genes: each gene at most once in a cell.
            step = np.arange(per_cell) * (n_genes // per_cell)
            columns = (random.integers(0, n_genes, n)[:, None] + step) % n_genes
            part = slice(first * per_cell, (first + n) * per_cell)
            indices[part] = np.sort(columns, axis=1).ravel()
            data[part] = 1 + random.poisson(1.0, n * per_cell)


def write_links(path: Path, n_genes: int) -> None:
    """Write five interactions for each of half the genes."""
    random = np.random.default_rng(1)
    half = n_genes // 2
    ends = np.stack([np.repeat(np.arange(half), 5), random.integers(0, half, 5 * half)])
    names = np.char.add("G", ends.astype(str))
    costs = random.uniform(0.1, 0.5, ends.shape[1])
    links = pd.DataFrame({"protein1": names[0], "protein2": names[1], "cost": costs})
    links.to_csv(path, sep="\t", index=False)


def write_string(path: Path) -> None:
    """Write as many interactions as STRING's human network has, in its form."""
    random = np.random.default_rng(2)
    names = np.array([f"9606.ENSP{i:011d}" for i in range(STRING[0])])
    path.write_text("protein1 protein2 combined_score\n")
    for _ in range(STRING[1] // 100_000):
        ends = random.integers(0, len(names), (2, 100_000))
        links = pd.DataFrame({"a": names[ends[0]], "b": names[ends[1]]})
        # Most of STRING's scores are low.
        links["score"] = np.minimum(150 + random.exponential(150, 100_000), 999).astype(int)
        links.to_csv(path, mode="a", sep=" ", index=False, header=False)


def write_panel(path: Path) -> None:
    """Write expression of lines by genes, as DepMap does: six decimals and more."""
    random = np.random.default_rng(3)
    names = [f"G{i} ({1000 + i})" for i in range(PANEL[1])]
    for first in range(0, PANEL[0], 106):
        lines = ["U2OS" if i == 0 else f"ACH-{i:06d}" for i in range(first, first + 106)]
        values = np.log2(1 + random.gamma(0.7, 9.0, (len(lines), len(names)))).round(9)
        table = pd.DataFrame(values, index=lines, columns=names)
        table.to_csv(path, mode="a", header=first == 0)


def measure_pruning(stage: Interactome) -> None:
    """Print what the pruned network took, as JSON."""
    started, used = time.perf_counter(), time.process_time()
    pruned = prepare_interactome(stage.model_dump())
    print(
        json.dumps(
            {
                "genes": len(pruned.genes), "edges": len(pruned.edges),
                "seconds": round(time.perf_counter() - started, 1),
                "processor_s": round(time.process_time() - used, 1),
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            }
        )
    )  # fmt: skip


def print_pruning(what: str, stage: Interactome) -> None:
    """Prune in a process of its own, and print what it took beside the estimate."""
    command = [sys.executable, "-m", "tests.benchmarks.genome", "--stage", stage.model_dump_json()]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = json.loads(made.stdout.splitlines()[-1])
    estimate = estimate_interactome(stage.model_dump()) / 1e9
    print(f"{what}: {measured}")
    print(f"estimate {estimate:.2f} GB, {estimate / measured['peak_gb']:.2f} of what it took")


def measure_shuffles(*, spaces: bool) -> float:
    """Give the processor's seconds of a shuffled link."""
    random = np.random.default_rng(0)
    shape = (TARGETS, CANDIDATES, WIDTH) if spaces else (CANDIDATES, WIDTH)
    candidates = mapping.scale_rows(random.standard_normal(shape), "unit")
    link = link_genes(candidates, np.arange(TARGETS))
    inverses = mapping.invert_kernels(mapping.GRID, random.standard_normal((TARGETS, 300)))
    seconds = 0.0
    # The first one compiles, and makes what is kept.
    for draw in range(2):
        used = time.process_time()
        selection.shuffle_links(
            mapping.GRID, inverses, link, seed=np.random.SeedSequence(draw), draws=1
        )
        seconds = time.process_time() - used
    return seconds


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        measure_pruning(Interactome.model_validate_json(options.stage))
        return
    # Of each thing as little as there must be: two genes to connect, all the others stay.
    common = {"min_genes": 1, "targets": ("G1", "G2"), "hub_quantile": 1.0}
    with tempfile.TemporaryDirectory() as name:
        links = Path(name) / "links.tsv"
        write_links(links, options.genes)
        if "cells" in options.parts:
            cells = Path(name) / "cells.h5ad"
            write_counts(cells, options.cells, options.genes)
            stage = Interactome(
                interactions=str(links), cells=str(cells), edge_cost="spearman", **common
            )
            print_pruning(f"{options.cells:,} cells by {options.genes:,} genes", stage)
            cells.unlink()
        if "string" in options.parts:
            whole = Path(name) / "string.txt"
            write_string(whole)
            proteins = ("9606.ENSP00000000001", "9606.ENSP00000000002")
            stage = Interactome(interactions=str(whole), **{**common, "targets": proteins})
            print_pruning(f"STRING, {whole.stat().st_size / 1e6:.0f} MB", stage)
            whole.unlink()
        if "panel" in options.parts:
            panel = Path(name) / "panel.csv"
            write_panel(panel)
            stage = Interactome(interactions=str(links), expression=str(panel), **common)
            print_pruning(f"{PANEL[0]:,} lines by {PANEL[1]:,} genes", stage)
    if "map" not in options.parts:
        return
    for spaces in (False, True):
        seconds = measure_shuffles(spaces=spaces)
        print(
            f"{TARGETS} targets, {'a space each' if spaces else 'one space'}: {seconds:.1f} "
            f"processor seconds a shuffled link, {199 * seconds / 60:.1f} minutes for 199"
        )


if __name__ == "__main__":
    main()
