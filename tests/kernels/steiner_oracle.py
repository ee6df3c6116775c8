"""Prize-collecting Steiner trees solved to the optimum, for networks of a few dozen vertices.

Directed cuts (Ljubic et al. 2006, doi:10.1007/s10107-005-0660-x): arcs leave an artificial root, a
vertex is taken when an arc enters it, and any set that holds a taken vertex but not the root is
entered. Violated cuts are found by maximum flows and added until there are none.
"""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

# Flows are of whole numbers.
UNIT = 1_000_000


def solve_exactly(edges: np.ndarray, costs: np.ndarray, prizes: np.ndarray) -> float:
    """Give the least cost of a tree and prizes left out."""
    n, m = len(prizes), len(edges)
    tail = np.concatenate([edges[:, 0], edges[:, 1], np.full(n, n)])
    head = np.concatenate([edges[:, 1], edges[:, 0], np.arange(n)])
    price = np.concatenate([costs, costs, np.zeros(n)]) - prizes[head]
    enters = (head == np.arange(n)[:, None]).astype(float)
    starts = (tail == n).astype(float)
    both = np.zeros((m, len(tail)))
    both[np.arange(m), np.arange(m)] = both[np.arange(m), m + np.arange(m)] = 1
    # One entry at most, one start, and an edge only between vertices that are taken.
    rows = [*-enters, -starts]
    least = [-1.0] * len(rows)
    for end in (0, 1):
        rows += list(enters[edges[:, end]] - both)
        least += [0.0] * m
    whole = False
    while True:
        constraints = LinearConstraint(csr_matrix(np.array(rows)), least, np.inf)
        found = milp(
            price, constraints=constraints, bounds=Bounds(0, 1),
            integrality=np.full(len(tail), int(whole)),
        )  # fmt: skip
        cuts = _find_cuts(found.x, tail, head, enters)
        if not cuts and (whole or np.abs(found.x - found.x.round()).max() < 1e-6):
            return float(found.fun + prizes.sum())
        whole = whole or not cuts
        rows += cuts
        least += [0.0] * len(cuts)


def _find_cuts(x: np.ndarray, tail: np.ndarray, head: np.ndarray, enters: np.ndarray) -> list:
    """List violated cuts: what enters the side of a vertex is less than what enters it."""
    n = len(enters)
    capacity = csr_matrix((np.round(x * UNIT).astype(np.int32), (tail, head)), (n + 1, n + 1))
    taken = enters @ x
    cuts = []
    for v in np.argsort(-taken):
        flow = maximum_flow(capacity, n, int(v))
        if taken[v] < 1e-4 or flow.flow_value > taken[v] * UNIT - 200:
            continue
        residual = (capacity - flow.flow).tocsr()
        residual.data = np.maximum(residual.data, 0)
        residual.eliminate_zeros()
        side = np.zeros(n + 1, dtype=bool)
        side[breadth_first_order(residual.T.tocsr(), int(v), return_predecessors=False)] = True
        cuts.append((~side[tail] & side[head]).astype(float) - enters[v])
    return cuts[:15]
