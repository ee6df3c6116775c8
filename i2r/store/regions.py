"""Regions of the field around nuclei, cut on demand: fields are decoded once and never stored."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.kernels.illumination import correct_plane
from i2r.kernels.regions import (
    RegionScale,
    cut_windows,
    frame_field,
    place_windows,
    scale_field,
)
from i2r.store.arrays import read_array


class RegionView(NamedTuple):
    """What is cut around a nucleus.

    Attributes
    ----------
    channels
        Indices of the channels, in the order wanted.
    size_px
        Edge of the window in pixels of the field. Published: 448.
    scale
        How the field becomes 8 bit; see `i2r.kernels.regions.scale_field`.
    halved
        Whether fields are kept at half their resolution, windows too: 224 px then.
    """

    channels: tuple[int, ...]
    size_px: int = 448
    scale: RegionScale = "published"
    halved: bool = True

    @property
    def window_px(self) -> int:
        """Edge of the windows as they come out."""
        return self.size_px // 2 if self.halved else self.size_px

    def count_field_bytes(self, shape: tuple[int, int]) -> int:
        """Give the memory that a framed field of that height and width takes."""
        height, width = (n + self.size_px for n in shape)
        if self.halved:
            height, width = (height + 1) // 2, (width + 1) // 2
        return len(self.channels) * height * width


def read_framed_field(
    url: str, view: RegionView, *, functions: Mapping[int, str] | None = None
) -> npt.NDArray[np.uint8]:
    """Read a field, divide out its illumination, scale it to 8 bit and frame it.

    Parameters
    ----------
    url
        The field's image group (`i2r.store.experiment.Experiment.image_url`).
    view
        What will be cut.
    functions
        URLs of illumination functions by the channel's index
        (`i2r.store.illumination.find_functions_of_crops`); None for none.

    Returns
    -------
    ndarray
        Shape (c, y, x): the windows' starts in it are those of `place_windows`.

    Raises
    ------
    FileNotFoundError
        If there is no such field.
    """
    planes = [read_array(f"{url}/0", region=(slice(c, c + 1),))[0] for c in view.channels]
    for number, channel in enumerate(view.channels):
        if functions and channel in functions:
            planes[number] = correct_plane(planes[number], read_array(functions[channel]))
    return np.stack(
        [
            frame_field(
                scale_field(plane, scale=view.scale), size_px=view.size_px, halved=view.halved
            )
            for plane in planes
        ]
    )


class RegionReader:
    """Cuts windows around nuclei; framed fields stay in memory as long as there is room.

    Parameters
    ----------
    urls
        The fields' image groups.
    fields
        Shape (nucleus,): index of each nucleus's field.
    centroid_y_px, centroid_x_px
        Shape (nucleus,): centroids in the fields, in pixels.
    view
        What is cut.
    functions
        Per field: URLs of illumination functions by the channel's index; empty for none.
    limit_bytes
        The most that framed fields may take; one field is kept in any case.

    Attributes
    ----------
    n_decoded
        How many fields were read so far, those read again counted again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        fields: npt.NDArray[np.integer],
        centroid_y_px: npt.NDArray[np.floating],
        centroid_x_px: npt.NDArray[np.floating],
        *,
        view: RegionView,
        functions: Sequence[Mapping[int, str]] = (),
        limit_bytes: int = 2**30,
    ) -> None:
        self.urls = tuple(urls)
        self.fields = np.asarray(fields, dtype=np.int64)
        self.view = view
        self.functions = tuple(functions) or ({},) * len(self.urls)
        self.limit_bytes = limit_bytes
        self.n_decoded = 0
        self._places = place_windows(centroid_y_px, centroid_x_px, halved=view.halved)
        self._kept: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.fields)

    def read(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Cut the windows of some nuclei.

        Parameters
        ----------
        rows
            Shape (n,): which nuclei, in any order.

        Returns
        -------
        ndarray
            Shape (n, c, window_px, window_px), uint8, in the order of the rows.
        """
        size = self.view.window_px
        windows = np.empty((len(rows), len(self.view.channels), size, size), dtype=np.uint8)
        fields = self.fields[rows]
        # What is in memory comes first: reading the others may push it out.
        wanted = sorted(set(fields.tolist()), key=lambda field: field not in self._kept)
        for field in wanted:
            here = np.flatnonzero(fields == field)
            framed = self._open(field)
            windows[here] = cut_windows(framed, self._places[rows[here]], size_px=size)
        return windows

    def stream(
        self, *, batch_size: int, seed: np.random.SeedSequence | int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
        """Go once over all nuclei in random minibatches and decode every field once.

        Fields come in random order, as many at a time as there is room for; minibatches are drawn
        from their nuclei together.

        Parameters
        ----------
        batch_size
            Nuclei in a minibatch; the last of a group of fields may be smaller.
        seed
            Decides the order.

        Yields
        ------
        rows, windows
            Which nuclei, and their windows (n, c, window_px, window_px).
        """
        random = np.random.default_rng(seed)
        by_field = np.argsort(self.fields, kind="stable")
        present, starts = np.unique(self.fields[by_field], return_index=True)
        nuclei = dict(zip(present.tolist(), np.split(by_field, starts[1:]), strict=True))
        group: list[int] = []
        n_bytes = 0
        for field in [*random.permutation(present).tolist(), None]:
            if field is not None:
                n_bytes += self._open(field).nbytes
                group.append(field)
                if n_bytes + n_bytes // len(group) <= self.limit_bytes:
                    continue
            rows = random.permutation(np.concatenate([nuclei[f] for f in group] or [by_field[:0]]))
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                yield part, self.read(part)
            group, n_bytes = [], 0

    def _open(self, field: int) -> npt.NDArray[np.uint8]:
        """Take a framed field from memory, or read it and drop the one used longest ago."""
        framed = self._kept.pop(field, None)
        if framed is None:
            framed = read_framed_field(self.urls[field], self.view, functions=self.functions[field])
            self.n_decoded += 1
        self._kept[field] = framed
        while len(self._kept) > 1 and sum(f.nbytes for f in self._kept.values()) > self.limit_bytes:
            self._kept.popitem(last=False)
        return framed
