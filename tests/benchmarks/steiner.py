"""The Steiner solver: certificates on instances with proven optima, and time on an interactome.

``python -m tests.benchmarks.steiner`` needs the folder with the data sets named by ``I2R_DATA``.
Times are of processor time, one core, after compilation.
"""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from i2r.kernels.pcst import solve_pcst
from tests.kernels.test_steiner import list_instances, read_stp

CUT, QUANTILE = 0.594, 0.999
Problem = tuple[npt.NDArray[np.integer], npt.NDArray[np.float64], npt.NDArray[np.float64]]


def read_interactome(folder: Path) -> Problem:
    """Give the pruned interactome with its prizes, without names."""
    return prune_interactome(folder)[1:]


def prune_interactome(
    folder: Path,
) -> tuple[
    npt.NDArray[np.object_],
    npt.NDArray[np.integer],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]:
    """Prune the protein interactions as published; prizes are U2OS against other lines."""
    url = folder / "interactome" / "iRefIndex_v14_MIScore_interactome_C9.costs.txt.gz"
    table = pd.read_csv(url, sep="\t")
    table = keep_largest(table[(table["protein1"] != table["protein2"]) & (table["cost"] < CUT)])
    degrees = pd.concat([table["protein1"], table["protein2"]]).value_counts()
    hubs = degrees.index[degrees >= np.quantile(degrees, QUANTILE)]
    table = table[~table["protein1"].isin(hubs) & ~table["protein2"].isin(hubs)]
    table = keep_largest(table)
    genes = pd.unique(pd.concat([table["protein1"], table["protein2"]])).astype(object)
    number = pd.Series(range(len(genes)), index=genes)
    edges = np.stack([number[table["protein1"]], number[table["protein2"]]], axis=1)
    lines = pd.read_csv(folder / "u2os_expression" / "hpa_celline_nx_69lines.csv.gz")
    lines = lines.dropna(subset=["symbol"]).drop_duplicates("symbol").set_index("symbol")
    logged = np.log2(lines.iloc[:, 1:].to_numpy(dtype=float) + 1)
    change = pd.Series(np.abs(logged[:, 0] - logged[:, 1:].mean(axis=1)), index=lines.index)
    prizes = change.reindex(genes).fillna(0).to_numpy() / change.max()
    return genes, edges, table["cost"].to_numpy(), prizes


def keep_largest(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the edges of the largest connected component."""
    genes, ends = np.unique(
        table[["protein1", "protein2"]].to_numpy(dtype=str), return_inverse=True
    )
    ends = ends.reshape(-1, 2)
    shape = (len(genes), len(genes))
    joined = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=shape)
    _, labels = connected_components(joined, directed=False)
    return table[labels[ends[:, 0]] == np.bincount(labels).argmax()]


def measure_instances() -> None:
    """Print value over optimum, the certificate and the time of every set of instances."""
    rows = defaultdict(list)
    for kind, _, optimum, path in list_instances():
        problem = read_stp(path)
        grown = solve_pcst(*problem, improve=False)
        started = time.process_time()
        result = solve_pcst(*problem)
        seconds = time.process_time() - started
        sound = optimum / 1.000000001 <= result.value <= 2.000000002 * result.lower_bound
        sound &= result.lower_bound <= optimum * 1.000000001
        row = (grown.value / optimum, result.value / optimum, result.gap, seconds, sound)
        rows[kind].append(row)
        rows["all"].append(row)
    print(
        f"{'set':16} {'n':>4} {'moats: mean':>12} {'worst':>8} {'searched: mean':>15} {'worst':>8} {'mean gap':>9} {'proven':>6} {'s, worst':>9}  certificates"
    )
    for kind, of_kind in sorted(rows.items()):
        grown, best, gaps, seconds, sound = (np.array(x) for x in zip(*of_kind, strict=True))
        print(
            f"{kind:16} {len(best):4} {grown.mean():12.4f} {grown.max():8.4f} {best.mean():15.4f} "
            f"{best.max():8.4f} {gaps.mean():9.5f} {(gaps <= 1e-9).sum():6} {seconds.max():9.2f}  {int(sound.sum())} sound"
        )  # fmt: skip


def measure_interactome(problem: Problem) -> None:
    """Print the time of a sweep over 99 values of beta, and of single searches."""
    edges, costs, prizes = problem
    print(f"\npruned interactome: {len(prizes):,} vertices, {len(edges):,} edges")
    started = time.process_time()
    for beta in np.arange(1, 100) / 10:
        solve_pcst(edges, costs, prizes * beta, improve=False)
    print(f"99 values of beta, moats and pruning alone: {time.process_time() - started:.2f} s")
    for beta in (0.5, 1.0, 2.0, 5.0):
        grown = solve_pcst(edges, costs, prizes * beta, improve=False)
        started = time.process_time()
        result = solve_pcst(edges, costs, prizes * beta)
        print(
            f"beta {beta}: {len(result.vertices)} vertices, value {result.value:.3f} (moats alone "
            f"{grown.value:.3f}), gap {result.gap:.6f}, {time.process_time() - started:.2f} s"
        )


if __name__ == "__main__":
    if "I2R_DATA" not in os.environ:
        sys.exit("set I2R_DATA to the folder with the data sets")
    interactome = read_interactome(Path(os.environ["I2R_DATA"]))
    # Everything is compiled before anything is timed.
    solve_pcst(*interactome)
    measure_interactome(interactome)
    measure_instances()
