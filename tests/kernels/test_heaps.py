"""The heap against a sorted list, through any sequence of operations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.pcst.heaps import drop_item, make_indexed, set_key


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
