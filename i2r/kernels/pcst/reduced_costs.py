"""What a bound rules out: edges that no better tree has, and vertices that all of them have.

A tree that uses an arc costs at least the bound and the arc's reduced cost, the way to it from the
root and the way on to a prize included (Duin 1993, "Steiner's problem in graphs").
"""

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.ascent import Arcs, Ascent
from i2r.kernels.pcst.heaps import drop_item, make_indexed, set_key


@numba.njit(cache=True, nogil=True)
def measure_distances(
    arcs: Arcs,
    ascent: Ascent,
    prizes: npt.NDArray[np.float64],
    root: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure from the root, and to the nearest prize, by reduced costs."""
    n = len(prizes)
    from_root, to_prize = np.full(n, np.inf), np.full(n, np.inf)
    queue = make_indexed(n)
    # From the root: arcs leave a vertex as twins of those that enter it.
    for v in range(n):
        start = 0.0 if v == root else ascent.enter[v]
        if start < np.inf:
            from_root[v] = start
            set_key(queue, v, start)
    while queue.size[0]:
        v = 0 + queue.item[0]
        drop_item(queue, v)
        for i in range(arcs.first[v], arcs.first[v + 1]):
            w = arcs.tail[i]
            length = from_root[v] + ascent.reduced[arcs.twin[i]]
            if length < from_root[w]:
                from_root[w] = length
                set_key(queue, w, length)
    for v in range(n):
        if prizes[v] > 0 or v == root:
            to_prize[v] = 0.0
            set_key(queue, v, 0.0)
    while queue.size[0]:
        v = 0 + queue.item[0]
        drop_item(queue, v)
        for i in range(arcs.first[v], arcs.first[v + 1]):
            w = arcs.tail[i]
            length = to_prize[v] + ascent.reduced[i]
            if length < to_prize[w]:
                to_prize[w] = length
                set_key(queue, w, length)
    return from_root, to_prize


@numba.njit(cache=True, nogil=True)
def rule_out(
    arcs: Arcs,
    ascent: Ascent,
    prizes: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    root: int,
    value: float,
    alive: npt.NDArray[np.bool_],
    forced: npt.NDArray[np.bool_],
) -> bool:
    """Strike what no tree of less than a value has, and mark what every such tree has.

    Parameters
    ----------
    arcs, ascent, prizes, enter, root
        As given to and got from `ascend`.
    value
        Trees of this value or more are not looked for.
    alive : (m,) bool
        The edges; those struck become False.
    forced : (n,) bool
        The vertices; those that every better tree has become True.

    Returns
    -------
    bool
        Whether anything changed. `enter` changes in place too.
    """
    from_root, to_prize = measure_distances(arcs, ascent, prizes, root)
    spare, changed = value - ascent.bound, False
    for v in range(len(prizes)):
        if not forced[v] and v != root and ascent.left[v] > spare:
            forced[v] = changed = True
        if enter[v] < np.inf and ascent.enter[v] + to_prize[v] > spare:
            enter[v] = np.inf
            changed = True
        for i in range(arcs.first[v], arcs.first[v + 1]):
            e = arcs.edge[i]
            if alive[e] and i < arcs.twin[i]:
                w, j = arcs.tail[i], arcs.twin[i]
                there = from_root[w] + ascent.reduced[i] + to_prize[v]
                back = from_root[v] + ascent.reduced[j] + to_prize[w]
                if min(there, back) > spare:
                    alive[e] = False
                    changed = True
    return changed
