"""All nuclei of a training in memory, on the device, and shared by the trainings of a worker."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from i2r.models.encoder import BRANCHES, EncoderSettings
from i2r.models.views import prepare_images

# Of a card, so that networks and their activations have room beside it.
CARD_SHARE = 0.5


S = TypeVar("S", bound="Sized")


class NucleusPool(NamedTuple):
    """Nuclei as integers, and where in which field each is.

    Attributes
    ----------
    crops
        Shape (nucleus, c, y, x): from `i2r.models.batches.load_crops`.
    fields
        Shape (field, c, y, x), uint8: whole fields with a rim of half a window on every side;
        None where no region is shown.
    places
        Shape (nucleus, 3), int64: the field of a nucleus, and row and column in it where its
        window starts; None where no region is shown.
    window_px
        Edge of the windows.
    """

    crops: Tensor
    fields: Tensor | None = None
    places: Tensor | None = None
    window_px: int = 0

    @property
    def n_bytes(self) -> int:
        """The memory it takes."""
        return sum(t.numel() * t.element_size() for t in self if isinstance(t, Tensor))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.crops.device

    def to(self, device: torch.device | str) -> "NucleusPool":
        """Move it to a device, which does nothing if it is there."""
        return NucleusPool(
            self.crops.to(device),
            None if self.fields is None else self.fields.to(device),
            None if self.places is None else self.places.to(device),
            self.window_px,
        )

    def draw(
        self,
        settings: EncoderSettings,
        rows: Tensor,
        *,
        turns: Tensor | None = None,
        gains: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Make the images of some nuclei, every branch's, without a loop over nuclei.

        Parameters
        ----------
        settings
            Of the encoder.
        rows
            Shape (n,), int64: which nuclei, on the pool's device.
        turns
            Shape (n, branch, 3), bool; see `i2r.models.views.turn_images`.
        gains
            Shape (n, c); see `i2r.models.views.prepare_images`.
        device
            Where the images go; default: the pool's.

        Returns
        -------
        dict
            By branch, float32, (n, c, y, x).
        """
        target = self.device if device is None else device
        branches = BRANCHES[settings.view]
        cut = {}
        if "nucleus" in branches:
            cut["nucleus"] = self.crops[rows].to(target)
        if "region" in branches:
            cut["region"] = self._cut_windows(rows).to(target)
        return prepare_images(
            settings, cut.get("nucleus"), cut.get("region"), turns=turns, gains=gains
        )

    def _cut_windows(self, rows: Tensor) -> Tensor:
        """Cut the windows around some nuclei, shape (n, c, window, window)."""
        if self.fields is None or self.places is None:
            raise ValueError("the pool holds no fields, but the encoder is shown regions")
        # A view of every window there could be: picking from it copies only those wanted.
        windows = self.fields.unfold(2, self.window_px, 1).unfold(3, self.window_px, 1)
        field, row, column = self.places[rows].unbind(1)
        return windows[field, :, row, column]


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def n_bytes(self) -> int:
        """The memory it takes."""


class PoolCache:
    """Keeps the pools used last, as many as fit in so many bytes.

    Parameters
    ----------
    limit_bytes
        The most that all pools together may take. A larger one is made each time it is asked for.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._pools: OrderedDict[Hashable, Sized] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """What all pools take."""
        return sum(pool.n_bytes for pool in self._pools.values())

    def get(self, key: Hashable, make: Callable[[], S]) -> S:
        """Give the pool of that key, made if it isn't there.

        Parameters
        ----------
        key
            Says what is in the pool, the version of its sources included.
        make
            Makes it. Room is made first by the pools that were not used for longest.
        """
        with self._lock:
            kept = self._pools.pop(key, None)
            pool = cast("S", kept) if kept is not None else make()
            if kept is None:
                while self._pools and self.n_bytes + pool.n_bytes > self.limit_bytes:
                    self._pools.popitem(last=False)
            if pool.n_bytes <= self.limit_bytes:
                self._pools[key] = pool
            return pool


@cache
def open_cache(limit_bytes: int) -> PoolCache:
    """Give this process' own cache, one for each limit."""
    return PoolCache(limit_bytes)


def choose_home(n_bytes: int, device: torch.device | str) -> torch.device:
    """Choose where a pool lives: on the card if half of its free memory holds it, or else here.

    Parameters
    ----------
    n_bytes
        Size of the pool.
    device
        Where the network runs.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda":
        free, _ = torch.cuda.mem_get_info(wanted)
        if n_bytes > CARD_SHARE * free:
            return torch.device("cpu")
    return wanted


def draw_turns(
    random: np.random.Generator, n_rows: int, n_branches: int, *, transposed: bool
) -> Tensor:
    """Draw for every nucleus and branch how its image is turned.

    Parameters
    ----------
    random
        Source of the draws.
    n_rows, n_branches
        How many.
    transposed
        Exchange rows and columns of half of them too, which gives all eight symmetries of the
        square; otherwise images are mirrored only, as published.

    Returns
    -------
    Tensor
        Shape (n_rows, n_branches, 3), bool.
    """
    turns = random.random((n_rows, n_branches, 3)) < 0.5
    turns[:, :, 2] &= transposed
    return torch.from_numpy(turns)
