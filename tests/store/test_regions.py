"""Fields that windows are cut from: scaled, framed, halved, and lit evenly."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from i2r.kernels.illumination import correct_plane
from i2r.kernels.regions import frame_field, scale_field
from i2r.store.illumination import write_illumination
from i2r.store.images import write_image
from i2r.store.regions import RegionView, read_framed_field

SHAPE = (60, 90)


class Field(NamedTuple):
    """A field on disk."""

    url: str
    image: np.ndarray


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    url = str(tmp_path_factory.mktemp("fields") / "1")
    image = np.random.default_rng(0).integers(0, 4000, (2, *SHAPE)).astype(np.uint16)
    write_image(url, image, channels=["DNA", "GFP"])
    return Field(url, image)


@pytest.mark.parametrize("halved", [False, True])
def test_a_framed_field_is_the_scaled_one_in_its_frame(field: Field, halved: bool) -> None:
    view = RegionView((1, 0), 32, halved=halved)
    framed = read_framed_field(field.url, view)
    assert framed.nbytes == view.count_field_bytes(SHAPE)
    for plane, channel in zip(framed, (1, 0), strict=True):
        expected = frame_field(scale_field(field.image[channel]), size_px=32, halved=halved)
        np.testing.assert_array_equal(plane, expected)


def test_illumination_is_divided_out_before_the_scale(field: Field, tmp_path: Path) -> None:
    function = (1 + np.mgrid[: SHAPE[0], : SHAPE[1]][1] / SHAPE[1]).astype(np.float32)
    write_illumination(str(tmp_path / "DNA"), function, function)
    functions = {0: str(tmp_path / "DNA" / "function")}
    view = RegionView((1, 0), 32, halved=False)
    corrected = correct_plane(field.image[0], function)
    framed = read_framed_field(field.url, view, functions=functions)
    np.testing.assert_array_equal(framed[1], frame_field(scale_field(corrected), size_px=32))
    # The other channel has no function.
    np.testing.assert_array_equal(framed[0], read_framed_field(field.url, view)[0])


def test_the_published_view_is_the_default() -> None:
    assert RegionView((0,)) == RegionView((0,), size_px=448, halved=True)
