"""Linear heads on precomputed features: every perturbation and every fold at once, in closed form.

A head is Fisher's linear discriminant between a perturbation's nuclei and the controls', with a
ridge. All heads of a fold share the controls' covariance, so there is one factorisation per fold
instead of one training per perturbation and fold; and they need sums alone, which plates give one
by one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

RIDGE = 0.1
"""Share of the mean variance that is added to every variance; chosen on simulated screens."""


class HeadSums(NamedTuple):
    """What heads need of a screen. A piece is what is held out whole: a well, or a field of one.

    Attributes
    ----------
    treated, n_treated : (comparison, fold, feature), (comparison, fold) float64
        Sums of the mean features of treated pieces with nuclei, and how many there are.
    copied, n_copied : the same
        Of those among them that are controls, as of draws: they are not controls there.
    controls, n_controls : (plate, fold, feature), (plate, fold) float64
        Of all control pieces with nuclei.
    on_plate : (comparison, plate) sparse
        1 where a comparison has treated pieces: a control of another plate differs by more than
        the treatment.
    gram, n_nuclei : (fold, feature, feature), (fold,) float64
        Sums of outer products of control nuclei, and their number.
    """

    treated: Floats
    n_treated: Floats
    copied: Floats
    n_copied: Floats
    controls: Floats
    n_controls: Floats
    on_plate: sparse.csr_array
    gram: Floats
    n_nuclei: Floats

    def project(self, axes: Singles) -> "HeadSums":
        """Give the sums of features along axes, shape (feature, axis)."""
        along = axes.astype(np.float64)
        return self._replace(
            treated=self.treated @ along, copied=self.copied @ along,
            controls=self.controls @ along, gram=along.T @ self.gram @ along,
        )  # fmt: skip


class Heads(NamedTuple):
    """Heads of comparisons, each trained on all folds but one.

    Attributes
    ----------
    directions : (comparison, fold, feature) float32
        What features are multiplied by.
    middle : (comparison, fold) float32
        Halfway between the classes along the direction; NaN where a class lacks nuclei for training
        or in the fold.
    """

    directions: Singles
    middle: Singles


def fit_heads(sums: HeadSums) -> Heads:
    """Train a head for every comparison and fold.

    Parameters
    ----------
    sums
        Of features standardised to the controls of each plate, so that controls of different plates
        are alike.

    Returns
    -------
    Heads
        A nucleus is called treated where it is nearer to the treated mean. Pieces of a class count
        equally in its mean.

    References
    ----------
    Fisher 1936, Ann. Eugen. 7:179, doi:10.1111/j.1469-1809.1936.tb02137.x; with a ridge: Friedman
    1989, J. Am. Stat. Assoc. 84:165, doi:10.1080/01621459.1989.10478752.
    """
    n, n_folds, d = sums.treated.shape
    heads = Heads(np.zeros((n, n_folds, d), np.float32), np.full((n, n_folds), np.nan, np.float32))
    held_others = sums.on_plate @ sums.n_controls - sums.n_copied
    for fold in range(n_folds):
        others = np.arange(n_folds) != fold
        n_training = sums.n_nuclei[others].sum()
        if n_training < 2:
            continue
        covariance = sums.gram[others].sum(axis=0) / n_training
        mean_variance = max(float(np.trace(covariance)), 1e-12) / d
        covariance[np.diag_indices(d)] += RIDGE * mean_variance
        factor = linalg.cho_factor(covariance, lower=True)
        treated = sums.treated[:, others].sum(axis=1), sums.n_treated[:, others].sum(axis=1)
        control = (
            sums.on_plate @ sums.controls[:, others].sum(axis=1)
            - sums.copied[:, others].sum(axis=1),
            sums.on_plate @ sums.n_controls[:, others].sum(axis=1)
            - sums.n_copied[:, others].sum(axis=1),
        )
        able = (treated[1] > 0) & (control[1] > 0)
        able &= (sums.n_treated[:, fold] > 0) & (held_others[:, fold] > 0)
        means = [total[able] / count[able, None] for total, count in (treated, control)]
        directions = linalg.cho_solve(factor, (means[0] - means[1]).T).T
        heads.directions[able, fold] = directions
        heads.middle[able, fold] = ((means[0] + means[1]) / 2 * directions).sum(axis=1)
    return heads


def rank_margins(above: Iterable[Singles], below: Singles) -> int:
    """Count pairs of a treated and a control nucleus in which the treated is higher, twice.

    Parameters
    ----------
    above
        Margins of treated nuclei, in any number of pieces.
    below
        Margins of control nuclei, sorted.

    Returns
    -------
    int
        Ties count once. Sums over pieces of either side, over 2 n m, are the area under the curve.
    """
    return sum(
        int(np.searchsorted(below, margins, side=side).sum(dtype=np.int64))
        for margins in above
        for side in ("left", "right")
    )
