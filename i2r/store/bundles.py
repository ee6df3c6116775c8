"""Arrays that units of one stage leave for each other: NumPy's npz files, without any object."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store import files
from i2r.store.outputs import damaged


def write_arrays(url: str, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    """Write arrays by name as one file, replacing it in one step; give its bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return files.write_bytes(url, buffer.getvalue())


def read_arrays(url: str) -> dict[str, npt.NDArray[Any]]:
    """Read what `write_arrays` wrote.

    Raises
    ------
    DamageError
        If it is not such a file.
    """
    try:
        with np.load(io.BytesIO(files.read_bytes(url)), allow_pickle=False) as bundle:
            return {name: bundle[name] for name in bundle.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise damaged(url, str(error)[:120]) from error
