"""An encoder that was trained elsewhere, in place of a training."""

from collections.abc import Sequence
from typing import Literal

from dask import delayed
from dask.delayed import Delayed

from i2r.stages.starts import import_encoder
from i2r.stages.train.options import IMPORTED, Train
from i2r.store import files
from i2r.store.experiment import Experiment


class ImportEncoder(Train):
    """Take over the encoder in the file 'weights'."""

    method: Literal["import"] = "import"

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that are not there, and a missing file."""
        problems = super().check(experiment)
        if not self.weights:
            problems.append(f"stage {self.title!r}: no encoder to import. Name it in 'weights'.")
        return problems

    def keys(self, experiment: Experiment) -> Sequence[str]:
        """One unit."""
        return [IMPORTED]

    def external_files(self, experiment: Experiment) -> object:
        """Give the file's size and time."""
        return list(files.stat(self.weights)) if self.weights else []

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Copy the encoder."""
        return delayed(import_encoder)(
            self.weights,
            experiment.model_url(self.title, key),
            channels=self.channels,
            unit=key,
            part_url=experiment.part_url(self.title, key),
        )

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """The file."""
        return self.bytes_out(experiment, key)

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """The weights, at most about as large as a ResNet-18."""
        return 4 * 2**24

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """The weights, and torch."""
        return 2**30
