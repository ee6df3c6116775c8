"""Features on one scale over plates: relative to the plate's negative controls.

The rule against leaks: a well is never part of its own standard. Treated wells are compared with
all control wells of their plate, a control well with all others. So a control well looks like a
treated well without effect would, whether it is in training, in test, or stands in for a
perturbation.
"""

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]

LIMIT = 6.0
"""Standardised values are cut here: debris and merged nuclei have no more say than this."""


def invert_spread(
    mean: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give what centred features are multiplied by, (feature,): 0 where there is no spread.

    Parameters
    ----------
    mean, spread
        Shape (feature,): mean and standard deviation of control nuclei. Rounding leaves a little
        spread in constants: below a millionth of the mean it counts as none.
    """
    usable = spread > 1e-6 * (np.abs(mean) + 1e-12)
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=usable)


def standardise_wells(
    features: npt.NDArray[np.floating],
    start: npt.NDArray[np.intp],
    plates: npt.NDArray[np.intp],
    is_control: npt.NDArray[np.bool_],
) -> Singles:
    """Subtract the mean and divide by the standard deviation of the plate's other control wells.

    Parameters
    ----------
    features
        Shape (nucleus, feature): finite.
    start
        Shape (well + 1,): the nuclei of well i are rows start[i] to start[i + 1].
    plates, is_control
        Shape (well,): plate from 0, and whether the well is a negative control.

    Returns
    -------
    ndarray of float32, shape (nucleus, feature)
        From -`LIMIT` to `LIMIT`. A feature that is constant in the controls of a plate is 0
        there. Wells of plates without another control well with nuclei are 0 throughout.
    """
    values = np.asarray(features)
    n_wells, d = len(plates), values.shape[1]
    count = np.zeros(n_wells)
    total, square = np.zeros((n_wells, d)), np.zeros((n_wells, d))
    # Far from 0 the sums of squares would lose what they are for.
    control_rows = [np.arange(start[w], start[w + 1]) for w in np.flatnonzero(is_control)]
    chosen = np.concatenate([np.empty(0, np.intp), *control_rows])
    origin = values[chosen].mean(axis=0, dtype=np.float64) if chosen.size else np.zeros(d)
    for well in np.flatnonzero(is_control):
        rows = values[start[well] : start[well + 1]] - origin
        count[well], total[well], square[well] = len(rows), rows.sum(axis=0), (rows**2).sum(axis=0)
    out = np.zeros(values.shape, dtype=np.float32)
    for plate in np.unique(plates):
        here = plates == plate
        whole = count[here].sum(), total[here].sum(axis=0), square[here].sum(axis=0)
        for well in np.flatnonzero(here):
            n = whole[0] - count[well]
            if n < 2:
                continue
            mean = (whole[1] - total[well]) / n
            variance = (whole[2] - square[well]) / n - mean**2
            scale = np.sqrt(np.maximum(variance, 0))
            factor = invert_spread(mean + origin, scale)
            rows = values[start[well] : start[well + 1]] - (origin + mean)
            out[start[well] : start[well + 1]] = np.clip(rows * factor, -LIMIT, LIMIT)
    return out


def reduce_features(
    features: Singles, chosen: npt.NDArray[np.bool_], *, n_features: int
) -> Singles:
    """Project features on their principal components among chosen nuclei.

    Parameters
    ----------
    features
        Shape (nucleus, feature).
    chosen
        Shape (nucleus,): nuclei that decide, the controls, so that no effect does.
    n_features
        Components kept, at most as many as there are features.

    Returns
    -------
    ndarray of float32
        Shape (nucleus, n_features), as it is where there are no more features than that. Every
        component has variance 1 among the chosen nuclei, or 0 where there is none.
    """
    if features.shape[1] <= n_features:
        return features
    nuclei = features[chosen]
    covariance = nuclei.T @ nuclei / max(len(nuclei), 1)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    largest = slice(-1, -n_features - 1, -1)
    variance, axes = values[largest], vectors[:, largest]
    scale = np.zeros(n_features)
    np.divide(1, np.sqrt(np.maximum(variance, 0)), out=scale, where=variance > 1e-9)
    # The sign of a component is arbitrary: its largest loading is positive.
    sign = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_features)])
    reduced: Singles = features @ (axes * scale * sign).astype(np.float32)
    return reduced
