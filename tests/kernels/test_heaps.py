"""Heaps against sorted lists, through any sequence of operations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.heaps import (
    KEY,
    add_node,
    drop_item,
    lower_key,
    make_heaps,
    make_indexed,
    meld,
    pop_root,
    set_key,
    shift_heap,
)

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "pop", "shift", "meld", "lower"]), st.integers(0, 2), st.integers(0, 40)),
    max_size=120,
)  # fmt: skip


@settings(deadline=None)
@given(STEPS)
def test_pairing_heaps_are_sorted_lists_that_shift_and_meld(
    steps: list[tuple[str, int, int]],
) -> None:
    heaps, roots = make_heaps(200), [-1, -1, -1]
    lists: list[dict[int, float]] = [{}, {}, {}]
    made = 0
    for what, which, value in steps:
        known = lists[which]
        if what == "add":
            roots[which] = add_node(heaps, roots[which], made, float(value))
            known[made] = float(value)
            made += 1
        elif what == "shift":
            shift_heap(heaps, roots[which], float(value))
            lists[which] = {node: key + value for node, key in known.items()}
        elif what == "meld":
            other = (which + 1) % 3
            roots[which] = meld(heaps, roots[which], roots[other])
            lists[which], lists[other], roots[other] = known | lists[other], {}, -1
        elif known and what == "pop":
            first = min(known, key=lambda node: (known[node], node))
            assert heaps.keys[roots[which], KEY] == known[first]
            assert known[roots[which]] == known[first]
            known.pop(roots[which])
            roots[which] = pop_root(heaps, roots[which])
        elif known:
            node = sorted(known)[value % len(known)]
            key = known[node] - value
            roots[which] = lower_key(heaps, roots[which], node, known[node], key)
            known[node] = key
    for start, known in zip(roots, lists, strict=True):
        root, popped = start, []
        while root >= 0:
            popped.append(heaps.keys[root, KEY])
            root = pop_root(heaps, root)
        assert popped == sorted(known.values())


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 11), st.integers(0, 6)), max_size=80))
def test_indexed_heaps_know_the_least_item_and_its_key(steps: list[tuple[bool, int, int]]) -> None:
    heap, known = make_indexed(12), dict[int, float]()
    for puts, item, key in steps:
        if puts:
            set_key(heap, item, float(key))
            known[item] = float(key)
        else:
            drop_item(heap, item)
            known.pop(item, None)
        assert heap.size[0] == len(known)
        if known:
            assert heap.item[0] == min(known, key=lambda i: (known[i], i))
            assert heap.key[heap.item[0]] == min(known.values())
    assert {i for i in range(12) if heap.place[i] >= 0} == set(known)
    assert np.array_equal(np.sort(heap.item[: len(known)]), sorted(known))
