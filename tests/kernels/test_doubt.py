"""Doubt: none where views agree, and patches are chosen where most of it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.doubt import Candidate, choose_doubtful, list_candidates, measure_doubt


def make_view(logit: float = 9.0) -> np.ndarray:
    """A sure square of foreground, its right half of another logit."""
    view = np.full((2, 40, 60), -9.0, np.float32)
    view[0, 10:30, 10:50] = 9.0
    view[0, 10:30, 30:50] = logit
    return view


def test_views_that_agree_leave_no_doubt() -> None:
    assert measure_doubt([make_view(), make_view()]).max() < 0.01


def test_views_that_differ_leave_a_bit() -> None:
    doubt = measure_doubt([make_view(), make_view(-9.0)])
    assert doubt[15, 40] == pytest.approx(1.0, abs=0.01)
    assert doubt[15, 20] < 0.01


def test_an_edge_alone_is_no_doubt() -> None:
    """Two views that place an edge two pixels apart."""
    one, other = make_view(), make_view()
    other[0, :, 48:50] = -9.0
    assert measure_doubt([one, other]).max() < 0.01


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)), side=st.integers(12, 40),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_candidates_cover_the_field(shape: tuple[int, int], side: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    doubt = random.random(shape).astype(np.float32)
    labels = np.zeros(shape, np.int32)
    labels[: shape[0] // 2, : shape[1] // 2] = 1
    covered = np.zeros(shape, bool)
    for box, total, n_nuclei in list_candidates(doubt, labels, side_px=side):
        y0, x0, y1, x1 = box
        assert total == pytest.approx(doubt[y0:y1, x0:x1].sum(), rel=1e-4)
        assert n_nuclei in (0, 1)
        assert 0 < y1 - y0 < 1.5 * side + 1
        covered[y0:y1, x0:x1] = True
    assert covered.all()


def test_every_field_gives_a_part_before_any_gives_two() -> None:
    full = [Candidate((0, 0, 8, 8), 9.0, 2), Candidate((0, 4, 8, 12), 8.0, 2),
            Candidate((0, 8, 8, 16), 7.0, 2)]  # fmt: skip
    poor = [Candidate((0, 0, 8, 8), 1.0, 1)]
    chosen = choose_doubtful([poor, full], n_nuclei=5, n_least=1, n_most=9)
    # The second of the full field overlaps its first.
    assert [(i, part.doubt) for i, part in chosen] == [(1, 9.0), (0, 1.0), (1, 7.0)]
    assert len(choose_doubtful([poor, full], n_nuclei=2, n_least=1, n_most=9)) == 1
    assert len(choose_doubtful([poor, full], n_nuclei=0, n_least=2, n_most=9)) == 2
    assert len(choose_doubtful([poor, full], n_nuclei=99, n_least=1, n_most=2)) == 2
