"""Crops pixel by pixel, the order of the rules, and the published scaling."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2r.kernels.crops import REASONS, Reason, cut_crops, select_nuclei
from i2r.kernels.nuclei import measure_nuclei

BBOX = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")


@st.composite
def fields(draw: st.DrawFn) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
    """Nuclei with holes, some on the border; every pixel of the image is unique."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros((33, 40), dtype=np.int32)
    for label in range(1, draw(st.integers(1, 6)) + 1):
        y, x = draw(st.integers(0, 32)), draw(st.integers(0, 39))
        part = labels[y : y + draw(st.integers(1, 9)), x : x + draw(st.integers(1, 9))]
        part[random.random(part.shape) < 0.9] = label * 3
    image = random.permutation(2 * labels.size).reshape(2, *labels.shape) + 1
    return labels, image.astype(np.uint16)


@settings(max_examples=50, deadline=None)
@given(fields(), st.integers(12, 19))
def test_every_pixel_of_a_crop_is_where_it_was_published(
    field: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]], size_px: int
) -> None:
    labels, image = field
    measured = measure_nuclei(labels, image)
    keep = select_nuclei(measured, size_px=size_px) == Reason.KEPT
    bbox = np.stack([measured[name] for name in BBOX], axis=1)[keep]
    ids = measured["label"][keep]
    masked = cut_crops(image, labels, label_ids=ids, bbox=bbox, size_px=size_px)
    around = cut_crops(image, labels, label_ids=ids, bbox=bbox, size_px=size_px, masked=False)
    assert masked.shape == around.shape == (ids.size, 2, size_px, size_px)
    assert masked.dtype == image.dtype
    wide = np.pad(image, ((0, 0), (size_px, size_px), (size_px, size_px)))
    for i, (y0, x0, y1, x1) in enumerate(bbox):
        expected = np.zeros((2, size_px, size_px), dtype=np.uint16)
        top, left = size_px // 2 - (y1 - y0) // 2, size_px // 2 - (x1 - x0) // 2
        own = np.where(labels[y0:y1, x0:x1] == ids[i], image[:, y0:y1, x0:x1], 0)
        expected[:, top : top + y1 - y0, left : left + x1 - x0] = own
        np.testing.assert_array_equal(masked[i], expected)
        y, x = y0 - top + size_px, x0 - left + size_px
        np.testing.assert_array_equal(around[i], wide[:, y : y + size_px, x : x + size_px])
    areas = measured["area_px"][keep]
    np.testing.assert_array_equal((masked[:, 0] > 0).sum(axis=(1, 2)), areas)


def test_no_nuclei_and_nuclei_that_do_not_fit() -> None:
    image, labels = np.ones((3, 20, 20), dtype=np.uint8), np.ones((20, 20), dtype=np.int32)
    none = cut_crops(
        image, labels, label_ids=np.zeros(0, dtype=int), bbox=np.zeros((0, 4), dtype=int)
    )
    assert none.shape == (0, 3, 64, 64)
    assert none.dtype == np.uint8
    one = np.array([1])
    for box in ([0, 0, 17, 4], [-1, 0, 4, 4], [0, 18, 4, 21], [3, 3, 3, 5]):
        with pytest.raises(ValueError, match="1 bounding boxes"):
            cut_crops(image, labels, label_ids=one, bbox=np.array([box]), size_px=16)
    with pytest.raises(ValueError, match=r"expected \(n,\) and \(n, 4\)"):
        cut_crops(image, labels, label_ids=one, bbox=np.zeros((2, 4), dtype=int))
    with pytest.raises(ValueError, match="like the labels"):
        cut_crops(image[:, 1:], labels, label_ids=one, bbox=np.array([[0, 0, 2, 2]]))


def measured_nucleus(**changes: float) -> dict[str, npt.NDArray[np.number]]:
    """One nucleus exactly at every published bound, with some values changed."""
    values = {
        "area_px": 400,
        "bbox_y0": 10,
        "bbox_x0": 20,
        "bbox_y1": 74,
        "bbox_x1": 82,
        "major_axis_px": 50.0,
        "minor_axis_px": 5.0,
        "solidity": 0.1,
        "touches_border": False,
    }
    return {name: np.array([value]) for name, value in (values | changes).items()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "kept"),
        ({"area_px": 4000}, "kept"),
        ({"area_px": 399}, "area_small"),
        ({"area_px": 4001}, "area_large"),
        ({"bbox_x1": 83}, "bbox_area"),
        ({"bbox_y1": 75, "bbox_x1": 30}, "too_large_for_crop"),
        ({"solidity": 0.099}, "solidity"),
        ({"minor_axis_px": 4.99}, "aspect_ratio"),
        ({"major_axis_px": 0.0, "minor_axis_px": 0.0}, "kept"),
        ({"touches_border": True}, "border"),
        ({"area_px": 399, "solidity": 0, "touches_border": True}, "area_small"),
        ({"bbox_y1": 100, "bbox_x1": 100, "solidity": 0}, "bbox_area"),
        ({"minor_axis_px": 0.0, "touches_border": True}, "aspect_ratio"),
    ],
)
def test_bounds_are_inclusive_and_the_first_rule_counts(
    changes: dict[str, float], reason: str
) -> None:
    codes = select_nuclei(
        measured_nucleus(**changes),
        min_area_px=400,
        max_area_px=4000,
        max_bbox_area_px=64 * 62,
        min_solidity=0.1,
        min_aspect_ratio=0.1,
        exclude_border=True,
    )
    assert codes.dtype == np.uint8
    assert REASONS[int(codes[0])] == reason


def test_without_rules_only_the_crop_size_excludes() -> None:
    wild = measured_nucleus(area_px=1, solidity=0, minor_axis_px=0, touches_border=True)
    assert select_nuclei(wild).tolist() == [Reason.KEPT]
    assert select_nuclei(wild, size_px=63).tolist() == [Reason.TOO_LARGE_FOR_CROP]
    empty = {name: values[:0] for name, values in wild.items()}
    assert select_nuclei(empty).shape == (0,)


def test_crops_go_where_they_are_wanted() -> None:
    image = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    labels = np.zeros((20, 20), np.int32)
    labels[5:9, 6:12] = 3
    where = {"label_ids": np.array([3]), "bbox": np.array([[5, 6, 9, 12]])}
    together = np.zeros((3, 1, 16, 16), np.uint16)
    cut = cut_crops(image, labels, size_px=16, out=together[1:2], **where)
    assert cut.base is together
    np.testing.assert_array_equal(cut, cut_crops(image, labels, size_px=16, **where))
    assert not together[[0, 2]].any()
    with pytest.raises(ValueError, match="out is"):
        cut_crops(image, labels, size_px=16, out=together, **where)
