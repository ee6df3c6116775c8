"""Profiles of chromatin features: nuclei relative to their plate's controls, averaged by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.formats.gene_tables import GeneVectors
from i2r.kernels.standardisation import standardise_wells
from i2r.store.features import read_features

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment

Floats = npt.NDArray[np.float64]
CONTROLS = "negative_control"


class FeatureWells(NamedTuple):
    """Wells whose features were measured.

    Attributes
    ----------
    names : tuple of str
        What each well is averaged for; empty for those that are only a plate's controls.
    plates, urls : tuple of str
        The plate of each well, and its part of the table of features.
    is_control : tuple of bool
        Whether the well is a negative control.
    """

    names: tuple[str, ...]
    plates: tuple[str, ...]
    urls: tuple[str, ...]
    is_control: tuple[bool, ...]


class Standard(NamedTuple):
    """What features are relative to: mean and standard deviation of control nuclei, (feature,)."""

    names: list[str]
    mean: Floats
    spread: Floats


class Spread(NamedTuple):
    """Number, mean and summed squared deviations of nuclei, shapes () and (feature,)."""

    n: int
    mean: Floats
    squares: Floats

    def add(self, nuclei: npt.NDArray[np.floating]) -> "Spread":
        """Add nuclei, shape (nucleus, feature); see doi:10.1080/00031305.1983.10483115."""
        if not len(nuclei):
            return self
        mean = nuclei.mean(axis=0, dtype=np.float64)
        squares = ((nuclei - mean) ** 2).sum(axis=0)
        if not self.n:
            return Spread(len(nuclei), mean, squares)
        n, apart = self.n + len(nuclei), mean - self.mean
        return Spread(
            n,
            self.mean + apart * (len(nuclei) / n),
            self.squares + squares + apart**2 * (self.n * len(nuclei) / n),
        )


def start_spread() -> Spread:
    """Give what to add the first nuclei to."""
    return Spread(0, np.empty(0), np.empty(0))


def list_feature_wells(
    experiment: "Experiment", features: str, names: Mapping[str, str]
) -> FeatureWells:
    """List the wells to average, and the negative controls of all plates.

    Parameters
    ----------
    features
        Name of the stage that measured them; wells that it did not finish are left out.
    names
        By unit key, what a well is averaged for.
    """
    layout = experiment.layout_by_key
    done = set(experiment.ledger.done_keys(features))
    is_control = layout["role"] == CONTROLS
    keys = [key for key in layout.index if key in done and (key in names or is_control[key])]
    return FeatureWells(
        tuple(names.get(key, "") for key in keys),
        tuple(str(layout["plate"][key]) for key in keys),
        tuple(experiment.part_url(features, key) for key in keys),
        tuple(bool(is_control[key]) for key in keys),
    )


def average_features(wells: FeatureWells) -> GeneVectors:
    """Average standardised nuclei over the wells of a name, plate by plate.

    Every feature is relative to the plate's control nuclei and cut at both ends, see
    `i2r.kernels.standardisation.standardise_wells`. Names without a nucleus are left out.

    Raises
    ------
    InputError
        If a plate with named wells has no control nuclei, wells have different features, or no
        named well has a nucleus.
    """
    columns: tuple[str, ...] = ()
    sums: dict[str, Floats] = {}
    counts: dict[str, int] = {}
    plates = np.array(wells.plates, dtype=object)
    for plate in sorted(set(wells.plates)):
        here = np.flatnonzero(plates == plate)
        if not any(wells.names[i] for i in here):
            continue
        values = []
        for i in here:
            columns, own = _read_well(wells.urls[i], columns)
            values.append(own)
        control = np.array([wells.is_control[i] for i in here])
        if sum(len(v) for v, c in zip(values, control, strict=True) if c) < 2:
            raise InputError(
                f"plate {plate!r}: no nuclei of negative controls, expected some that features are "
                "relative to. Look at its control wells, or leave the plate out."
            )
        start = np.cumsum([0, *map(len, values)]).astype(np.intp)
        standard = standardise_wells(
            np.concatenate(values), start, np.zeros(len(here), np.intp), control
        )
        for number, i in enumerate(here):
            rows = standard[start[number] : start[number + 1]]
            if wells.names[i] and len(rows):
                total = rows.sum(axis=0, dtype=np.float64)
                sums[wells.names[i]] = sums.get(wells.names[i], np.zeros_like(total)) + total
                counts[wells.names[i]] = counts.get(wells.names[i], 0) + len(rows)
    if not sums:
        raise InputError(
            "no well with a gene has a measured nucleus. See the reasons in the table of 'crop'."
        )
    known = sorted(sums)
    return GeneVectors(known, np.stack([sums[n] / counts[n] for n in known]), list(columns))


def measure_standard(wells: FeatureWells) -> Standard:
    """Measure mean and spread over the control nuclei of all plates.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    columns: tuple[str, ...] = ()
    moments = start_spread()
    for url, is_control in zip(wells.urls, wells.is_control, strict=True):
        if is_control:
            # Well by well: a hundred plates have millions of control nuclei.
            columns, own = _read_well(url, columns)
            moments = moments.add(own)
    return make_standard(moments, list(columns), where="the experiment")


def make_standard(moments: Spread, names: list[str], *, where: str) -> Standard:
    """Make the standard of control nuclei."""
    if moments.n < 2:
        raise InputError(
            f"{where}: {moments.n} control nuclei, expected some hundreds that features are "
            "relative to. Look at the control images."
        )
    return Standard(names, moments.mean, np.sqrt(moments.squares / moments.n))


def _read_well(
    url: str, columns: tuple[str, ...]
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Read a well's features and check that they are those of the wells before."""
    names, values, _ = read_features(url, "")
    if columns and names != columns:
        raise InputError(
            f"{url}: {len(names)} features, other wells have {len(columns)} or others. Measure all "
            "wells with the same options."
        )
    return names, values[np.isfinite(values).all(axis=1)]
