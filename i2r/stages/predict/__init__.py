"""Say which gene was perturbed in new images, how sure that is, or that it can't be said."""

from i2r.stages.predict.images import PredictImages
from i2r.stages.predict.options import Predict
from i2r.stages.predict.tables import PredictTable
from i2r.stages.predict.wells import PredictWells

Predict.methods = {"experiment": PredictWells, "images": PredictImages, "queries": PredictTable}

__all__ = ["Predict", "PredictImages", "PredictTable", "PredictWells"]
