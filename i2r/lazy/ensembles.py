"""The published classifier of one perturbation: ResNets on nucleus and region, fold by fold.

Hyper-parameters are those of Paysan, Radhakrishnan, Zhang, Shivashankar and Uhler, "Image2Reg",
Cell Systems 16, 2025. What is held out is the screen's to say; where the published screen drew
validation fields, this one takes whole wells of each class that can spare one.
"""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from dask import delayed
from dask.delayed import Delayed

from i2r.analysis.embedding.datasets import Dataset, open_dataset
from i2r.analysis.embedding.encoders import Files, fit_encoder
from i2r.errors import I2RError
from i2r.kernels.classification import score_probabilities
from i2r.kernels.folds import split_rest, validate_fields

# Fields of `i2r.models.encoder.EncoderSettings`: 512 + 512 features to an embedding of 512, each
# nucleus stretched to 8 bit.
PUBLISHED_NETWORK: Mapping[str, Any] = {
    "architecture": "resnet18", "classes": ("control", "treated"), "embedding_dim": 512,
    "scale": "nucleus",
}  # fmt: skip
# Fields of `i2r.models.train_encoder.EncoderTraining`.
PUBLISHED_TRAINING: Mapping[str, Any] = {
    "optimizer": "adam", "learning_rate": 1e-5, "weight_decay": 5e-4, "decay": False,
    "batch_size": 32, "patience": 5, "augmentation": "flips",
}  # fmt: skip


class EnsemblePlan(NamedTuple):
    """Which nuclei a unit compares and which of them it holds out.

    Attributes
    ----------
    pool
        Says which nuclei; the same for all folds of a perturbation.
    wells, is_treated
        Per well of the pool: its key, and whether it holds the perturbation.
    folds
        By well, or by well and field (``P1/B03/2``): its fold.
    fold
        The fold that is held out.
    by_field
        Whether fields are held out, which leaks, in place of wells.
    settings
        What of `i2r.models.encoder.EncoderSettings` is not published once for all.
    max_epochs
        The most passes over the training nuclei.
    """

    pool: Hashable
    wells: tuple[str, ...]
    is_treated: tuple[bool, ...]
    folds: tuple[tuple[str, int], ...]
    fold: int
    by_field: bool
    settings: Mapping[str, Any]
    max_epochs: int


def score_ensemble(plan: EnsemblePlan, files: Files, *, seed: np.random.SeedSequence) -> Delayed:
    """Train on all folds but one and score that one.

    Parameters
    ----------
    plan
        What to train on.
    files
        How to read and write.
    seed
        Of this training alone.

    Returns
    -------
    Delayed
        Of a mapping as `i2r.lazy.training.score_fold` gives it, and ``n_epochs`` and
        ``best_epoch``.
    """
    return delayed(_train_and_score)(plan, files, seed)


def _train_and_score(
    plan: EnsemblePlan, files: Files, seed: np.random.SeedSequence
) -> dict[str, Any]:
    import torch

    from i2r.models.encoder import EncoderSettings
    from i2r.models.evaluation import evaluate_encoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = open_dataset(plan.pool, files.read, device=device)
    is_treated = np.array(plan.is_treated)[data.wells]
    if is_treated.all():
        raise I2RError(
            f"all control wells of {plan.wells[0]} are without nuclei: nothing to compare with. "
            "Look at their images and at the table 'crop'."
        )
    groups, is_test = _find_held_out(plan, data)
    numbers = {
        f"n_{part}_{kind}": int((chosen & of_kind).sum())
        for part, chosen in (("train", ~is_test), ("test", is_test))
        for kind, of_kind in (("treated", is_treated), ("control", ~is_treated))
    }
    if not all(numbers.values()):
        names = ("balanced_accuracy", "sensitivity", "specificity", "auc")
        lacking = {**dict.fromkeys(names, np.nan), **numbers, "n_epochs": 0, "best_epoch": 0}
        return {**lacking, "note": "a fold has no nuclei of one kind", "calls": []}
    parts = split_rest(groups, is_treated, is_test, seed=seed)
    parts = validate_fields(parts, is_treated, data.name_fields(plan.wells), seed=seed)
    labels = is_treated.astype(np.int64)
    trained = fit_encoder(
        data,
        labels,
        parts,
        settings=EncoderSettings.from_plain({**PUBLISHED_NETWORK, **plan.settings}),
        training={**PUBLISHED_TRAINING, "max_epochs": plan.max_epochs},
        files=files,
        seed=seed,
        device=device,
        hint="Look at the nuclei of the condition and its controls.",
    )
    rows = np.flatnonzero(is_test)
    probability = evaluate_encoder(trained.encoder, data.pool, rows, labels).probabilities[:, 1]
    score = score_probabilities(is_treated[rows], probability)
    return {
        "balanced_accuracy": score.balanced_accuracy,
        "sensitivity": score.sensitivity,
        "specificity": score.specificity,
        "auc": score.area_under_curve,
        **numbers,
        "n_epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "note": "",
        "calls": _count_calls(plan, data.wells[rows], probability > 0.5),
    }


def _find_held_out(plan: EnsemblePlan, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Name what every nucleus is held out with, and say which are held out."""
    names = data.name_fields(plan.wells) if plan.by_field else np.array(plan.wells)[data.wells]
    tested = [name for name, fold in plan.folds if fold == plan.fold]
    return names, np.isin(names, tested)


def _count_calls(
    plan: EnsemblePlan, wells: np.ndarray, is_called: np.ndarray
) -> list[tuple[str, str, bool, int, int]]:
    """Count the nuclei called treated in every held-out well: plate, well, treated, all, called."""
    return [
        (
            *plan.wells[well].split("/")[:2], plan.is_treated[well],
            int((wells == well).sum()), int(is_called[wells == well].sum()),
        )
        for well in np.unique(wells)
    ]  # fmt: skip
