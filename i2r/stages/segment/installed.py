"""Segmentation by a function that another package offers."""

from functools import partial

from pydantic import Field, field_validator

from i2r.analysis.segmenters import call_segmenter, find_segmenter, list_segmenters
from i2r.stages.segment.options import Labeller, Segment, label_planes
from i2r.store.experiment import Experiment


class InstalledSegment(Segment):
    """Find nuclei with a segmenter of the entry point group 'i2r.segmenters'."""

    method: str = Field(description="Name of the segmenter")

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in list_segmenters():
            known = ", ".join([*cls.methods, *list_segmenters()])
            raise ValueError(f"found {value!r}, expected one of {known}")
        return value

    def external_files(self, experiment: Experiment) -> object:
        """Give the package that labels come from."""
        point = find_segmenter(self.method)
        return [point.value, point.dist.version if point.dist else ""]

    def labeller(self, pixel_size_um: float) -> Labeller:
        """Make the function that labels fields; see `Labeller`."""
        segment = partial(call_segmenter, name=self.method, pixel_size_um=pixel_size_um)
        return partial(label_planes, segment=segment)
