"""Segmentation by a small network that was trained on annotated nuclei."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from i2r.analysis.segmenters import MAX_SIDE_PX, segment_by_network
from i2r.errors import I2RError
from i2r.stages.segment.options import Labeller, Segment
from i2r.stages.segmenter_weights import hash_weights, load_network
from i2r.store.experiment import Experiment

if TYPE_CHECKING:
    from i2r.models.unet import NucleusUNet

# Peak of a prediction in float32; bfloat16 takes 60 % of it.
NETWORK_BYTES_PER_PX = 350


class UnetSegment(Segment):
    """Find nuclei with a small network: more accurate than a threshold where they touch."""

    method: Literal["unet"] = "unet"
    weights: str | None = Field(
        None,
        description="Weights from 'train-segmenter' (default: i2r's own)",
        json_schema_extra={"path": True},
    )
    min_area_um2: float = Field(10.0, ge=0, description="Smaller objects are debris")
    max_hole_um2: float = Field(85.0, ge=0, description="Holes up to this size are filled")

    def version_of(self, key: str) -> int:
        """Version 5 cuts spots with several clear maxima, whatever the weights."""
        return 5

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a channel that no plate has, and unusable weights."""
        problems = super().check(experiment)
        if self.weights is not None:
            try:
                load_network(self.weights, hash_weights(self.weights))
            except I2RError as error:
                problems.append(f"stage {self.title!r}: {error}")
        return problems

    def external_files(self, experiment: Experiment) -> object:
        """Give the content of the weights."""
        return [hash_weights(self.weights)]

    def labeller(self, pixel_size_um: float) -> Labeller:
        """Make the function that labels fields; see `Labeller`."""
        return partial(
            label_by_network,
            load=partial(load_network, self.weights, hash_weights(self.weights)),
            pixel_size_um=pixel_size_um,
            min_area_um2=self.min_area_um2,
            max_hole_um2=self.max_hole_um2,
            threads=self.threads,
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's images and labels, and the network with the field or tile at hand."""
        plate, _ = experiment.locate(key)
        plane = plate.shape[1] * plate.shape[2]
        # Magnified at most four times.
        seen = min(16 * plane, MAX_SIDE_PX**2)
        network = 2**29 + int(NETWORK_BYTES_PER_PX * seen)
        return experiment.n_fields(key) * (2 * plate.field_bytes() + 8 * plane) + network


def label_by_network(
    fields: Sequence[str],
    planes: Sequence[np.ndarray],
    *,
    load: Callable[[], "NucleusUNet"],
    **options: Any,
) -> Iterable[np.ndarray]:
    """Label the planes of fields together: a card takes several at once; see `Labeller`.

    Parameters
    ----------
    fields, planes
        Names, and images (y, x).
    load
        Gives the network on the worker, which keeps it.
    **options
        Keyword arguments of `segment_by_network`.
    """
    return segment_by_network(np.stack(planes), load(), **options)
