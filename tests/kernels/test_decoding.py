"""Labels from predicted maps: maps drawn from known labels have to give these labels back."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from i2r.kernels.decoding import decode_nuclei, keep_largest_parts, part_spots

Labels = npt.NDArray[np.int32]


def draw_maps(labels: Labels, *, spot_px: float = 1.5) -> npt.NDArray[np.float32]:
    """Maps of a network that knows the labels, with logits of +-4."""
    maps = np.zeros((4, *labels.shape), dtype=np.float32)
    maps[0] = np.where(labels > 0, 4, -4)
    maps[1] = -4
    y, x = np.indices(labels.shape)
    for label in np.unique(labels[labels > 0]):
        own = labels == label
        centre_y, centre_x = y[own].mean(), x[own].mean()
        maps[2][own] = (centre_y - y)[own]
        maps[3][own] = (centre_x - x)[own]
        maps[1][own & (np.hypot(y - centre_y, x - centre_x) <= spot_px)] = 4
    return maps


def draw_discs(centres: list[tuple[float, float]], radius: float, shape=(60, 80)) -> Labels:
    """Discs that are cut where they meet, at equal distance from both centres."""
    y, x = np.indices(shape)
    distance = np.stack([np.hypot(y - a, x - b) for a, b in centres])
    return np.where(distance.min(axis=0) <= radius, distance.argmin(axis=0) + 1, 0).astype(np.int32)


def as_sets(labels: Labels) -> set[frozenset[int]]:
    """The objects of a label image, whatever their numbers are."""
    flat = labels.ravel()
    return {frozenset(np.flatnonzero(flat == label)) for label in np.unique(flat[flat > 0])}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 79)), min_size=0, max_size=8, unique=True)
)
def test_the_labels_that_maps_were_drawn_from_come_back(centres: list[tuple[int, int]]) -> None:
    apart = [
        c for i, c in enumerate(centres)
        if all(np.hypot(c[0] - d[0], c[1] - d[1]) >= 9 for d in centres[:i])
    ]  # fmt: skip
    truth = draw_discs(apart, 7.0) if apart else np.zeros((60, 80), np.int32)
    found = decode_nuclei(draw_maps(truth), min_area_px=0, max_hole_area_px=0)
    assert as_sets(found) == as_sets(truth)


def test_touching_nuclei_are_cut_where_their_pixels_part() -> None:
    truth = draw_discs([(30, 30), (30, 42), (41, 36)], 8.0)
    assert ndimage.label(truth)[1] == 1
    found = decode_nuclei(draw_maps(truth))
    assert found.max() == 3
    assert as_sets(found) == as_sets(truth)


def test_labels_are_numbered_in_raster_order_and_connected() -> None:
    truth = draw_discs([(50, 10), (10, 60), (30, 30)], 7.0)
    found = decode_nuclei(draw_maps(truth))
    first = [int(np.flatnonzero(found.ravel() == label)[0]) for label in (1, 2, 3)]
    assert first == sorted(first)
    assert all(ndimage.label(found == label)[1] == 1 for label in (1, 2, 3))


def test_pixels_that_point_astray_join_the_nearest_labelled_pixels() -> None:
    truth = draw_discs([(20, 20), (20, 60)], 10.0)
    maps = draw_maps(truth)
    astray = (np.indices(truth.shape)[1] >= 66) & (truth == 2)
    maps[2:, astray] = -500.0
    assert as_sets(decode_nuclei(maps)) == as_sets(truth)


def test_foreground_without_a_centre_is_no_nucleus() -> None:
    truth = draw_discs([(20, 20), (20, 60)], 10.0)
    maps = draw_maps(truth)
    maps[1, :, 40:] = -4
    assert as_sets(decode_nuclei(maps)) == as_sets(np.where(truth == 1, 1, 0))
    maps[1] = -4
    assert not decode_nuclei(maps).any()


def test_holes_are_filled_and_debris_removed_up_to_their_limits() -> None:
    truth = draw_discs([(20, 20)], 10.0)
    maps = draw_maps(truth)
    maps[0, 14:16, 20:22] = -4  # 4 px
    maps[0, 50, 50:54] = maps[1, 50, 51] = 4  # 4 px
    assert decode_nuclei(maps, min_area_px=5, max_hole_area_px=4).max() == 1
    assert as_sets(decode_nuclei(maps, min_area_px=5, max_hole_area_px=4)) == as_sets(truth)
    unfilled = decode_nuclei(maps, min_area_px=0, max_hole_area_px=3)
    assert unfilled.max() == 2
    assert not unfilled[14:16, 20:22].any()


def test_of_a_label_in_parts_the_largest_stays() -> None:
    labels = np.zeros((10, 20), dtype=np.int32)
    labels[1:3, 1:3] = 4
    labels[5:9, 1:5] = 4
    labels[5:9, 5:7] = 2
    labels[1:3, 10:12] = 9
    labels[5:7, 10:12] = 9
    keep_largest_parts(labels)
    assert sorted(np.unique(labels)) == [0, 2, 4, 9]
    assert (labels == 4).sum() == 16
    assert (labels == 9).sum() == 4
    assert labels[1, 10] == 9


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 7)])
def test_tiny_fields_are_fine(shape: tuple[int, int]) -> None:
    maps = np.full((4, *shape), -1, dtype=np.float32)
    assert not decode_nuclei(maps).any()
    maps[:2] = 1
    maps[2:] = 0
    full = decode_nuclei(maps, min_area_px=0)
    assert (full == 1).all()


def test_probabilities_are_limits() -> None:
    truth = draw_discs([(20, 20), (20, 60)], 10.0)
    maps = draw_maps(truth)
    maps[0, :, :40] = np.where(truth[:, :40] > 0, np.log(0.6 / 0.4), -4)
    assert decode_nuclei(maps, min_foreground=0.59).max() == 2
    assert decode_nuclei(maps, min_foreground=0.61).max() == 1
    # Without spots of their own, touching nuclei are one.
    touching = draw_discs([(30, 30), (30, 42)], 8.0)
    maps = draw_maps(touching)
    maps[1, :, 36:][maps[1, :, 36:] > 0] = np.log(0.6 / 0.4)
    assert decode_nuclei(maps, min_centre=0.59).max() == 2
    assert decode_nuclei(maps, min_centre=0.61).max() == 1


def test_a_spot_with_two_clear_maxima_is_two() -> None:
    row = np.array([[0, 2, 3, 1.5, 1, 1.2, 2, 0.5, 0]], dtype=np.float32)
    is_spot = row > 0
    whole, cut = (part_spots(row, is_spot, min_dip=dip) for dip in (1.1, 0.9))
    assert whole.tolist() == [[0, *[1] * 7, 0]]
    # The lowest pixel goes with its higher neighbour.
    assert cut.tolist() == [[0, 1, 1, 1, 1, 2, 2, 2, 0]]
    np.testing.assert_array_equal(part_spots(row.T, is_spot.T, min_dip=0.9), cut.T)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 3))
def test_clear_maxima_are_those_that_persist(seed: int, min_dip: float) -> None:
    centre = np.random.default_rng(seed).normal(0, 1, (9, 11)).astype(np.float32)
    is_spot = centre > -0.5
    spots = part_spots(centre, is_spot, min_dip=min_dip)
    assert ((spots > 0) == is_spot).all()
    parts = ndimage.label(is_spot)[0]
    for spot in range(1, spots.max() + 1):
        assert ndimage.label(spots == spot)[1] == 1
        assert np.unique(parts[spots == spot]).size == 1
    # A maximum persists if what is above it less the dip, around it, has nothing higher.
    clear = 0
    for y, x in np.argwhere(is_spot):
        above = ndimage.label(is_spot & (centre > np.float64(centre[y, x]) - min_dip))[0]
        around = above == above[y, x]
        clear += bool(above[y, x]) and centre[y, x] == centre[around].max()
    assert spots.max() == clear


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(4, y, x\)"):
        decode_nuclei(np.zeros((3, 5, 5), dtype=np.float32))
