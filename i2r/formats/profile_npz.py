"""Embeddings of DeepProfiler: a file PLATE/WELL/SITE.npz per field, with a row per nucleus."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.store import files

LARGEST = 2**31
"""Bytes of a field's arrays beyond which a file was made to fill the memory."""


def read_npz_columns(url: str) -> tuple[list[str], list["np.dtype[np.generic]"]]:
    """List the columns of a file, and their types; see `read_npz`."""
    head = read_npz(url)
    kinds = [np.dtype(object if name in ("plate", "well", "field") else float) for name in head]
    return [str(name) for name in head], kinds


def read_npz_batches(url: str, wanted: list[str]) -> Iterator[pd.DataFrame]:
    """Read some columns of a file, which holds one field."""
    yield read_npz(url)[wanted]


def read_npz(url: str) -> pd.DataFrame:
    """Read the arrays ``features`` (nucleus, dim) and ``locations`` (nucleus, x and y in pixels).

    Nothing is unpickled: ``metadata``, which is a pickle, is not opened. Plate, well and field are
    the last three parts of the file's path.

    Raises
    ------
    InputError
        If the file is damaged, holds no such arrays, or does not lie in PLATE/WELL.
    """
    parts = url.rsplit("/", 3)[-3:]
    if len(parts) < 3:
        raise InputError(f"{url}: expected PLATE/WELL/SITE.npz. Give the folder of all plates.")
    try:
        data = files.read_bytes(url)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise ValueError("more than 2 GiB when unpacked")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = list(arrays)
            features = arrays["features"] if "features" in names else None
            places = arrays["locations"] if "locations" in names else None
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file. Give the path of a table.") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{url}: can't be read as .npz ({detail}). Export it again.") from error
    if features is None:
        raise InputError(
            f"{url}: no array 'features', found {', '.join(map(repr, names)) or 'none'}. Give "
            "DeepProfiler's folder 'features'."
        )
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise InputError(
            f"{url}: 'features' is of shape {features.shape} and type {features.dtype}, expected a "
            "row of numbers per nucleus. Export it again."
        )
    found = {"plate": parts[0], "well": parts[1], "field": parts[2].rpartition(".")[0]}
    described = pd.DataFrame(found, index=range(len(features)))
    if places is not None and places.shape[:1] == features.shape[:1] and places.ndim == 2:
        described = described.assign(x_px=places[:, 0], y_px=places[:, 1])
    columns = [f"embedding_{number:04d}" for number in range(features.shape[1])]
    return pd.concat([described, pd.DataFrame(features, columns=columns)], axis=1)
