"""A heap on plain arrays for compiled code, which knows where every item is.

It holds items with at most one entry each, whose key may change.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt


class IndexedHeap(NamedTuple):
    """A heap of items 0 to n - 1; every place has four below it, which lie side by side.

    Attributes
    ----------
    key : (n,) float64
        An item's key; that of an item taken out stays readable.
    level : (n,) float64
        The keys in heap order.
    item : (n,) int32
        The items in heap order.
    place : (n,) int32
        Where an item is in heap order; -1 for nowhere.
    size : (1,) int64
        How many there are.
    """

    key: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]
    item: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    size: npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def make_indexed(n: int) -> IndexedHeap:
    """Make an empty heap for n items."""
    return IndexedHeap(
        np.zeros(n, np.float64),
        np.zeros(n, np.float64),
        np.zeros(n, np.int32),
        np.full(n, -1, np.int32),
        np.zeros(1, np.int64),
    )


@numba.njit(cache=True, nogil=True)
def set_key(heap: IndexedHeap, item: int, key: float) -> None:
    """Put an item in, or give it another key."""
    place = heap.place[item]
    if place < 0:
        place = heap.size[0]
        heap.size[0] += 1
    elif key == heap.key[item]:
        return
    heap.key[item] = key
    _settle(heap, place, 0 + item, key)


@numba.njit(cache=True, nogil=True)
def drop_item(heap: IndexedHeap, item: int) -> None:
    """Take an item out; one that is not in is fine."""
    place = heap.place[item]
    if place < 0:
        return
    heap.place[item] = -1
    heap.size[0] -= 1
    last = heap.item[heap.size[0]]
    if last != item:
        _settle(heap, 0 + place, 0 + last, heap.key[last])


@numba.njit(cache=True, nogil=True)
def _settle(heap: IndexedHeap, place: int, item: int, key: float) -> None:
    """Move an item from a free place to where its key belongs; equal keys go by number.

    Callers add 0, which makes place and item numbers of 64 bit: one version is compiled, not four.
    """
    level, items, places, size = heap.level, heap.item, heap.place, heap.size[0]
    while place > 0:
        above = (place - 1) >> 2
        if level[above] < key or (level[above] == key and items[above] < item):
            break
        level[place], items[place] = level[above], items[above]
        places[items[place]] = place
        place = above
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        least = first
        for below in range(first + 1, min(first + 4, size)):
            if level[below] < level[least] or (
                level[below] == level[least] and items[below] < items[least]
            ):
                least = below
        if key < level[least] or (key == level[least] and item < items[least]):
            break
        level[place], items[place] = level[least], items[least]
        places[items[place]] = place
        place = least
    level[place], items[place], places[item] = key, item, place
