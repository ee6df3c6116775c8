"""The nuclei most like one, by features or embeddings, over the plates of an experiment."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.report.source import ReportSource
from i2r.store import tables
from i2r.store.arrays import read_array
from i2r.store.features import PLACE
from i2r.store.results import read_plate_rows
from i2r.view.contents import find_key
from i2r.view.pictures import Nucleus

Floats = npt.NDArray[np.float32]
Standard = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
# Plates beyond are not searched once so many nuclei were compared; the answer says so.
MOST_NUCLEI = 4_000_000
# Nuclei that are compared at once.
BLOCK = 65_536


class Neighbour(NamedTuple):
    """A nucleus and its distance."""

    nucleus: Nucleus
    distance: float


class Neighbours(NamedTuple):
    """What was found, and where it was looked for."""

    found: list[Neighbour]
    n_nuclei: int
    n_plates: int
    n_left_out: int


def find_nearest(
    source: ReportSource, space: str, key: str, crop: int, *, count: int = 24
) -> Neighbours:
    """Find the nuclei that are most like a given one.

    Values are in standard deviations of each plate's control nuclei (of all its nuclei where it
    has none), their inverse hyperbolic sines are compared, and the distance is the root of the
    mean square over features, so that one odd feature does not decide.

    Parameters
    ----------
    source
        The experiment.
    space
        The stage that measured features or made embeddings.
    key, crop
        The well of the nucleus, and its crop's place in it.
    count
        How many to give; the nucleus itself is not among them.

    Raises
    ------
    InputError
        If the stage knows nothing of this nucleus (yet).
    """
    plate = source.experiment.wells[find_key(source, key)].plate
    plates = [plate, *(name for name in source.experiment.plates if name != plate)]
    target: Floats | None = None
    best: list[Neighbour] = []
    n_nuclei = n_plates = 0
    for name in plates:
        if n_nuclei >= MOST_NUCLEI:
            break
        try:
            places, values = _read_plate(source, space, name)
        except InputError:
            if name == plate:
                raise
            continue
        standard = _measure_standard(source, places, values)
        is_own = ((places["key"] == key) & (places["crop"] == crop)).to_numpy()
        if target is None:
            if not is_own.any():
                raise InputError(f"{key}: {space!r} knows nothing of this nucleus. Choose another.")
            target = _soften(values[is_own].iloc[:1], standard)[0]
        if values.shape[1] != len(target):
            continue
        distances = _measure_distances(values, standard, target)
        distances[is_own] = np.inf
        nearest = np.argsort(distances, kind="stable")[:count]
        best += [
            Neighbour(_name(places.iloc[int(i)]), float(distances[i]))
            for i in nearest
            if np.isfinite(distances[i])
        ]
        best = sorted(best, key=lambda item: item.distance)[:count]
        n_nuclei, n_plates = n_nuclei + len(places), n_plates + 1
    return Neighbours(best, n_nuclei, n_plates, len(plates) - n_plates)


def read_own_values(
    source: ReportSource, space: str, key: str, crop: int
) -> list[tuple[str, float, float]]:
    """Give a nucleus' features: name, value, and place in standard deviations of controls.

    Raises
    ------
    InputError
        If the stage knows nothing of this nucleus (yet).
    """
    plate = source.experiment.wells[find_key(source, key)].plate
    places, values = _read_plate(source, space, plate)
    own = np.flatnonzero((places["key"] == key) & (places["crop"] == crop))
    if not len(own):
        raise InputError(f"{key}: {space!r} knows nothing of this nucleus. Choose another.")
    mean, scale = _measure_standard(source, places, values)
    row = values.iloc[own[0]].to_numpy(np.float64)
    return [
        (str(name), float(value), float(z))
        for name, value, z in zip(values.columns, row, (row - mean) / scale, strict=True)
    ]


def _name(row: pd.Series) -> Nucleus:
    return Nucleus(str(row["key"]), int(row["crop"]), str(row["field"]), int(row["label"]))


def _read_plate(source: ReportSource, space: str, plate: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read where the nuclei of a plate are (key, crop, field, label), and their values."""
    name = f"nuclei of {plate} in {space}"
    if name in source.kept:
        kept: tuple[pd.DataFrame, pd.DataFrame] = source.kept[name]
        return kept
    verbs = {stage.title: stage.verb for stage in source.stages}
    if verbs.get(space) not in ("features", "embed"):
        raise InputError(f"no features or embeddings {space!r}. Choose one of the list.")
    if verbs[space] == "embed":
        read = _read_embeddings(source, space, plate)
    else:
        table = read_plate_rows(source.experiment, space, plate)
        if not {"field", "label", "crop"} <= set(table):
            raise InputError(f"{space!r} has a row per well, expected one per nucleus.")
        places = table[["field", "label", "crop"]].assign(key=f"{plate}/" + table["well"])
        read = places, table[[n for n in table if n not in PLACE]].astype(np.float32)
    # One plate at a time is kept: some hundred megabytes.
    for other in [n for n in source.kept if n.startswith("nuclei of ")]:
        source.kept.pop(other, None)
    source.kept[name] = read
    return read


