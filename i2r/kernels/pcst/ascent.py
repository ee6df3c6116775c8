"""Dual ascent for the prize-collecting Steiner tree: tight bounds, and what they rule out.

Wong 1984 (10.1007/BF02612335): a tree hangs from a root by arcs; every vertex with a prize is
reached or costs its prize. Sets of vertices are grown from every prize backwards along arcs that
are paid for, and pay for the arcs that enter them, until the root is reached or the prize is used
up. What was paid sums to a lower bound; what an arc still costs (its reduced cost) is how much
the bound rises for trees that use it (Duin 1993; Leitner, Ljubic, Luipersbeck and Sinnl 2018,
10.1287/ijoc.2017.0788, for prizes).
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from i2r.kernels.pcst.heaps import IndexedHeap, drop_item, make_indexed, set_key

# What is left of an arc's cost or of a prize below this part of the largest is rounding.
NOTHING = 1e-11
# A set goes on growing while it is at most this many times as large as the smallest other.
PATIENCE = 1.5


class Arcs(NamedTuple):
    """The arcs of a network by the vertex that they enter.

    Attributes
    ----------
    first : (n + 1,) int64
        The arcs ``first[v]`` up to ``first[v + 1]`` enter vertex ``v``.
    tail : (2m,) int32
        Where an arc comes from.
    edge : (2m,) int64
        The edge that it belongs to.
    twin : (2m,) int64
        The arc the other way.
    """

    first: npt.NDArray[np.int64]
    tail: npt.NDArray[np.int32]
    edge: npt.NDArray[np.int64]
    twin: npt.NDArray[np.int64]


class Ascent(NamedTuple):
    """A bound, and what is left to pay.

    Attributes
    ----------
    bound
        No tree's value is less.
    reduced : (2m,) float64
        Reduced costs of the arcs.
    left : (n,) float64
        What is left of every prize.
    enter : (n,) float64
        What is left of the price for a tree that starts at a vertex instead of the root.
    """

    bound: float
    reduced: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]
    enter: npt.NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def pair_arcs(
    first: npt.NDArray[np.int64], edge_of: npt.NDArray[np.int64], m: int
) -> npt.NDArray[np.int64]:
    """Find for every entry of the neighbour lists the entry of the same edge, other way."""
    seen = np.full(m, -1, np.int64)
    twin = np.empty(len(edge_of), np.int64)
    for i in range(len(edge_of)):
        other = seen[edge_of[i]]
        if other < 0:
            seen[edge_of[i]] = i
        else:
            twin[i], twin[other] = other, i
    return twin


class _Purses(NamedTuple):
    """What every prize can still pay; prizes that reach each other have one purse.

    Attributes
    ----------
    left : (n,) float64
        What is in a purse.
    owner, share : (n,) int64, (n,) float64
        The prize with most in a purse, and how much of it is its own: that is spent last.
    holder : (n,) int64
        The prize that has to be done before this one, or whose purse has its money; else -1.
    child, sibling : (n,) int64
        Which prizes have this one as their holder, as linked lists.
    state : (n,) int8
        In turn, waiting, poured into the holder's purse, done.
    """

    left: npt.NDArray[np.float64]
    owner: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    holder: npt.NDArray[np.int64]
    child: npt.NDArray[np.int64]
    sibling: npt.NDArray[np.int64]
    state: npt.NDArray[np.int8]


IN_TURN, WAITING, POURED, DONE = 0, 1, 2, 3


class _Ball(NamedTuple):
    """The vertices within some distance of a prize, by reduced costs.

    Attributes
    ----------
    member : (n,) int32
        The vertices, nearest first.
    mark : (n,) int64
        The number of the ball that a vertex was last in.
    distance : (n,) float64
        Of those to the prize.
    queue
        Vertices next to the ball.
    """

    member: npt.NDArray[np.int32]
    mark: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    queue: IndexedHeap


@numba.njit(cache=True, nogil=True)
def ascend(
    arcs: Arcs,
    costs: npt.NDArray[np.float64],
    prizes: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    root: int,
) -> Ascent:
    """Bound the value of every tree from below.

    The set of a prize grows like Dijkstra's ball around it. Where it comes to another prize that
    still has to pay, it waits for that: the other's set is a part of its own. Where two reach
    each other, their sets are the same for ever, and they pay from one purse.

    Parameters
    ----------
    arcs
        The network's arcs.
    costs : (2m,) float64
        Of the arcs; infinite for those that need not be looked at.
    prizes : (n,) float64
        Infinite for a vertex that has to be in the tree.
    enter : (n,) float64
        What a tree pays that does not hold the root but this vertex: at most the root's prize.
        Infinite where no such tree is looked for.
    root
        The vertex that trees hang from.

    Returns
    -------
    Ascent
        An infinite bound says that some vertex that has to be in can't be reached.
    """
    n = len(prizes)
    reduced, entry = costs.copy(), enter.copy()
    purses = _fill_purses(prizes, root)
    tiny = NOTHING * _find_largest(costs, prizes)
    ball = _Ball(np.empty(n, np.int32), np.zeros(n, np.int64), np.zeros(n), make_indexed(n))
    queue = make_indexed(n)
    for v in range(n):
        if purses.state[v] == IN_TURN:
            set_key(queue, v, float(arcs.first[v + 1] - arcs.first[v]))
    bound, number = 0.0, 0
    while queue.size[0]:
        t = 0 + queue.item[0]
        drop_item(queue, t)
        number += 1
        least = queue.key[queue.item[0]] if queue.size[0] else np.inf
        size, width, crossing, waits, over = _grow(
            arcs, reduced, entry, purses, ball, t, root, number, PATIENCE * least, tiny
        )
        if width == np.inf:
            return Ascent(np.inf, reduced, purses.left, entry)
        _pay(arcs, reduced, entry, ball, size, width, number)
        bound += width
        purses.left[t] -= width
        if waits >= 0:
            purses.state[t], purses.holder[t] = WAITING, waits
            purses.sibling[t], purses.child[waits] = purses.child[waits], t
        elif not over:
            set_key(queue, t, float(crossing))
        else:
            broke = purses.left[t] <= tiny
            _finish(purses, queue, t, broke)
    left = np.zeros(n)
    for v in range(n):
        if purses.left[v] > tiny:
            owner = purses.owner[v]
            left[owner] = max(left[owner], min(purses.share[v], purses.left[v]))
    return Ascent(bound, reduced, left, entry)


@numba.njit(cache=True, nogil=True)
def _fill_purses(prizes: npt.NDArray[np.float64], root: int) -> _Purses:
    n = len(prizes)
    purses = _Purses(
        prizes.copy(),
        np.arange(n),
        prizes.copy(),
        np.full(n, -1, np.int64),
        np.full(n, -1, np.int64),
        np.full(n, -1, np.int64),
        np.full(n, DONE, np.int8),
    )
    purses.left[root] = 0.0
    for v in range(n):
        if purses.left[v] > 0:
            purses.state[v] = IN_TURN
    return purses


@numba.njit(cache=True, nogil=True)
def _find_largest(costs: npt.NDArray[np.float64], prizes: npt.NDArray[np.float64]) -> float:
    largest = 0.0
    for values in (costs, prizes):
        for value in values:
            if value < np.inf:
                largest = max(largest, value)
    return largest


@numba.njit(cache=True, nogil=True)
def _grow(  # noqa: PLR0912, PLR0915 (one loop, compiled)
    arcs: Arcs,
    reduced: npt.NDArray[np.float64],
    entry: npt.NDArray[np.float64],
    purses: _Purses,
    ball: _Ball,
    t: int,
    root: int,
    number: int,
    most: float,
    tiny: float,
) -> tuple[int, float, int, int, bool]:
    """Grow the set of a prize until it is done, waits for another, or others have smaller sets.

    Returns
    -------
    size, width, crossing
        Members of the ball, its radius, and how many arcs enter it.
    waits
        The prize to wait for; -1 for none.
    over
        Whether the root was reached or the purse is empty.
    """
    ball.member[0] = t
    ball.mark[t], ball.distance[t] = number, 0.0
    size, looked, crossing, width = 1, 0, 0, 0.0
    end, waits, over = np.inf, -1, False
    while True:
        while looked < size:
            v = ball.member[looked]
            looked += 1
            if v != t and (purses.state[v] != DONE or purses.holder[v] >= 0):
                top = _find_top(purses, v)
                if top != t:
                    if purses.state[top] != DONE:
                        waits = top
                        break
                elif purses.state[v] == WAITING:
                    _pour(purses, v, t)
            end = min(end, width + entry[v])
            near = 0
            for i in range(arcs.first[v], arcs.first[v + 1]):
                w = arcs.tail[i]
                if ball.mark[w] == number:
                    near += 1
                    continue
                if reduced[i] == np.inf:
                    continue
                length = width + reduced[i]
                if w == root:
                    end = min(end, length)
                elif reduced[i] <= tiny:
                    ball.mark[w], ball.distance[w] = number, width
                    ball.member[size] = w
                    size += 1
                    drop_item(ball.queue, w)
                elif ball.queue.place[w] < 0 or length < ball.queue.key[w]:
                    set_key(ball.queue, w, length)
            crossing += arcs.first[v + 1] - arcs.first[v] - 2 * near
        if waits >= 0:
            break
        stop = min(end, purses.left[t])
        following = ball.queue.key[ball.queue.item[0]] if ball.queue.size[0] else np.inf
        if min(stop, following) > width + tiny and crossing > most:
            break
        if following >= stop:
            width, over = stop, True
            break
        w = 0 + ball.queue.item[0]
        drop_item(ball.queue, w)
        width = max(width, following)
        ball.mark[w], ball.distance[w] = number, width
        ball.member[size] = w
        size += 1
    for i in range(ball.queue.size[0]):
        ball.queue.place[ball.queue.item[i]] = -1
    ball.queue.size[0] = 0
    return size, width, crossing, waits, over


@numba.njit(cache=True, nogil=True)
def _pay(
    arcs: Arcs,
    reduced: npt.NDArray[np.float64],
    entry: npt.NDArray[np.float64],
    ball: _Ball,
    size: int,
    width: float,
    number: int,
) -> None:
    """Take what a growing ball paid off the arcs that entered it."""
    for k in range(size):
        v = ball.member[k]
        own = ball.distance[v]
        if own >= width:
            break
        entry[v] = max(0.0, entry[v] - (width - own))
        for i in range(arcs.first[v], arcs.first[v + 1]):
            w = arcs.tail[i]
            until = ball.distance[w] if ball.mark[w] == number else width
            if until > own:
                reduced[i] = max(0.0, reduced[i] - (until - own))


@numba.njit(cache=True, nogil=True)
def _find_top(purses: _Purses, v: int) -> int:
    """Find the prize in turn, or done, that a prize waits for in the end."""
    while purses.holder[v] >= 0:
        v = purses.holder[v]
    return v


@numba.njit(cache=True, nogil=True)
def _pour(purses: _Purses, v: int, t: int) -> None:
    """Pour a purse into that of the prize it waits for."""
    purses.state[v] = POURED
    share_t = min(purses.share[t], purses.left[t])
    share_v = min(purses.share[v], purses.left[v])
    purses.share[t] = share_t
    if share_v > share_t:
        purses.share[t], purses.owner[t] = share_v, purses.owner[v]
    purses.left[t] += purses.left[v]
    purses.left[v] = 0.0


@numba.njit(cache=True, nogil=True)
def _finish(purses: _Purses, queue: IndexedHeap, t: int, broke: bool) -> None:
    """End a prize; those that wait for it come in turn, or are done too at the root."""
    purses.state[t] = DONE
    stack = np.empty(len(purses.left), np.int64)
    stack[0], height = t, 1
    while height:
        height -= 1
        v = purses.child[stack[height]]
        purses.child[stack[height]] = -1
        while v >= 0:
            following = purses.sibling[v]
            purses.holder[v], purses.sibling[v] = -1, -1
            if purses.state[v] == WAITING and broke:
                purses.state[v] = IN_TURN
                set_key(queue, v, queue.key[v])
            else:
                purses.state[v] = DONE
                stack[height] = v
                height += 1
            v = following
