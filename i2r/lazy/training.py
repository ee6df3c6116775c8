"""Training and scoring of one fold of one perturbation."""

from typing import Any, Literal, NamedTuple

import numpy as np
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import I2RError
from i2r.kernels.classification import score_probabilities


class FoldPlan(NamedTuple):
    """Which wells a unit compares and which of them it holds out.

    Attributes
    ----------
    urls, wells
        Where the crops of each well are (for the caller, who reads them), and their names.
    is_treated, folds
        Per well: whether it holds the perturbation, and its fold.
    fold
        The fold that is held out.
    channels
        Indices of the channels that the network sees.
    """

    urls: tuple[str, ...]
    wells: tuple[str, ...]
    is_treated: tuple[bool, ...]
    folds: tuple[int, ...]
    fold: int
    channels: tuple[int, ...]


def score_fold(
    crops: Delayed,
    plan: FoldPlan,
    *,
    scale: Literal["plate", "nucleus"],
    passes: float,
    max_steps: int,
    seed: np.random.SeedSequence,
) -> Delayed:
    """Train a network on all folds but one and score the held-out one.

    Parameters
    ----------
    crops
        Delayed list with the crops (nucleus, c, y, x) of each well of the plan.
    plan
        The wells.
    scale, passes, max_steps
        See `i2r.models.train_classifier.TrainingSettings`.
    seed
        Of this training alone.

    Returns
    -------
    Delayed
        Of a mapping: balanced_accuracy, sensitivity, specificity, auc (NaN where a class has no
        nuclei, with a ``note``), the numbers of nuclei in training and test, and ``calls``: plate,
        well, whether it is treated, nuclei and nuclei called treated of every held-out well.
    """
    return delayed(train_and_score)(
        crops, plan, {"scale": scale, "passes": passes, "max_steps": max_steps}, seed
    )


def train_and_score(
    wells: list[np.ndarray], plan: FoldPlan, settings: dict[str, Any], seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Compute what `score_fold` describes."""
    counts = np.array([len(crops) for crops in wells])
    well_treated, well_folds = np.array(plan.is_treated), np.array(plan.folds)
    if not counts[~well_treated].any():
        raise I2RError(
            f"all {int((~well_treated).sum())} control wells of {plan.wells[0]} are without "
            "nuclei: nothing to compare with. Look at their images and at the table 'crop'."
        )
    is_treated = np.repeat(well_treated, counts)
    held_out = np.repeat(well_folds, counts) == plan.fold
    numbers = {
        f"n_{part}_{kind}": int((chosen & of_kind).sum())
        for part, chosen in (("train", ~held_out), ("test", held_out))
        for kind, of_kind in (("treated", is_treated), ("control", ~is_treated))
    }
    if not all(numbers.values()):
        nothing = dict.fromkeys(("balanced_accuracy", "sensitivity", "specificity", "auc"), np.nan)
        return {**nothing, **numbers, "note": "a fold has no nuclei of one kind", "calls": []}
    # torch takes seconds to import, and only these tasks need it.
    import torch

    from i2r.models.train_classifier import TrainingSettings, predict_fold

    predicted = predict_fold(
        np.concatenate(wells),
        is_treated,
        np.repeat(np.array(plan.wells), counts),
        np.repeat(well_folds, counts),
        fold=plan.fold,
        settings=TrainingSettings(**settings),
        seed=seed,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    score = score_probabilities(is_treated[predicted.rows], predicted.probability)
    return {
        "balanced_accuracy": score.balanced_accuracy,
        "sensitivity": score.sensitivity,
        "specificity": score.specificity,
        "auc": score.area_under_curve,
        **numbers,
        "note": "",
        "calls": _count_calls(plan, counts, predicted.rows, predicted.probability > 0.5),
    }


def _count_calls(
    plan: FoldPlan, counts: np.ndarray, rows: np.ndarray, is_called: np.ndarray
) -> list[tuple[str, str, bool, int, int]]:
    """Count the nuclei called treated in every held-out well: plate, well, treated, all, called."""
    piece_of = np.repeat(np.arange(len(counts)), counts)[rows]
    found: dict[tuple[str, str, bool], tuple[int, int]] = {}
    for piece in np.unique(piece_of):
        plate, well = plan.wells[piece].split("/")[:2]
        here = piece_of == piece
        place = (plate, well, plan.is_treated[piece])
        before = found.get(place, (0, 0))
        found[place] = before[0] + int(here.sum()), before[1] + int(is_called[here].sum())
    return [(*place, *numbers) for place, numbers in found.items()]
