"""Segmentation by a local threshold."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from i2r.kernels.segmentation import segment_nuclei
from i2r.stages.base import WorkerKind
from i2r.stages.segment.options import Labeller, Segment, label_planes

# Below these, pixels decide and not microns: where they are larger than 0.67 um, each noisy pixel
# would cut a nucleus.
LEAST_SIGMA_PX = 0.75
LEAST_NECK_PX = 1.0


class ThresholdSegment(Segment):
    """Find nuclei by a local threshold; it needs nothing but the pixel size."""

    method: Literal["threshold"] = "threshold"
    sigma_um: float = Field(
        0.5, gt=0, description="Smoothing before the threshold, 0.75 px or more"
    )
    window_um: float = Field(13.0, gt=0, description="Neighbourhood of the local threshold")
    min_area_um2: float = Field(10.0, ge=0, description="Smaller objects are debris")
    max_hole_um2: float = Field(85.0, ge=0, description="Holes up to this size are filled")
    min_neck_um: float = Field(
        0.7, ge=0, description="Shallower notches, and those of under 1 px, split no nucleus"
    )

    group: ClassVar[WorkerKind] = "cpu"

    def version_of(self, key: str) -> int:
        """The stage's version."""
        return type(self).version

    def labeller(self, pixel_size_um: float) -> Labeller:
        """Make the function that labels fields; see `Labeller`."""
        return partial(label_planes, segment=self.segmenter(pixel_size_um))

    def segmenter(self, pixel_size_um: float) -> Callable[[np.ndarray], np.ndarray]:
        """Make the function that labels one plane; it has the options' lengths in pixels."""
        return partial(
            segment_nuclei,
            sigma_px=max(self.sigma_um / pixel_size_um, LEAST_SIGMA_PX),
            window_px=self.window_um / pixel_size_um,
            min_area_px=self.min_area_um2 / pixel_size_um**2,
            max_hole_area_px=self.max_hole_um2 / pixel_size_um**2,
            min_neck_depth_px=max(self.min_neck_um / pixel_size_um, LEAST_NECK_PX),
        )
