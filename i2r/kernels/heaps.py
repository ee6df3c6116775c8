"""Heaps on plain arrays for compiled code: one that melds and shifts, one that knows places.

The pairing heap (Fredman, Sedgewick, Sleator and Tarjan 1986, 10.1007/BF01840439) melds two
heaps, and adds a number to all keys of one, in constant time. A heap is named by its root, -1
is the empty one. Node ``x`` has a key that is relative to its ancestors: the sum of their
``shift`` has to be added. Node numbers belong to the caller; each is in one heap at most.

The indexed heap holds items with at most one entry each, whose key may change.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

# Columns of the two arrays: what belongs to a node lies together in memory.
KEY, SHIFT = 0, 1
CHILD, SIBLING, BEFORE = 0, 1, 2


class PairingHeaps(NamedTuple):
    """Nodes of any number of pairing heaps.

    Attributes
    ----------
    keys : (n, 2) float64
        A node's key, and what is to be added to the keys of all below it.
    links : (n, 4) int32
        First child; next child of the same parent; previous one, or for a first child its
        parent. -1 for none. The fourth column fills the line of memory up.
    """

    keys: npt.NDArray[np.float64]
    links: npt.NDArray[np.int32]


@numba.njit(cache=True, nogil=True)
def make_heaps(n: int) -> PairingHeaps:
    """Make room for n nodes, none of them in a heap."""
    return PairingHeaps(np.empty((n, 2), np.float64), np.empty((n, 4), np.int32))


@numba.njit(cache=True, nogil=True)
def add_node(heaps: PairingHeaps, root: int, node: int, key: float) -> int:
    """Put a node into a heap; return the heap's new root."""
    heaps.keys[node, KEY] = key
    heaps.keys[node, SHIFT] = 0.0
    heaps.links[node, CHILD] = heaps.links[node, SIBLING] = heaps.links[node, BEFORE] = -1
    return meld(heaps, root, node)


@numba.njit(cache=True, nogil=True)
def meld(heaps: PairingHeaps, first: int, second: int) -> int:
    """Make one heap of two; return its root. Of equal keys the smaller node number wins."""
    if first < 0:
        return second
    if second < 0:
        return first
    one, other = heaps.keys[first, KEY], heaps.keys[second, KEY]
    if other < one or (other == one and second < first):
        first, second = second, first
    below = heaps.keys[first, SHIFT]
    heaps.keys[second, KEY] -= below
    heaps.keys[second, SHIFT] -= below
    oldest = heaps.links[first, CHILD]
    heaps.links[second, SIBLING] = oldest
    if oldest >= 0:
        heaps.links[oldest, BEFORE] = second
    heaps.links[second, BEFORE] = first
    heaps.links[first, CHILD] = second
    return first


@numba.njit(cache=True, nogil=True)
def shift_heap(heaps: PairingHeaps, root: int, amount: float) -> None:
    """Add a number to all keys of a heap."""
    if root >= 0:
        heaps.keys[root, KEY] += amount
        heaps.keys[root, SHIFT] += amount


@numba.njit(cache=True, nogil=True)
def pop_root(heaps: PairingHeaps, root: int) -> int:
    """Take the smallest node out of its heap; return the root of what is left."""
    below, node, done = heaps.keys[root, SHIFT], heaps.links[root, CHILD], -1
    heaps.links[root, CHILD] = -1
    while node >= 0:
        pair = heaps.links[node, SIBLING]
        after = heaps.links[pair, SIBLING] if pair >= 0 else -1
        _release(heaps, node, below)
        if pair >= 0:
            _release(heaps, pair, below)
            node = meld(heaps, node, pair)
        heaps.links[node, SIBLING] = done
        done, node = node, after
    rest = -1
    while done >= 0:
        after = heaps.links[done, SIBLING]
        heaps.links[done, SIBLING] = -1
        rest = meld(heaps, rest, done)
        done = after
    return rest


@numba.njit(cache=True, nogil=True)
def lower_key(heaps: PairingHeaps, root: int, node: int, before: float, key: float) -> int:
    """Give a node a key that is not larger; return the heap's new root.

    Parameters
    ----------
    heaps, root, node
        The node, and the root of its heap.
    before, key
        Its key with everything that has been added, and the new one.
    """
    if node == root:
        heaps.keys[node, KEY] = key
        return root
    above = before - heaps.keys[node, KEY]
    previous, following = heaps.links[node, BEFORE], heaps.links[node, SIBLING]
    if heaps.links[previous, CHILD] == node:
        heaps.links[previous, CHILD] = following
    else:
        heaps.links[previous, SIBLING] = following
    if following >= 0:
        heaps.links[following, BEFORE] = previous
    heaps.links[node, SIBLING] = heaps.links[node, BEFORE] = -1
    heaps.keys[node, KEY] = key
    heaps.keys[node, SHIFT] += above
    return meld(heaps, root, node)


@numba.njit(cache=True, nogil=True)
def _release(heaps: PairingHeaps, node: int, shift: float) -> None:
    """Make a child of a root that goes away a root of its own."""
    heaps.keys[node, KEY] += shift
    heaps.keys[node, SHIFT] += shift
    heaps.links[node, SIBLING] = heaps.links[node, BEFORE] = -1


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
    _settle(heap, place, item, key)


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
        _settle(heap, place, last, heap.key[last])


@numba.njit(cache=True, nogil=True)
def _settle(heap: IndexedHeap, place: int, item: int, key: float) -> None:
    """Move an item from a free place to where its key belongs; equal keys go by number."""
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
