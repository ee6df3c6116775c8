"""The screen that an audit asks: wells on the scale of their plate's controls, and their test."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.audit.wells import Wells
from i2r.kernels import conditions

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# More features than this are brought down to as many principal components.
MAX_FEATURES = 384
# Draws of the null for each kind of condition.
DRAWS = 1000


class AuditScreen(NamedTuple):
    """Profiles of wells, ready to be tested.

    Attributes
    ----------
    values : (well, feature) float64
        Means of wells less the mean of their plate's controls, over the standard deviation of its
        control nuclei (of its control wells where there is one row per well).
    names : tuple of str
        Of the features.
    which : (well,) intp
        The condition, -1 for negative controls.
    conditions : tuple of str
        Names.
    plates, rows, columns, places : (well,) intp
        Plate, row and column from 0, and a number for the place that is the same on all plates.
    counts : (well,) float64
        Nuclei; NaN where nobody counted them.
    scales : (plate, feature) float64
        What values were divided by.
    shifts : (plate, feature) float64
        Means of the plates' controls, in the table's units.
    is_per_well : bool
        Whether the table has one row per well: values are on the scale of control wells then, and
        all wells weigh alike.
    """

    values: Floats
    names: tuple[str, ...]
    which: Indices
    conditions: tuple[str, ...]
    plates: Indices
    rows: Indices
    columns: Indices
    places: Indices
    counts: Floats
    scales: Floats
    shifts: Floats
    is_per_well: bool = False

    @property
    def is_control(self) -> npt.NDArray[np.bool_]:
        """Whether a well is a negative control."""
        return self.which < 0


def prepare_screen(wells: Wells) -> AuditScreen:
    """Bring wells to the scale of their plate's controls."""
    table = wells.table
    control = (table["role"] == "negative_control").to_numpy()
    names, condition = np.unique(table.loc[~control, "condition"], return_inverse=True)
    which = np.full(len(table), -1, dtype=np.intp)
    which[~control] = condition
    _, plates = np.unique(table["plate"].astype(str), return_inverse=True)
    values = np.zeros_like(wells.means)
    n_plates = int(plates.max()) + 1
    shape = (n_plates, values.shape[1])
    scales, shifts = np.zeros(shape), np.zeros(shape)
    for plate in range(n_plates):
        here = plates == plate
        own = wells.means[here & control]
        shifts[plate] = own.mean(axis=0)
        scale = own.std(axis=0, ddof=1)
        if not wells.is_per_well:
            within = np.nanmean(wells.variances[here & control], axis=0)
            scale = np.sqrt(np.nan_to_num(within) + scale**2)
        constant = scale <= 1e-6 * (np.abs(shifts[plate]) + 1e-12)
        scales[plate] = np.where(constant, 0, scale)
        factor = np.divide(1, scale, out=np.zeros_like(scale), where=~constant)
        values[here] = (wells.means[here] - shifts[plate]) * factor
    rows, columns = (table[name].to_numpy(np.intp) for name in ("row", "column"))
    varies = values[control].std(axis=0) > 1e-9
    kept = tuple(name for name, v in zip(wells.features, varies, strict=True) if v)
    return AuditScreen(
        values[:, varies], kept, which, tuple(map(str, names)), plates, rows, columns,
        rows * 64 + columns, wells.counts, scales[:, varies], shifts[:, varies],
        wells.is_per_well,
    )  # fmt: skip


def judge_conditions(
    screen: AuditScreen,
    *,
    values: Floats | None = None,
    which: Indices | None = None,
    seed: int = 0,
) -> Floats:
    """Give the p-value of every condition, as the fast screen would.

    Parameters
    ----------
    screen
        The wells.
    values, which
        In place of the screen's own: other profiles, or other labels, from -1.
    seed
        Of the draws.

    Returns
    -------
    ndarray, shape (condition,)
        NaN where there can be none.
    """
    wells = place_wells(screen, values=values, which=which)
    return conditions.compare_conditions(wells, n_draws=DRAWS, seed=seed).p_value


def place_wells(
    screen: AuditScreen, *, values: Floats | None = None, which: Indices | None = None
) -> conditions.Wells:
    """Give wells as the fast screen's test takes them; see `judge_conditions`."""
    profiles = reduce_profiles(screen.values if values is None else values, screen)
    labels = screen.which if which is None else which
    counted = not screen.is_per_well and bool(np.isfinite(screen.counts).all())
    counts = np.maximum(screen.counts, 1.0) if counted else np.ones(len(labels))
    variances = np.ones_like(profiles) if counted else np.zeros_like(profiles)
    return conditions.Wells(
        profiles, variances, counts, screen.plates, screen.rows, screen.columns, labels
    )


def reduce_profiles(values: Floats, screen: AuditScreen) -> Floats:
    """Project many features on their principal components over all wells."""
    if values.shape[1] <= MAX_FEATURES:
        return values
    spread = values[screen.is_control].std(axis=0)
    scaled = values / np.maximum(spread, 1e-9)
    _, _, axes = np.linalg.svd(scaled - scaled.mean(axis=0), full_matrices=False)
    return np.asarray(scaled @ axes[:MAX_FEATURES].T)


def make_fakes(screen: AuditScreen, *, seed: int) -> Indices | None:
    """Label a quarter of the control wells as compounds, with as many wells as conditions have.

    Returns
    -------
    ndarray of intp, shape (well,), or None
        The screen's labels, with fake conditions numbered after the real ones; None where a plate
        has too few controls to spare any.
    """
    random = np.random.default_rng(seed)
    treated = screen.which >= 0
    wells_of = np.bincount(screen.which[treated], minlength=len(screen.conditions))
    plates_of = [np.unique(screen.plates[screen.which == k]).size for k in range(len(wells_of))]
    k = int(np.argsort(wells_of, kind="stable")[len(wells_of) // 2])
    chosen, per_plate = np.unique(screen.plates[screen.which == k], return_counts=True)
    if plates_of[k] < 1:
        return None
    labels = screen.which.copy()
    free = {p: random.permutation(np.flatnonzero(screen.is_control & (screen.plates == p)))
            for p in chosen.tolist()}  # fmt: skip
    if _repeats(screen) and len(chosen) > 1:
        # A fake sits at the same place of every plate, as conditions do.
        common = set.intersection(*(set(screen.places[w].tolist()) for w in free.values()))
        order = {place: n for n, place in enumerate(random.permutation(sorted(common)).tolist())}
        free = {
            p: np.array(sorted((w for w in wells if screen.places[w] in order),
                               key=lambda w: order[screen.places[w]]), dtype=np.intp)
            for p, wells in free.items()
        }  # fmt: skip
    number = min(
        max(1, free[p].size // 4) // n if free[p].size - n >= 3 else 0
        for p, n in zip(chosen.tolist(), per_plate.tolist(), strict=True)
    ) if len(chosen) else 0  # fmt: skip
    if number == 0 and all(
        free[p].size - n >= 3 for p, n in zip(chosen.tolist(), per_plate.tolist(), strict=True)
    ):
        number = 1
    for fake in range(number):
        for plate, n in zip(chosen.tolist(), per_plate.tolist(), strict=True):
            labels[free[plate][fake * n : (fake + 1) * n]] = len(screen.conditions) + fake
    return labels if number else None


def _repeats(screen: AuditScreen) -> bool:
    """Tell whether most conditions sit at one place on all of their plates."""
    sizes = [np.unique(screen.places[screen.which == k]).size == 1
             for k in range(len(screen.conditions)) if (screen.which == k).sum() > 1]  # fmt: skip
    return bool(sizes) and float(np.mean(sizes)) > 0.5
