"""Train encoders that tell the impactful perturbations apart, or take one that exists."""

from i2r.stages.train.encoders import TrainEncoders
from i2r.stages.train.imported import ImportEncoder
from i2r.stages.train.options import IMPORTED, Train

Train.methods = {"train": TrainEncoders, "import": ImportEncoder}

__all__ = ["IMPORTED", "ImportEncoder", "Train", "TrainEncoders"]
