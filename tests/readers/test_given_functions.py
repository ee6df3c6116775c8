"""Illumination functions of others: read as they are, refused with one line."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from i2r.errors import InputError
from i2r.readers.illumination import normalise_function, read_function

SHAPE = (6, 8)
FUNCTION = np.linspace(1, 2, 48).reshape(SHAPE)


def test_npy_and_mat_give_the_same_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FUNCTION)
    np.save(tmp_path / "one.npy", FUNCTION[..., None].astype(np.float32))
    savemat(tmp_path / "named.mat", {"Image": FUNCTION, "other": 1.0})
    savemat(tmp_path / "alone.MAT", {"illum": FUNCTION}, appendmat=False)
    for name in ("a.npy", "one.npy", "named.mat", "alone.MAT"):
        function = read_function(str(tmp_path / name), shape=SHAPE)
        assert function.dtype == np.float32
        np.testing.assert_allclose(function, FUNCTION, rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (FUNCTION[1:], r"found \(5, 8\), the plate's fields are \(6, 8\)"),
        (FUNCTION - 1, "0, negative or not finite"),
        (np.where(FUNCTION > 1.5, np.nan, 1), "0, negative or not finite"),
        (np.array(["x"]), "no array of real numbers"),
    ],
)
def test_functions_that_do_not_fit_are_refused(
    array: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(InputError, match=message):
        read_function(str(tmp_path / "f.npy"), shape=SHAPE)


def test_pickles_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("1, 2")
    (tmp_path / "text.mat").write_text("1, 2")
    (tmp_path / "empty.mat").write_bytes(b"")
    savemat(tmp_path / "two.mat", {"a": FUNCTION, "b": FUNCTION})
    for name in ("pickle.npy", "text.npy", "text.mat", "empty.mat", "two.mat"):
        with pytest.raises(InputError, match="unreadable") as caught:
            read_function(str(tmp_path / name), shape=SHAPE)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_function(str(tmp_path / "missing.npy"), shape=SHAPE)


@pytest.mark.parametrize(
    ("scale", "dtype", "divided"),
    [
        (1, "float64", False),
        (0.5, "float32", False),
        (3000, "uint16", True),
        (1 / 255, "float32", True),
    ],
)
@pytest.mark.parametrize("name", ["f.npy", "f.tif", "f.tiff", "f.mat"])
def test_functions_of_another_scale_are_divided_by_their_median(
    tmp_path: Path, name: str, scale: float, dtype: str, divided: bool
) -> None:
    """A flat-field image in counts has the right form: dividing by it as it is makes all black."""
    function, path = (FUNCTION * scale).astype(dtype), tmp_path / name
    if name.endswith(".npy"):
        np.save(path, function)
    elif name.endswith(".mat"):
        savemat(path, {"Image": function})
    else:
        tifffile.imwrite(path, function)
    found, divisor = normalise_function(read_function(str(path), shape=SHAPE))
    assert (divisor != 1) == divided
    np.testing.assert_allclose(found * divisor, function, rtol=1e-6)
    if divided:
        assert np.median(found) == pytest.approx(1)
        assert divisor == pytest.approx(np.median(FUNCTION) * scale, rel=1e-3)


def test_tiffs_of_several_planes_zeros_and_nan_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.tif"
    broken = FUNCTION.astype(np.float32)
    for array, message in (
        (np.stack([FUNCTION, FUNCTION]), "found"),
        (np.where(broken > 1.9, np.nan, broken), "not finite"),
        ((broken > 1.5).astype(np.uint16), "0, negative"),
    ):
        tifffile.imwrite(path, array, photometric="minisblack")
        with pytest.raises(InputError, match=message):
            read_function(str(path), shape=SHAPE)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="unreadable"):
        read_function(str(path), shape=SHAPE)
