"""How well a two-class prediction separates treated from control nuclei.

The screen's score is the balanced accuracy on wells that the network never saw, averaged over the
folds. It doesn't depend on how many nuclei each class has, so 0.5 always means that nothing was
learned. A class that is absent makes a measure undefined, which is NaN here, never a number that
looks like a result.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class ClassificationScore(NamedTuple):
    """Held-out performance on one fold.

    Attributes
    ----------
    balanced_accuracy
        Mean of ``sensitivity`` and ``specificity``; NaN if a class is absent.
    sensitivity
        Share of the treated nuclei that were called treated; NaN without treated nuclei.
    specificity
        Share of the control nuclei that were called control; NaN without control nuclei.
    area_under_curve
        Probability that a treated nucleus ranks above a control nucleus, ties counting one half;
        NaN if a class is absent. It needs no threshold.
    n_treated, n_control
        Nuclei of each class.
    """

    balanced_accuracy: float
    sensitivity: float
    specificity: float
    area_under_curve: float
    n_treated: int
    n_control: int


def measure_balanced_accuracy(
    truth: npt.NDArray[Any], predicted: npt.NDArray[Any]
) -> tuple[float, float, float]:
    """Measure balanced accuracy, sensitivity and specificity of two-class calls.

    Parameters
    ----------
    truth
        Shape (nucleus,): True for a treated nucleus, False for a control. Cast to bool.
    predicted
        Shape (nucleus,): the calls, likewise.

    Returns
    -------
    tuple of float
        Balanced accuracy, sensitivity, specificity, each in [0, 1]. A class without nuclei makes
        its own share and the balanced accuracy NaN.

    Raises
    ------
    ValueError
        If the two differ in shape or aren't one-dimensional.

    References
    ----------
    Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010,
    doi:10.1109/ICPR.2010.764.
    """
    treated = _check_truth(truth, predicted)
    called = np.asarray(predicted, dtype=bool)
    sensitivity = float(called[treated].mean()) if treated.any() else float("nan")
    specificity = float((~called[~treated]).mean()) if (~treated).any() else float("nan")
    return (sensitivity + specificity) / 2, sensitivity, specificity


def measure_area_under_curve(truth: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Measure the area under the ROC curve by comparing all pairs of nuclei.

    Parameters
    ----------
    truth
        Shape (nucleus,): True for a treated nucleus. Cast to bool.
    scores
        Shape (nucleus,), float: larger means more likely treated, on any monotone scale.

    Returns
    -------
    float
        The Mann-Whitney U statistic over the number of pairs, ties counting one half; NaN if a
        class is absent or any score is NaN.

    Raises
    ------
    ValueError
        If the two differ in shape or aren't one-dimensional.

    References
    ----------
    Hanley and McNeil, Radiology 143:29 (1982), doi:10.1148/radiology.143.1.7063747.
    """
    treated = _check_truth(truth, scores)
    values: FloatArray = np.asarray(scores, dtype=np.float64)
    above, below = values[treated], np.sort(values[~treated])
    if above.size == 0 or below.size == 0 or np.isnan(values).any():
        return float("nan")
    # For each treated nucleus: controls strictly below it, plus controls not above it.
    n_below = np.searchsorted(below, above, side="left") + np.searchsorted(
        below, above, side="right"
    )
    return float(n_below.sum()) / (2 * above.size * below.size)


def score_probabilities(
    is_treated: npt.NDArray[Any], probability: npt.NDArray[Any], *, threshold: float = 0.5
) -> ClassificationScore:
    """Score the predicted probabilities of one held-out fold.

    Parameters
    ----------
    is_treated
        Shape (nucleus,): True for a treated nucleus. Cast to bool.
    probability
        Shape (nucleus,), float: predicted probability of being treated.
    threshold
        A nucleus is called treated above it, so a constant prediction at the threshold calls
        every nucleus control and scores 0.5. With class-balanced training it is 0.5.

    Returns
    -------
    ClassificationScore
        All measures; see there for an absent class.

    Raises
    ------
    ValueError
        If the two differ in shape or aren't one-dimensional.
    """
    treated = _check_truth(is_treated, probability)
    balanced, sensitivity, specificity = measure_balanced_accuracy(treated, probability > threshold)
    return ClassificationScore(
        balanced_accuracy=balanced,
        sensitivity=sensitivity,
        specificity=specificity,
        area_under_curve=measure_area_under_curve(treated, probability),
        n_treated=int(treated.sum()),
        n_control=int((~treated).sum()),
    )


def _check_truth(truth: npt.NDArray[Any], other: npt.NDArray[Any]) -> BoolArray:
    """Return the truth as bool after comparing the shapes of the two."""
    treated: BoolArray = np.asarray(truth, dtype=bool)
    if treated.ndim != 1 or treated.shape != np.shape(other):
        raise ValueError(
            f"truth has shape {treated.shape} and the prediction {np.shape(other)}, expected one "
            "value per nucleus in each. Pass the same nuclei to both."
        )
    return treated
