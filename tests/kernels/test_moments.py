"""Hu's moments against scikit-image, closed forms and symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from i2r.kernels.moments import HU_COLUMNS, find_centre, measure_hu_moments
from tests.kernels.shapes import draw_blobs, draw_disk, list_nuclei


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_skimage(seed: int) -> None:
    nuclei = draw_blobs(seed)
    measured = measure_hu_moments(nuclei.labels, **nuclei.listed)
    expected = np.array([region.moments_hu for region in regionprops(nuclei.labels)])
    for number, name in enumerate(HU_COLUMNS):
        np.testing.assert_allclose(
            measured[name], expected[:, number], rtol=1e-6, atol=1e-12, err_msg=name
        )


def test_disk_and_rectangle() -> None:
    disk = measure_hu_moments(draw_disk(40.2).labels, **draw_disk(40.2).listed)
    assert disk["hu_1"][0] == pytest.approx(1 / (2 * np.pi), rel=1e-3)
    assert disk["hu_2"][0] == pytest.approx(0, abs=1e-12)
    box = list_nuclei(np.ones((6, 30), np.int32))
    measured = measure_hu_moments(box.labels, **box.listed)
    y, x = (6**2 - 1) / 12 / 180, (30**2 - 1) / 12 / 180  # variances over the area
    assert measured["hu_1"][0] == pytest.approx(y + x)
    assert measured["hu_2"][0] == pytest.approx((x - y) ** 2)


def test_mirroring_turns_the_sign_of_the_last_one_only() -> None:
    nuclei = draw_blobs(3)
    mirrored = list_nuclei(np.ascontiguousarray(nuclei.labels[:, ::-1]))
    first = measure_hu_moments(nuclei.labels, **nuclei.listed)
    second = measure_hu_moments(mirrored.labels, **mirrored.listed)
    for name in HU_COLUMNS[:-1]:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(second["hu_7"], -first["hu_7"], rtol=1e-6, atol=1e-15)


def test_centre_of_nothing_is_zero() -> None:
    assert find_centre(np.zeros((3, 4))) == (0.0, 0.0)
    assert find_centre(np.eye(5)) == (2.0, 2.0)
