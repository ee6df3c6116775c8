"""A plate of an experiment: its images and labels as lazy arrays."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import I2RError, InputError
from i2r.store import files
from i2r.store.arrays import read_array
from i2r.store.catalog import Catalog
from i2r.store.crops import open_lazily
from i2r.store.illumination import correct_image, read_functions
from i2r.types import PLATE_FORMATS, parse_well, unit_key

if TYPE_CHECKING:
    import xarray

# Above this a well's images are split along the fields, in as few equal chunks as possible.
CHUNK_BYTES = 512 * 2**20


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
        divisors = read_functions(self.functions) if self.functions else {}
        if self.channels is not None:
            divisors = {n: divisors[c] for n, c in enumerate(self.channels) if c in divisors}
        for url in self.urls:
            array = self._read(url)
            if divisors:
                array = correct_image(array, divisors)
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


class Plate:
    """Opens the images and labels of one plate; nothing is read before it is computed.

    Parameters
    ----------
    name
        The plate's name.
    rows : (well,) intp
        Which rows of the layout are the plate's.
    experiment
        The experiment that holds it.

    Attributes
    ----------
    channels : list of str
        The channels' names, in the order of the images' first axis.
    pixel_size_um : float
        The edge of a pixel in microns.
    shape : tuple of int
        The expected shape (c, y, x) of a field.
    dtype : dtype
        The expected pixel type, uint8 or uint16.
    stored_dtype : dtype
        The type that most of its source files have; that of the pixels in experiments of old.
    """

    def __init__(self, name: str, rows: npt.NDArray[np.intp], experiment: Catalog) -> None:
        self.name = name
        self._numbers = rows
        self._experiment = experiment
        first = experiment.layout.iloc[int(rows[0])]
        self.channels = [str(channel) for channel in first["channels"]]
        self.pixel_size_um = float(first["pixel_size_um"])
        self.shape = (len(self.channels), int(first["height_px"]), int(first["width_px"]))
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(str(first["dtype"]))
        stored = first.get("stored_dtype")
        is_said = isinstance(stored, str) and stored
        self.stored_dtype: np.dtype[Any] = np.dtype(stored) if is_said else self.dtype

    @property
    def rows(self) -> pd.DataFrame:
        """The plate's rows of the layout; made anew, because there may be thousands of plates."""
        return self._experiment.layout.iloc[self._numbers]

    @cached_property
    def described(self) -> tuple[list[str], tuple[int, int, int], str]:
        """Channels, shape and pixel type, as fingerprints hold them."""
        return self.channels, self.shape, str(self.dtype)

    def __repr__(self) -> str:
        fields = int(self.rows["n_fields"].sum()) if "n_fields" in self.rows else 0
        c, y, x = self.shape
        return (
            f"Plate {self.name}: {len(self.rows)} wells, {fields} fields of ({c}, {y}, {x}) "
            f"{self.dtype}, {self.pixel_size_um:g} um per pixel, channels "
            + ", ".join(self.channels)
        )

    @property
    def wells(self) -> list[str]:
        """The wells of the layout, ``B03``."""
        return [str(well) for well in self.rows["well"]]

    def _key(self, well: str) -> str:
        """Name the unit of a well, written in any way: ``B03``, ``b3``, ``r02c03``."""
        try:
            key = unit_key(self.name, parse_well(well).name)
        except ValueError as error:
            raise InputError(f"plate {self.name!r}: {error}.") from error
        if key not in self._experiment.wells:
            raise InputError(
                f"plate {self.name!r}: no well {well!r} in the layout, expected one of "
                f"{', '.join(self.wells[:8])}{', ...' if len(self.wells) > 8 else ''}. "
                "Name one of them."
            )
        return key

    def _fields(
        self, key: str, stages: Sequence[str], fields: Sequence[object] | None
    ) -> list[str]:
        """List the fields to open: all that may be used after some stages, or those asked for."""
        if fields is None:
            return self._experiment.fields(key, stages)
        known = self._experiment.wells[key].fields
        wanted = [str(field) for field in fields]  # 1 is meant as '1'
        if missing := [field for field in wanted if field not in known]:
            raise InputError(
                f"well {key!r}: no field {missing[0]!r}, expected one of {', '.join(known)}. "
                "Name one of them."
            )
        return wanted

    @property
    def format_size(self) -> tuple[int, int] | None:
        """Rows and columns of the physical plate; None where nobody said."""
        number = self.rows["plate_format"].iloc[0] if "plate_format" in self.rows else 0
        return PLATE_FORMATS.get(int(number))

    def field_bytes(self) -> int:
        """Give the size of one field's image, all channels, in memory."""
        c, y, x = self.shape
        return c * y * x * self.dtype.itemsize

    def images(
        self,
        well: str,
        *,
        fields: Sequence[object] | None = None,
        channels: list[int] | None = None,
        after: Sequence[str] = (),
    ) -> da.Array:
        """Open the images of a well.

        Parameters
        ----------
        well
            The well, ``B03``.
        fields
            Only these fields, ``"1"`` or 1; None takes every field that was converted.
        channels
            Indices of channels: no others are read. None for all.
        after
            Names of stages: images are divided by the illumination functions that they made.

        Returns
        -------
        dask.array.Array
            Shape (field, c, y, x), dtype as measured. One chunk unless that exceeds 512 MiB.

        Raises
        ------
        I2RError
            If an illumination function is wanted but not done.
        InputError
            If the layout has no such well, or the well no such field.
        """
        key = self._key(well)
        named = self._fields(key, ["convert"], fields)
        found = self.find_images(key, named, channels=channels, after=after)
        return read_lazily(found, per_chunk=self._fields_per_chunk())

    def find_images(
        self,
        key: str,
        fields: Sequence[str],
        *,
        channels: list[int] | None = None,
        after: Sequence[str] = (),
    ) -> StoredFields:
        """Find images of a unit ``P1/B03``, to be read one after another; see `images`."""
        urls = [f"{self._experiment.image_url(key, field)}/0" for field in fields]
        return StoredFields(urls, self.shape, self.dtype, channels, self.find_functions(after))

    def find_functions(self, stages: Iterable[str]) -> dict[int, str]:
        """Find the illumination functions that images are divided by after some stages.

        Parameters
        ----------
        stages
            Names of the stages that count, in the order of the pipeline; others than 'illuminate'
            have no functions. The last one that has a channel's function counts.

        Returns
        -------
        dict
            The URL of the function by the channel's index; channels without are not corrected.

        Raises
        ------
        I2RError
            If a function was wanted but could not be made.
        """
        found: dict[int, str] = {}
        for stage in stages:
            for index, channel in enumerate(self.channels):
                key = f"{self.name}/{channel}"
                entry = self._experiment.ledger.entry(stage, key)
                if entry is None or key in self._experiment.wells:
                    continue
                if entry.event != "done":
                    raise I2RError(
                        f"plate {self.name!r} channel {channel!r}: its illumination function is "
                        "not done. See 'i2r errors', then 'i2r retry'."
                    )
                if entry.report.wrote == "illumination":
                    url = self._experiment.illumination_url(stage, self.name, channel)
                    found[index] = f"{url}/function"
        return found

    def labels(
        self, well: str, *, name: str = "segment", fields: Sequence[object] | None = None
    ) -> da.Array:
        """Open the label images of a well, shape (field, y, x), dtype int32, 0 = background.

        They are chunked like the images.
        """
        key = self._key(well)
        found = self.find_labels(key, self._fields(key, ["convert", name], fields), name=name)
        return read_lazily(found, per_chunk=self._fields_per_chunk())

    def find_labels(self, key: str, fields: Sequence[str], *, name: str) -> StoredFields:
        """Find label images of a unit, to be read one after another; see `labels`."""
        urls = [f"{self._experiment.image_url(key, field)}/labels/{name}/0" for field in fields]
        return StoredFields(urls, self.shape[1:], np.dtype(np.int32))

    def _fields_per_chunk(self) -> int:
        """Give how many fields a chunk holds, of images and of labels alike."""
        return max(1, CHUNK_BYTES // max(1, self.field_bytes()))

    def open_images(
        self, well: str, *, fields: Sequence[object] | None = None, after: Sequence[str] = ()
    ) -> "xarray.DataArray":
        """Open the images of a well with named axes; see `images`.

        Returns
        -------
        xarray.DataArray
            (field, c, y, x) over dask. Coordinates: fields and channels by name, y and x of the
            pixels' centres in microns from the field's upper left corner.
        """
        array = self.images(well, fields=fields, after=after)
        return self._name_axes(array, self._fields(self._key(well), ["convert"], fields))

    def open_labels(
        self, well: str, *, name: str = "segment", fields: Sequence[object] | None = None
    ) -> "xarray.DataArray":
        """Open the label images of a well with named axes (field, y, x); see `open_images`."""
        array = self.labels(well, name=name, fields=fields)
        return self._name_axes(array, self._fields(self._key(well), ["convert", name], fields))

    def _name_axes(self, array: da.Array, fields: Sequence[str]) -> "xarray.DataArray":
        import xarray  # half a second

        axes = ("field", "c", "y", "x") if array.ndim == 4 else ("field", "y", "x")
        named: dict[str, Any] = {"field": list(fields), "c": self.channels}
        for axis, length in zip("yx", array.shape[-2:], strict=True):
            centres = (np.arange(length) + 0.5) * self.pixel_size_um
            named[axis] = (axis, centres, {"units": "um"})
        return xarray.DataArray(array, dims=axes, coords={axis: named[axis] for axis in axes})

    def crops(self, well: str, *, name: str = "crop") -> da.Array:
        """Open the crops of a well, shape (nucleus, c, y, x), in the order of the stage's table.

        Raises
        ------
        InputError
            If the stage cut none there.
        """
        key = self._key(well)
        url = self._experiment.crops_url(name, key)
        result = self._experiment.ledger.result(name, key)
        if result is None:
            raise InputError(f"{key}: no crops {name!r}. See what 'i2r status' lists.")
        document = json.loads(files.read_bytes(f"{url}/zarr.json"))
        return open_lazily(url, tuple(document["shape"]), document["data_type"])


def read_lazily(fields: StoredFields, *, per_chunk: int) -> da.Array:
    """Stack the arrays of fields along a new first axis, opening none of them yet.

    Parameters
    ----------
    fields
        The arrays.
    per_chunk
        Most fields in a chunk: it is split along the first axis only, in equal chunks.

    Returns
    -------
    dask.array.Array
        Of the fields' shape.
    """
    shape, dtype = fields.shape, fields.dtype
    if not len(fields):
        return da.zeros(shape, dtype=dtype, chunks=shape)
    n_chunks = -(-len(fields) // per_chunk)
    counts = tuple(len(part) for part in np.array_split(np.arange(len(fields)), n_chunks))
    assert sum(counts) == len(fields)
    # A function inside this one would be pickled by value, which takes longer than all the rest.
    return da.map_blocks(
        partial(_read_block, fields),
        chunks=(counts, *((n,) for n in shape[1:])),
        dtype=dtype,
        meta=np.empty((0,) * len(shape), dtype=dtype),
    )


def _read_block(
    fields: StoredFields, *, block_info: dict[None, dict[str, list[tuple[int, int]]]]
) -> np.ndarray:
    """Read the arrays of one block."""
    first, last = block_info[None]["array-location"][0]
    block = np.empty(0, fields.dtype)
    for n, image in enumerate(fields.cut(first, last)):
        if not n:
            block = np.empty((last - first, *image.shape), image.dtype)
        # One after another: the memory of one image serves the next.
        block[n] = image
    return block
