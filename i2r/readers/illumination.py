"""Illumination functions of others: JUMP's .npy, CellProfiler's .mat and TIFF, Harmony's."""

import io
import warnings

import numpy as np
import numpy.typing as npt
import tifffile

from i2r.errors import InputError
from i2r.readers.flatfield import is_profile, read_profile
from i2r.readers.headers import MAX_DECODED_BYTES, check_directories
from i2r.store import files

# Vignetting leaves a fifth of the light in the darkest optics, and a function whose least value is
# 1 rarely has a median above 2.
USUAL_MEDIANS = (0.2, 5.0)
# What CellProfiler calls the array in a .mat file.
MAT_NAME = "Image"


def read_function(url: str, *, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Read an illumination function, by which images are divided.

    Parameters
    ----------
    url
        A profile of Harmony (`i2r.readers.flatfield`), a ``.npy`` file, a TIFF of one plane, or a
        ``.mat`` file (MATLAB 5 to 7) with the array ``Image`` or one array alone. Pickled objects
        are never loaded.
    shape
        Of the plate's fields.

    Returns
    -------
    ndarray
        Shape (y, x), float32, values as stored: see `normalise_function`.

    Raises
    ------
    InputError
        If it is no such file, too large, of another shape, or not positive and finite everywhere.
    """
    where = f"illumination function {files.without_secrets(url)}"
    function: npt.NDArray[np.number]
    try:
        data = b"" if is_profile(url) else files.read_bytes(url)
        name = url.lower()
        if is_profile(url):
            function = read_profile(url, shape=shape)
        elif name.endswith(".mat"):
            function = _decode_mat(data)
        elif name.endswith((".tif", ".tiff")):
            function = _decode_tiff(data, url)
        else:
            function = _decode_npy(data)
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file. Look at 'functions'.") from error
    except Exception as error:  # a damaged file may end anywhere in NumPy's and SciPy's readers
        detail = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise InputError(
            f"{where}: unreadable ({detail}), expected .npy, .mat or TIFF with "
            "one array of numbers, or Harmony's profile. Save it again, without pickle."
        ) from error
    if function.shape != tuple(shape):
        raise InputError(
            f"{where}: found {function.shape}, the plate's fields are {tuple(shape)}. Use the "
            "function of this plate at its own size."
        )
    if not (np.isfinite(function) & (function > 0)).all():
        raise InputError(
            f"{where}: holds values that are 0, negative or not finite, expected positive numbers: "
            "images are divided by it. Make the function again."
        )
    return function.astype(np.float32)


def normalise_function(
    function: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], float]:
    """Divide a function by its median, unless that is about 1 already.

    CellProfiler's functions have a least or mean value of 1. A flat-field image in counts, or a
    function divided by 255, has the right form on another scale: dividing images by it would make
    them black or white.

    Returns
    -------
    function : ndarray
        With a median within `USUAL_MEDIANS`.
    divisor : float
        What it was divided by; 1 where it was taken as it is.
    """
    median = float(np.median(function))
    if USUAL_MEDIANS[0] <= median <= USUAL_MEDIANS[1]:
        return function, 1.0
    return (function / median).astype(np.float32), median


def _decode_tiff(data: bytes, url: str) -> npt.NDArray[np.number]:
    check_directories(io.BytesIO(data), len(data), url)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        if file.series[0].nbytes > MAX_DECODED_BYTES:
            raise ValueError(f"it decodes to {file.series[0].nbytes} bytes")
        return _as_plane(file.series[0].asarray(maxworkers=1))


def _decode_npy(data: bytes) -> npt.NDArray[np.number]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged header may look like Python 2's
        array = np.load(io.BytesIO(data), allow_pickle=False)
    return _as_plane(array)


def _decode_mat(data: bytes) -> npt.NDArray[np.number]:
    from scipy.io import loadmat

    files.check_mat(data)
    try:
        content = loadmat(io.BytesIO(data))
    except Exception as error:  # a damaged file may end anywhere in SciPy's reader
        raise ValueError(str(error) or type(error).__name__) from error
    names = [name for name in content if not name.startswith("__")]
    name = MAT_NAME if MAT_NAME in names else names[0] if len(names) == 1 else None
    if name is None:
        raise ValueError(f"it holds {', '.join(names) or 'nothing'}")
    return _as_plane(content[name])


def _as_plane(array: object) -> npt.NDArray[np.number]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise ValueError("no array of real numbers")
    squeezed = array.squeeze()
    return squeezed if squeezed.ndim == 2 else array
