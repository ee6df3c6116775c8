"""Profiles: what is known of each nucleus beside what was measured, well by well."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.crops import describe_well
from i2r.store.experiment import Experiment

# Columns that say which nucleus a row is; the others are measured.
IDENTITY = ("plate", "well", "field", "label", "crop")
_CENTRE = ("centroid_x_px", "centroid_y_px")


class Block(NamedTuple):
    """The nuclei of one well.

    Attributes
    ----------
    described
        One row per nucleus: plate, well, field, label, perturbation, gene, condition, role, dose
        and replicate, and whatever other columns the layout has, as text. One that is called like
        a column of nuclei has ``layout_`` before its name.
    values
        Shape (nucleus, feature), float32.
    positions
        Shape (nucleus, 2), float64: x and y of the nucleus's centre in its field, in microns; NaN
        where it is not known.
    """

    described: pd.DataFrame
    values: npt.NDArray[np.float32]
    positions: npt.NDArray[np.float64]


class Profiles:
    """The profiles of one stage: features or embeddings, read one well after another.

    Parameters
    ----------
    experiment
        The experiment.
    name
        A stage whose table has one row per nucleus with numbers in it, or a stage that made
        embeddings.

    Attributes
    ----------
    kind : str
        ``features`` or ``embeddings``.
    names : list of str
        The features' names, or ``embedding_0`` and so on.

    Raises
    ------
    InputError
        If the stage made neither.
    """

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._experiment, self.name = experiment, name
        self.kind = "embeddings" if name in list_embeddings(experiment) else "features"
        if self.kind == "embeddings":
            self._embeddings = experiment.embeddings(name)
            self.names = [f"embedding_{n}" for n in range(self._embeddings.sizes["dim"])]
            return
        self._keys = [k for k in experiment.ledger.done_keys(name) if k in experiment.wells]
        first = self._read(self._keys[0]) if self._keys else pd.DataFrame()
        if not {"plate", "well", "field", "label"} <= set(first):
            known = [*list_features(experiment), *list_embeddings(experiment)]
            raise InputError(
                f"{experiment.url}: {name!r} has no features or embeddings of nuclei; there are: "
                f"{', '.join(known) or 'none yet'}. Run 'features' or 'embed'."
            )
        self.names = [
            str(column)
            for column in first
            if column not in IDENTITY and first[column].dtype.kind in "iuf"
        ]

    def blocks(self) -> Iterator[Block]:
        """Read one well after another, in the layout's order; empty wells have no rows."""
        if self.kind == "embeddings":
            yield from self._blocks_of_embeddings()
            return
        done = set(self._keys)
        for key in (key for key in self._experiment.well_keys if key in done):
            table = self._read(key)
            described = table[["plate", "well", "field", "label"]].reset_index(drop=True)
            values = table[self.names].to_numpy(np.float32)
            yield self._make_block(described, key, values)

    def _blocks_of_embeddings(self) -> Iterator[Block]:
        opened = self._embeddings
        columns = {n: opened[n].to_numpy() for n in ("plate", "well", "field", "label")}
        described = pd.DataFrame(columns)
        chunks = opened["embedding"].data
        start = 0
        for number, length in enumerate(chunks.chunks[0]):
            rows = described.iloc[start : start + length].reset_index(drop=True)
            start += length
            if length:
                key = f"{rows['plate'].iloc[0]}/{rows['well'].iloc[0]}"
                yield self._make_block(rows, key, np.asarray(chunks.blocks[number]))

    def _read(self, key: str) -> pd.DataFrame:
        try:
            return tables.read_table(self._experiment.part_url(self.name, key))
        except FileNotFoundError:
            return pd.DataFrame()

    def _make_block(self, rows: pd.DataFrame, key: str, values: npt.NDArray[np.float32]) -> Block:
        """Join what is known of the nuclei of a well to their values."""
        described = rows.assign(**describe_well(self._experiment, key))
        return Block(described, values, self._locate(rows, key))

    def _locate(self, rows: pd.DataFrame, key: str) -> npt.NDArray[np.float64]:
        """Find the centres of nuclei in the table of the segmentation."""
        unknown = np.full((len(rows), 2), np.nan)
        stage = self._segmentation
        url = self._experiment.part_url(stage, key) if stage else ""
        if not url or not files.exists(url):
            return unknown
        nuclei = tables.read_table(url, columns=["field", "label", *_CENTRE])
        places = pd.MultiIndex.from_frame(nuclei[["field", "label"]])
        at = places.get_indexer(pd.MultiIndex.from_frame(rows[["field", "label"]]))
        size = self._experiment.locate(key)[0].pixel_size_um
        centres = nuclei[list(_CENTRE)].to_numpy(dtype=float) * size
        return np.where((at >= 0)[:, None], np.vstack([centres, unknown[:1]])[at], np.nan)

    @cached_property
    def _segmentation(self) -> str:
        return find_segmentation(self._experiment, self.name)


def find_segmentation(experiment: Experiment, name: str) -> str:
    """Name the stage that labelled the nuclei of a stage; empty where that can't be told."""
    entries = (experiment.last_pipeline() or {}).get("stages", [])
    by_name = {str(entry.get("name") or entry["stage"]): entry for entry in entries}
    waiting, seen = [name], set[str]()
    while waiting:
        candidate = waiting.pop(0)
        entry = by_name.get(candidate)
        if entry is None or candidate in seen:
            continue
        seen.add(candidate)
        if entry["stage"] == "segment":
            return candidate
        waiting += [str(need) for need in entry.get("needs") or ()]
    known = [each for each in list_features(experiment) if _has_centres(experiment, each)]
    return known[0] if len(known) == 1 else ""


def _has_centres(experiment: Experiment, name: str) -> bool:
    keys = [key for key in experiment.ledger.done_keys(name) if key in experiment.wells]
    columns = tables.read_columns(experiment.part_url(name, keys[0]))
    return set(_CENTRE) <= set(columns)


def list_embeddings(experiment: Experiment) -> list[str]:
    """List the stages that made embeddings."""
    return files.list_folder(experiment.path("embeddings"))


def list_features(experiment: Experiment) -> list[str]:
    """List the stages whose parts hold one row per nucleus with measured numbers."""
    found = []
    for name in experiment.tables():
        keys = [key for key in experiment.ledger.done_keys(name) if key in experiment.wells]
        url = experiment.part_url(name, keys[0]) if keys else ""
        if url and files.exists(url) and {"field", "label"} <= set(tables.read_columns(url)):
            found.append(name)
    return found


def choose_profiles(experiment: Experiment, name: str | None) -> Profiles:
    """Open the profiles of a stage; without a name features, or else embeddings, or else shapes.

    Raises
    ------
    InputError
        If there are none.
    """
    if name is None:
        known = list_features(experiment)
        best = [n for n in known if n.startswith("features")] + list_embeddings(experiment)
        name = next(iter([*best, *reversed(known)]), "features")
    return Profiles(experiment, name)
