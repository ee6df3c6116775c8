"""What all methods of 'embed' share: profiles of wells and conditions, and how they are made."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.embedding.profiles import DESCRIBED, TABLES, ProfilePlan, profile_wells
from i2r.stages.base import FINISH, Stage, WorkerKind, seed_sequence
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.written.networks import EMBED
from i2r.store import tables
from i2r.store.arrays import read_array, write_embeddings
from i2r.store.experiment import Experiment
from i2r.store.nuclei import CONTROL, name_classes

# Options that only the last unit uses: changing them embeds nothing anew.
OF_FINISH = ("class_by", "aggregate", "correction", "correct_by", "umap", "seed")


class Embed(ByMethod):
    """Embed every nucleus that has a crop, of any well, and profile wells and conditions.

    The encoder is what the stage 'train' before it made: of several folds the one with the best
    validation accuracy, of encoders without a class every one; or it is a file: an encoder of
    i2r, or torchvision's weights of a ResNet-18, whose 512 features are the embedding then.

    The published profile is the plain mean over nuclei without correction (Paysan et al., Cell
    Systems 2025), which is the default; corrections learn from the nuclei of negative controls.

    The method 'import' takes embeddings that another program made: a table with a row per nucleus
    or per well, as for the method 'import' of 'features'; with a 'layout' no image is needed.
    The method 'exported' takes any network that PyTorch exported to a file (torch.export).
    Packages add methods by the entry point 'i2r.encoders': functions that take a batch of crops,
    the edge of their pixels in microns and their channels.
    """

    stage: Literal["embed"] = "embed"
    method: str = Field(
        "encode",
        description="encode (an encoder of i2r, or a ResNet-18), exported (a network of "
        "torch.export), import (a table), or the name of an encoder that another package offers",
    )
    class_by: Literal["condition", "gene"] = Field(
        "condition", description="What profiles are made for: conditions, or the genes they act on"
    )
    aggregate: Literal["mean", "median"] = Field("mean", description="Nuclei to profiles")
    correction: Literal["none", "standardize-to-controls", "sphering"] = Field(
        "none", description="Correction by the controls of each plate or batch"
    )
    correct_by: str = Field(
        "plate", description="Column of the layout whose values are corrected apart"
    )
    umap: bool = Field(
        True,
        description="Lay wells out in two dimensions, by UMAP where umap-learn is installed, by "
        "principal components elsewhere",
    )
    seed: int = Field(0, ge=0, description="Seed of nulls (default: the pipeline's)")

    outputs: ClassVar[tuple[Output, ...]] = EMBED
    version: ClassVar[int] = 3
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"train": False, "segment": True, "crop": True}
    group: ClassVar[WorkerKind] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")
    # `external_files` says how embeddings were made.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"method"})
    # Earlier one class had the options of all methods.
    settled: ClassVar[dict[str, object]] = {
        "stage": "embed", "threads": 1, "encoder": None, "channels": ["DNA"],
        "class_by": "condition", "aggregate": "mean", "correction": "none",
        "correct_by": "plate", "umap": True, "seed": 0,
    }  # fmt: skip

    def version_of(self, key: str) -> int:
        """Wells are embedded as before version 3; p-values of retrieval have changed."""
        return type(self).version if key == FINISH else 2

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a column to correct by that the layout has not."""
        if self.correct_by in experiment.layout.columns:
            return []
        return [
            f"stage {self.title!r}: the layout has no column {self.correct_by!r}, found "
            f"{', '.join(map(str, experiment.layout.columns))}. Set 'correct_by'."
        ]

    def fingerprint(self, experiment: Experiment, key: str, upstream: Mapping[str, str]) -> str:
        """Identify a unit's inputs; wells don't depend on how they are summarised."""
        if key == FINISH:
            return super().fingerprint(experiment, key, upstream)
        defaults = {name: type(self).model_fields[name].default for name in OF_FINISH}
        return Stage.fingerprint(self.model_copy(update=defaults), experiment, key, upstream)

    def whole_layout(self, experiment: Experiment) -> object:
        """Give the layout with the column that is corrected by."""
        column = experiment.layout_by_key[self.correct_by].astype(str).tolist()
        return [super().whole_layout(experiment), column]

    def encoders(self, experiment: Experiment) -> dict[str, str]:
        """List the encoders by name, with their files; the name of a single one is empty."""
        return {"": ""}

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Profile wells and conditions, and say what the profiles are worth."""
        done = set(keys)
        layout = experiment.layout_by_key.loc[[k for k in experiment.well_keys if k in done]]
        is_control = layout["role"] == "negative_control"
        classes = name_classes(layout, self.class_by)
        wells = (
            layout[DESCRIBED]
            .astype(str)
            .assign(
                **{
                    "class": classes.mask(is_control, CONTROL).mask(layout["role"] == "empty", ""),
                    "control": is_control,
                    "group": layout[self.correct_by].astype(str),
                }
            )
        )
        urls = {
            name: tuple(
                experiment.embeddings_url(self.title, key, encoder=name) for key in wells.index
            )
            for name in self.encoders(experiment)
        }
        plan = ProfilePlan(wells, urls, self.aggregate, self.correction, self.umap)
        seed = seed_sequence(self.seed, self.title, "*")
        found = delayed(profile_wells)(plan, read_array, seed=seed)
        targets = {name: experiment.table_url(f"{self.title}{name}") for name in TABLES}
        return delayed(write_profiles)(found, urls=targets)

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """A well's crops and fields, a batch in the network, and torch itself."""
        return 2 * experiment.well_bytes(key) + 2**30

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """A profile of every well in six copies at most, and what a map in 2D imports."""
        return 2**29 + 6 * 8 * 1024 * len(experiment.well_keys)

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        return experiment.n_fields(key) * 150 * 512 * 4


def write_well(embeddings: np.ndarray, *, url: str, crops: str) -> tuple[int, int]:
    """Write a well's embeddings; return the numbers of nuclei and of bytes."""
    return len(embeddings), write_embeddings(url, embeddings, attributes={"crops": crops})


def count_written(
    written: Sequence[tuple[int, int]], *, encoders: Sequence[str], trained_by: str
) -> dict[str, Any]:
    """Describe what was written for a well."""
    return {
        "nuclei": written[0][0],
        "bytes_out": sum(n_bytes for _, n_bytes in written),
        "encoders": list(encoders),
        "trained_by": trained_by,
    }


def write_profiles(found: Mapping[str, pd.DataFrame], *, urls: Mapping[str, str]) -> dict[str, Any]:
    """Write the tables of profiles."""
    for name, table in found.items():
        tables.write_table(urls[name], table)
    return {}
