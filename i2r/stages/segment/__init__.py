"""Find the nuclei of every field, or take the user's own masks."""

from i2r.stages.segment.installed import InstalledSegment
from i2r.stages.segment.masks import ImportSegment
from i2r.stages.segment.options import Segment
from i2r.stages.segment.threshold import ThresholdSegment
from i2r.stages.segment.unet import UnetSegment

Segment.methods = {"threshold": ThresholdSegment, "unet": UnetSegment, "import": ImportSegment}
Segment.installed = InstalledSegment

__all__ = ["ImportSegment", "InstalledSegment", "Segment", "ThresholdSegment", "UnetSegment"]
