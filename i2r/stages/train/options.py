"""What both methods of 'train' share: weights, channels, and the merged tables."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.stages.base import WorkerKind
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.written.networks import TRAIN
from i2r.store import files
from i2r.store.encoders import TABLES, merge_tables_there
from i2r.store.experiment import Experiment

IMPORTED = "imported"
"""The unit of an encoder that was trained elsewhere."""


class Train(ByMethod):
    """Train encoders to tell the impactful perturbations and the controls apart.

    Classes are the conditions that a screen before it calls impactful, those that are listed, or
    all of the layout; each with two wells or more, and the negative controls, of which about as
    many nuclei are used as the largest class has. An encoder is trained for each fold, or for
    each class without that class. The weights of the epoch with the best balanced accuracy on
    validation wells are kept (on fields, for a class that has one well beside the tested ones).
    Several 'views' compare what encoders see of a nucleus.

    The published recipe (Paysan et al., Cell Systems 2025) is in pipelines/image2reg.yaml. The
    defaults here take a small network at the crops' own resolution, a higher rate that falls,
    and hold out wells in place of fields, which leak.
    """

    stage: Literal["train"] = "train"
    method: Literal["train", "import"] = Field(
        "train", description="Train encoders, or take the one in the file 'weights'"
    )
    weights: str | None = Field(
        None,
        description="File of weights: of a ResNet-18 to start from, or the encoder to import",
        json_schema_extra={"path": True},
    )
    channels: tuple[str, ...] = Field(("DNA",), description="Channels that encoders see")

    outputs: ClassVar[tuple[Output, ...]] = TRAIN
    version: ClassVar[int] = 2
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"screen": False, "segment": True, "crop": True}
    group: ClassVar[WorkerKind] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")
    # Earlier one class had the options of both methods.
    settled: ClassVar[dict[str, object]] = {
        "stage": "train", "threads": 1, "method": "train", "weights": None, "imagenet": True,
        "classes": [], "class_by": "condition", "hold_out": "folds", "split_by": "well",
        "n_folds": 4, "views": ["nucleus"], "channels": ["DNA"], "scale": "plate",
        "architecture": "small", "widths": [32, 64, 128, 128], "nucleus_px": 64, "region_px": 448,
        "region_input_px": 224, "halve_regions": True, "embedding_dim": 128, "optimizer": "adamw",
        "learning_rate": 0.002, "decay": True, "weight_decay": 0.02, "batch_size": 64,
        "max_epochs": 30, "patience": 5, "augmentation": "full", "surest_nuclei": 4, "seed": 0,
    }  # fmt: skip

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that are not there, and a file that is missing."""
        problems = self.list_lacking("segment", "crop")
        problems += self.list_missing_channels(experiment, self.channels)
        if self.weights:
            try:
                files.stat(self.weights)
            except FileNotFoundError:
                problems.append(f"{self.weights}: no such file, expected weights. Name another.")
        return problems

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables of all trainings."""
        return delayed(merge_tables_there)(
            {
                experiment.table_url(f"{self.title}-{name}" if name else self.title): [
                    experiment.part_url(f"{self.title}-{name}" if name else self.title, key)
                    for key in sorted(keys)
                ]
                for name in ("", *TABLES)
            }
        )
