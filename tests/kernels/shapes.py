"""Label images and boxes for tests of kernels that take nuclei one by one."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import regionprops


class Nuclei(NamedTuple):
    """A label image with what kernels want to know of it."""

    labels: npt.NDArray[np.int32]
    label_ids: npt.NDArray[np.int64]
    bbox: npt.NDArray[np.int64]

    @property
    def listed(self) -> dict[str, npt.NDArray[np.int64]]:
        return {"label_ids": self.label_ids, "bbox": self.bbox}


def list_nuclei(labels: npt.NDArray[np.int32]) -> Nuclei:
    """Find labels and boxes the slow way."""
    regions = regionprops(labels)
    return Nuclei(
        labels,
        np.array([region.label for region in regions], dtype=np.int64),
        np.array([region.bbox for region in regions], dtype=np.int64).reshape(-1, 4),
    )


def draw_blobs(seed: int, *, shape: tuple[int, int] = (90, 110), sigma: float = 4.0) -> Nuclei:
    """Draw irregular blobs, some with holes, some at the border, and two single pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    labels = ndimage.label(noise > 0.2 * noise.std())[0].astype(np.int32)
    free = np.argwhere(labels == 0)
    labels[tuple(free[0])], labels[tuple(free[-1])] = 900, 901
    return list_nuclei(labels)


def draw_disk(radius: float, *, size: int = 0) -> Nuclei:
    """Draw the pixels whose centre lies in a disk in the middle of a field."""
    half = size // 2 or int(radius) + 3
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return list_nuclei((np.hypot(y, x) <= radius).astype(np.int32))
