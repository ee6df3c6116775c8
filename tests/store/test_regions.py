"""Windows are those of the field, and a field is decoded once."""

from pathlib import Path

import numpy as np
import pytest

from i2r.kernels.illumination import correct_plane
from i2r.kernels.regions import frame_field, scale_field
from i2r.store.illumination import write_illumination
from i2r.store.regions import RegionReader, RegionView, read_framed_field
from i2r.store.write import write_image

SHAPE = (60, 90)


class Fields:
    """Some fields on disk with nuclei at random places."""

    def __init__(self, folder: Path, n_fields: int = 6, n_nuclei: int = 80) -> None:
        random = np.random.default_rng(0)
        self.images = random.integers(0, 4000, (n_fields, 2, *SHAPE)).astype(np.uint16)
        self.urls = [str(folder / str(field)) for field in range(n_fields)]
        for url, image in zip(self.urls, self.images, strict=True):
            write_image(url, image, channels=["DNA", "GFP"])
        self.fields = random.integers(0, n_fields, n_nuclei)
        self.y = random.uniform(0, SHAPE[0] - 1, n_nuclei)
        self.x = random.uniform(0, SHAPE[1] - 1, n_nuclei)

    def open(self, **options: object) -> RegionReader:
        view = RegionView((1, 0), 32, halved=False)
        return RegionReader(
            self.urls, self.fields, self.y, self.x, **{"view": view, **options}
        )  # fmt: skip

    def cut(self, nucleus: int) -> np.ndarray:
        """Cut a window the slow way, from the field framed by a whole window as published."""
        planes = []
        for plane in self.images[self.fields[nucleus], [1, 0]]:
            scaled = scale_field(plane)
            fill = int(np.percentile(scaled, 1))
            wide = np.pad(scaled, 32, constant_values=fill)
            y, x = int(self.y[nucleus]) + 16, int(self.x[nucleus]) + 16
            planes.append(wide[y : y + 32, x : x + 32])
        return np.stack(planes)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return Fields(tmp_path_factory.mktemp("fields"))


def test_windows_are_those_of_the_field_in_the_order_asked(fields: Fields) -> None:
    reader = fields.open()
    rows = np.random.default_rng(1).permutation(len(reader))[:30]
    windows = reader.read(rows)
    assert windows.shape == (30, 2, 32, 32)
    for row, window in zip(rows, windows, strict=True):
        np.testing.assert_array_equal(window, fields.cut(int(row)))
    assert reader.read(rows[:0]).shape == (0, 2, 32, 32)


@pytest.mark.parametrize("n_kept", [1, 2, 100])
def test_an_epoch_decodes_every_field_once(fields: Fields, n_kept: int) -> None:
    size = fields.open().view.count_field_bytes(SHAPE)
    reader = fields.open(limit_bytes=n_kept * size)
    seen = []
    for rows, windows in reader.stream(batch_size=7, seed=3):
        seen += rows.tolist()
        for row, window in zip(rows, windows, strict=True):
            np.testing.assert_array_equal(window, fields.cut(int(row)))
    assert sorted(seen) == list(range(len(reader)))
    assert reader.n_decoded == len(fields.urls)
    again = [row for rows, _ in reader.stream(batch_size=7, seed=3) for row in rows.tolist()]
    assert again == seen
    # What is still in memory is not decoded again.
    assert reader.n_decoded <= 2 * len(fields.urls)
    assert (reader.n_decoded == len(fields.urls)) == (n_kept == 100)


def test_halved_fields_take_a_quarter_and_give_windows_of_half_the_edge(fields: Fields) -> None:
    whole, half = RegionView((0,), 32, halved=False), RegionView((0,), 32, halved=True)
    assert half.window_px == 16
    for view in (whole, half):
        framed = read_framed_field(fields.urls[0], view)
        assert framed.nbytes == view.count_field_bytes(SHAPE)
        expected = frame_field(scale_field(fields.images[0, 0]), size_px=32, halved=view.halved)
        np.testing.assert_array_equal(framed[0], expected)
    assert half.count_field_bytes(SHAPE) * 4 == whole.count_field_bytes(SHAPE)
    windows = fields.open(view=half).read(np.arange(3))
    assert windows.shape == (3, 1, 16, 16)


def test_illumination_is_divided_out_before_the_scale(fields: Fields, tmp_path: Path) -> None:
    function = (1 + np.mgrid[: SHAPE[0], : SHAPE[1]][1] / SHAPE[1]).astype(np.float32)
    write_illumination(str(tmp_path / "DNA"), function, function)
    functions = {0: str(tmp_path / "DNA" / "function")}
    view = RegionView((1, 0), 32, halved=False)
    corrected = correct_plane(fields.images[0, 0], function)
    framed = read_framed_field(fields.urls[0], view, functions=functions)
    np.testing.assert_array_equal(framed[1], frame_field(scale_field(corrected), size_px=32))
    # The other channel has no function.
    np.testing.assert_array_equal(framed[0], read_framed_field(fields.urls[0], view)[0])
    reader = fields.open(functions=[functions] * len(fields.urls))
    nucleus = int(np.flatnonzero(fields.fields == 0)[0])
    y, x = int(fields.y[nucleus]), int(fields.x[nucleus])
    window = reader.read(np.array([nucleus]))[0]
    np.testing.assert_array_equal(window, framed[:, y : y + 32, x : x + 32])


def test_the_published_view_is_the_default() -> None:
    view = RegionView((0,))
    assert (view.size_px, view.scale, view.window_px) == (448, "published", 224)
