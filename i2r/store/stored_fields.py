"""Arrays of a well's fields, all of one known shape, read one after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.store.arrays import read_array
from i2r.store.illumination import correct_image, read_functions


@dataclass(frozen=True, slots=True)
class StoredFields:
    """Images, or label images, of some fields; nothing is read before they are iterated.

    Parameters
    ----------
    urls
        One Zarr array each.
    field_shape, dtype
        What each of them is; checked when it is read.
    channels
        Indices along the arrays' first axis, which alone are read; None for all.
    functions
        URLs of illumination functions by the channel's index, which images are divided by.
    """

    urls: Sequence[str]
    field_shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    channels: Sequence[int] | None = None
    functions: Mapping[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape with the fields as the first axis."""
        channels = () if self.channels is None else (len(self.channels),)
        return (len(self.urls), *channels, *self.field_shape[len(channels) :])

    def __len__(self) -> int:
        return len(self.urls)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Read field after field; the arrays may be shared with others and can't be written to.

        Raises
        ------
        DamageError, FieldError, FileNotFoundError
            As `i2r.store.arrays.read_array`.
        """
        divisors = read_functions(self.functions)
        if self.channels is not None:
            divisors = {n: divisors[c] for n, c in enumerate(self.channels) if c in divisors}
        for url in self.urls:
            array = correct_image(self._read(url), divisors)
            array.setflags(write=False)
            yield array

    def cut(self, first: int, last: int) -> "StoredFields":
        """Give the fields from the first to before the last."""
        urls = self.urls[first:last]
        return StoredFields(urls, self.field_shape, self.dtype, self.channels, self.functions)

    def _read(self, url: str) -> npt.NDArray[Any]:
        """Read an array, or no more of it than some channels."""
        known: dict[str, Any] = {"shape": self.field_shape, "dtype": self.dtype}
        if self.channels is None:
            return read_array(url, shared=True, **known)
        parts = [read_array(url, region=(slice(c, c + 1),), **known) for c in self.channels]
        return np.concatenate(parts)
