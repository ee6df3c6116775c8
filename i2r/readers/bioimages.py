"""Planes of .czi, .nd2 and .lif files, read by bioio where the user has installed it."""

import importlib
import importlib.util
import threading
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import FieldError, InputError
from i2r.readers.headers import MAX_DECODED_BYTES, PIXEL_TYPES, unreadable
from i2r.store import files

# The plug-in of each kind of file, and how it is installed. That of .czi is under GPL-3.0, which
# i2r is not: it is the user's own to add.
PLUGINS = {
    ".nd2": ("bioio_nd2", "pip install 'i2r[vendors]'"),
    ".lif": ("bioio_lif", "pip install 'i2r[vendors]'"),
    ".czi": ("bioio_czi", "pip install bioio bioio-czi (under GPL-3.0)"),
}
# Planes of one scene are numbered below this; more are none of a well.
MOST_PLANES = 2**24
# bioio's readers keep which scene is open.
_LOCK = threading.Lock()


def is_bioimage(url: str) -> bool:
    """Tell whether a file has the name of one that bioio reads."""
    return url.lower().endswith(tuple(PLUGINS))


def explain_missing(ending: str) -> str:
    """Say how files of this kind are read; empty where what reads them is installed."""
    module, command = PLUGINS[ending]
    found = all(importlib.util.find_spec(name) is not None for name in ("bioio", module))
    return "" if found else f"which i2r reads by bioio, and that is not installed: {command}"


def open_bioimage(url: str) -> Any:
    """Open a file with bioio.

    Raises
    ------
    InputError
        If bioio or its plug-in is not installed, or the file is on another machine.
    FieldError
        If there is no such file, or it can't be read.
    """
    ending = url[url.rfind(".") :].lower()
    where = files.without_secrets(url)
    if missing := explain_missing(ending):
        raise InputError(f"{where}: found a {ending} file, {missing}.")
    if not files.is_local(url):
        raise InputError(f"{where}: bioio reads {ending} files of this machine. Copy it here.")
    stat = files.stat(url)
    return _open(files.local_path(url), ending, stat.size_bytes, stat.mtime_ns)


@lru_cache(maxsize=8)
def _open(path: str, ending: str, size_bytes: int, mtime_ns: int) -> Any:
    bioio = importlib.import_module("bioio")
    reader = importlib.import_module(PLUGINS[ending][0]).Reader
    try:
        return bioio.BioImage(path, reader=reader)
    except Exception as error:  # each plug-in has errors of its own
        raise unreadable(path, str(error) or type(error).__name__) from error


class Scene:
    """One image of a file, as bioio describes it."""

    def __init__(self, url: str, number: int) -> None:
        self._image, self._number, self._url = open_bioimage(url), number, url
        try:
            with _LOCK:
                self._image.set_scene(number)
                dims = self._image.dims
                self.sizes = {axis: int(getattr(dims, axis, 1)) for axis in "TCZYX"}
                self.dtype = np.dtype(self._image.dtype)
                self.channels = [str(name) for name in self._image.channel_names or []]
                sizes = self._image.physical_pixel_sizes
        except Exception as error:
            raise unreadable(url, str(error) or type(error).__name__) from error
        self.pixel_size_um, self.pixel_height_um = (
            float(size) if size else float("nan") for size in (sizes.X, sizes.Y)
        )
        self.shape = (self.sizes["Y"], self.sizes["X"])
        where = files.without_secrets(url)
        if "S" in str(dims.order):
            raise FieldError(
                f"rgb: {where} is a colour image, expected one grey channel per plane. Export the "
                "raw channels, not a rendered picture."
            )
        n_decoded = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if self.dtype not in PIXEL_TYPES or n_decoded > MAX_DECODED_BYTES:
            raise FieldError(
                f"dtype: {where} has {self.dtype} planes of {self.shape}, expected 8 or 16 bit "
                "integers, or 32 or 64 bit numbers, of at most 1 GiB. Export the raw images."
            )

    def read(self, *, time: int, channel: int, z: int) -> npt.NDArray[Any]:
        """Read one plane (y, x)."""
        import dask  # with its array, which bioio needs anyway: 0.4 s

        try:
            # In this thread: the unit that asks is one of Dask's tasks itself.
            with _LOCK, dask.config.set(scheduler="synchronous"):
                self._image.set_scene(self._number)
                plane = np.asarray(self._image.get_image_dask_data("YX", T=time, C=channel, Z=z))
        except Exception as error:
            raise unreadable(self._url, str(error) or type(error).__name__) from error
        # The reader of .nd2 gives zeros for a frame that the file has lost.
        if self._url.lower().endswith(".nd2") and not plane.any():
            raise unreadable(self._url, "a frame holds zeros alone, as one that is lost does")
        if plane.shape != self.shape:
            raise unreadable(self._url, f"decoded to {plane.shape} {plane.dtype}")
        return plane.astype(plane.dtype.newbyteorder("="), copy=False)


def list_scenes(url: str) -> list[str]:
    """Name the images of a file.

    Raises
    ------
    FieldError
        If it can't be read, and for all that `open_bioimage` refuses.
    """
    image = open_bioimage(url)
    try:
        with _LOCK:
            return [str(name) for name in image.scenes]
    except Exception as error:  # .nd2 files are read no earlier than here
        raise unreadable(url, str(error) or type(error).__name__) from error


def read_bioimage_plane(url: str, *, page: int) -> npt.NDArray[Any]:
    """Read a plane by its number: scene times `MOST_PLANES`, then by time, channel and z.

    Raises
    ------
    FieldError
        With the reason ``missing`` or ``truncated``.
    """
    scene = Scene(url, page // MOST_PLANES)
    within = page % MOST_PLANES
    n_planes = scene.sizes["T"] * scene.sizes["C"] * scene.sizes["Z"]
    if within >= n_planes:
        raise FieldError(
            f"missing: {files.without_secrets(url)} has {n_planes} planes, expected plane {within} "
            "(counted from 0). Export the file again."
        )
    rest, z = divmod(within, scene.sizes["Z"])
    time, channel = divmod(rest, scene.sizes["C"])
    return scene.read(time=time, channel=channel, z=z)