def _read_embeddings(
    source: ReportSource, space: str, plate: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the embeddings of a plate well by well, those of the first encoder."""
    places, blocks = [], []
    for key, described, url in _list_embedded(source, space, plate):
        values = read_array(url)
        if len(values) == len(described):
            places.append(described.assign(key=key))
            blocks.append(pd.DataFrame(values.astype(np.float32)))
    if not places:
        raise InputError(f"nothing of plate {plate!r} in {space!r} yet.")
    return pd.concat(places, ignore_index=True), pd.concat(blocks, ignore_index=True)


def _list_embedded(
    source: ReportSource, space: str, plate: str
) -> Iterator[tuple[str, pd.DataFrame, str]]:
    stage: Any = next(s for s in source.stages if s.title == space)
    crop = source.upstream(stage, "crop")
    experiment = source.experiment
    for key, well in experiment.wells.items():
        result = experiment.ledger.result(space, key)
        if well.plate != plate or result is None or crop is None:
            continue
        table = tables.read_table(
            experiment.part_url(crop.title, key), columns=["field", "label", "crop"]
        )
        described = table[table["crop"] >= 0].sort_values("crop", ignore_index=True)
        encoder = next(iter(result.get("encoders", [""])), "")
        yield key, described, experiment.embeddings_url(space, key, encoder=encoder)


def _measure_standard(source: ReportSource, places: pd.DataFrame, values: pd.DataFrame) -> Standard:
    """Give mean and standard deviation of control nuclei, or of all where there are too few."""
    wells = source.wells
    controls = set(wells.index[wells["role"] == "negative_control"])
    chosen = places["key"].isin(controls).to_numpy()
    rows = values.to_numpy(np.float64)
    if chosen.sum() >= 2:
        rows = rows[chosen]
    rows = np.where(np.isfinite(rows), rows, np.nan)
    mean, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    return mean, np.where(scale > 0, scale, np.inf)


def _soften(values: pd.DataFrame, standard: Standard) -> Floats:
    """Give softened values in standard deviations; a feature that is constant is 0."""
    mean, scale = standard
    return np.arcsinh((values.to_numpy(np.float64) - mean) / scale).astype(np.float32)


def _measure_distances(values: pd.DataFrame, standard: Standard, target: Floats) -> Floats:
    """Measure the distance of every nucleus from one, block by block; infinite where unknown."""
    known = np.isfinite(target)
    distances = np.full(len(values), np.inf, np.float32)
    for start in range(0, len(values), BLOCK):
        block = _soften(values.iloc[start : start + BLOCK], standard)[:, known]
        distances[start : start + BLOCK] = np.sqrt(np.square(block - target[known]).mean(axis=1))
    distances[~np.isfinite(distances)] = np.inf
    return distances
