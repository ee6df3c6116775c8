"""The published grid of mappings, with every gene left out: ours and refitting one by one.

``python -m tests.benchmarks.mapping`` prints seconds. The published search of 1,440 configurations
for 39 targets took about 40 hours; the loop here is the same work written plainly, timed on a part
of the grid and scaled up.
"""

import time

import numpy as np

from i2r.kernels.kernel_regression import ntk_kernel
from i2r.kernels.links import link_genes
from i2r.kernels.mapping import GRID, invert_kernels
from i2r.kernels.published_mapping import list_published_grid, rank_published, select_published
from i2r.kernels.selection import select_nested, shuffle_links
from tests.kernels.test_published_mapping import rank_by_loop

GENES, CANDIDATES, WIDTH = 39, 249, 1024


def draw_problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw inputs and embeddings of the published sizes, rows of the embeddings of unit length."""
    random = np.random.default_rng(0)
    candidates = random.standard_normal((CANDIDATES, WIDTH))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    truth = random.permutation(CANDIDATES)[:GENES]
    return random.standard_normal((GENES, WIDTH)), candidates, truth


def main() -> None:
    """Print the table."""
    x, candidates, truth = draw_problem()
    grid = list_published_grid()
    ntk_kernel(x, x)
    started = time.perf_counter()
    link = link_genes(candidates, truth)
    ranks = rank_published(grid, x, link, seed=0)
    ours = time.perf_counter() - started
    print(f"published grid, {len(grid)} configurations x {GENES} targets left out: {ours:.1f} s")

    some = np.random.default_rng(1).choice(len(grid), 12, replace=False)
    started = time.perf_counter()
    for place in some:
        for gene in range(0, GENES, 13):
            rest = np.delete(np.arange(GENES), gene)
            loop = rank_by_loop(
                grid[place], x[rest], candidates[truth[rest]], candidates, truth[gene], x[gene], 0
            )
            assert loop == ranks[place, gene], grid[place].title
    loop_s = (time.perf_counter() - started) / (len(some) * 3) * len(grid) * GENES
    print(
        f"  one fit after another (scaled from {len(some) * 3} fits): {loop_s:,.0f} s, equal ranks"
    )
    print(f"  ratio {loop_s / ours:,.0f}; published: 40 h, ratio {40 * 3600 / ours:,.0f}")

    started = time.perf_counter()
    select_published(grid, x, link, seed=0)
    print(
        f"  chosen without the target (nested, all pairs left out): {time.perf_counter() - started:.1f} s"
    )

    inverses = invert_kernels(GRID, x)
    select_nested(GRID, inverses, link)
    started = time.perf_counter()
    select_nested(GRID, inverses, link)
    nested = time.perf_counter() - started
    started = time.perf_counter()
    shuffle_links(GRID, inverses, link, seed=np.random.SeedSequence(0), draws=20)
    each = (time.perf_counter() - started) / 20
    print(f"own grid, {len(GRID)} configurations, nested, closed form: {nested:.2f} s")
    print(f"  a shuffled link, choice included: {each:.2f} s; 199 of them: {199 * each:.0f} s")


if __name__ == "__main__":
    main()
