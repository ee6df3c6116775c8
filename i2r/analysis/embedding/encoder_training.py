"""One training of an encoder over many classes, with what its held-out nuclei say of it."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.embedding.datasets import Dataset, open_dataset
from i2r.analysis.embedding.encoders import Files, fit_encoder
from i2r.errors import I2RError
from i2r.kernels.folds import (
    TEST,
    TRAIN,
    VALIDATION,
    Confusion,
    count_confusions,
    permute_groups,
    split_parts,
    validate_fields,
)

# Control nuclei whose intensities set the range: enough for its percentiles.
N_SCALED = 4096
NULL_DRAWS = 200
# Edge of the pictures of regions that are kept for the report.
THUMBNAIL_PX = 64


class TrainPlan(NamedTuple):
    """What a unit trains on and what it holds out.

    Attributes
    ----------
    pool
        Says which nuclei.
    wells, plates, labels
        Per well of the pool: its key, its plate and its class.
    classes
        What the encoder tells apart; wells of other classes are left out whole.
    group
        What is held out together: ``well``, ``plate`` or ``field``.
    n_folds, fold
        Folds, and the one that tests.
    control
        The class of the controls, whose intensities set the range.
    settings, training
        Fields of `EncoderSettings` and `EncoderTraining` (`i2r.models`).
    n_surest
        Nuclei per class to explain.
    """

    pool: Hashable
    wells: tuple[str, ...]
    plates: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    group: str
    n_folds: int
    fold: int
    control: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    n_surest: int


class Trained(NamedTuple):
    """What a training came to: the encoder's bytes, one row of numbers, and tables."""

    encoder: bytes
    summary: dict[str, Any]
    epochs: pd.DataFrame
    confusion: pd.DataFrame
    splits: pd.DataFrame
    predictions: pd.DataFrame
    surest: pd.DataFrame


def train_unit(
    plan: TrainPlan,
    files: Files,
    *,
    split_seed: np.random.SeedSequence,
    seed: np.random.SeedSequence,
) -> Trained:
    """Train one encoder.

    Parameters
    ----------
    plan
        What to train on.
    files
        How to read and write.
    split_seed
        Of the folds, the same for all units of a stage.
    seed
        Of this training.

    Raises
    ------
    I2RError
        Where too few classes have nuclei or the training diverged.
    """
    import torch

    from i2r.models.evaluation import evaluate_encoder
    from i2r.models.weights import encode_encoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = open_dataset(plan.pool, files.read, device=device)
    labels, parts = _split(plan, data, split_seed)
    settings = _complete_settings(plan, data, parts, labels)
    # Nuclei are round: where a mask is, the corners of nearly all tiles are empty.
    corners = data.pool.crops[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    if settings.view == "binary-nucleus" and float((corners == 0).float().mean()) < 0.5:
        raise I2RError(
            "view 'binary-nucleus': most corners of crops are not 0, expected the background "
            "masked. Cut crops with 'mask: true', or leave this view out."
        )
    rows = {name: np.flatnonzero(parts == name) for name in (TRAIN, VALIDATION, TEST)}
    trained = fit_encoder(
        data,
        labels,
        parts,
        settings=settings,
        training=plan.training,
        files=files,
        seed=seed,
        device=device,
        hint="Look at the classes and their nuclei, or lower 'learning_rate'.",
    )
    found = {
        name: evaluate_encoder(trained.encoder, data.pool, chosen, labels).probabilities
        for name, chosen in rows.items()
    }
    confusions = {
        name: count_confusions(
            labels[rows[name]], probabilities.argmax(axis=1), n_classes=len(plan.classes)
        )
        for name, probabilities in found.items()
    }
    null = _draw_null(data.wells[rows[TEST]], labels[rows[TEST]], found[TEST], seed)
    accuracy = confusions[TEST].balanced_accuracy
    summary: dict[str, Any] = {
        "n_classes": len(plan.classes),
        **{f"n_{name}": len(chosen) for name, chosen in rows.items()},
        "n_epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        **{f"{name}_balanced_accuracy": c.balanced_accuracy for name, c in confusions.items()},
        "chance": 1 / len(plan.classes),
        "null_mean": float(np.mean(null)) if len(rows[TEST]) else np.nan,
        "null_high": float(np.quantile(null, 0.95)) if len(rows[TEST]) else np.nan,
        "p_value": (1 + int((null >= accuracy).sum())) / (1 + len(null))
        if len(rows[TEST])
        else np.nan,
        "note": _note_absent(plan, labels[rows[TEST]]),
    }
    predictions = _list_predictions(plan, data, rows[TEST], labels, found[TEST])
    return Trained(
        encoder=encode_encoder(trained.encoder),
        summary=summary,
        epochs=pd.DataFrame(trained.history),
        confusion=pd.concat(
            [_list_confusion(name, c, plan.classes) for name, c in confusions.items()],
            ignore_index=True,
        ),
        splits=_list_splits(plan, data, parts),
        predictions=predictions,
        surest=_explain_surest(plan, data, trained.encoder, predictions, rows[TEST]),
    )


def _split(
    plan: TrainPlan, data: Dataset, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """Give the class of every nucleus, -1 for none, and its part of the split, '' for none."""
    numbers = {name: number for number, name in enumerate(plan.classes)}
    of_well = np.array([numbers.get(label, -1) for label in plan.labels], dtype=np.int64)
    labels = of_well[data.wells]
    used = np.flatnonzero(labels >= 0)
    fields = data.name_fields(plan.wells)
    if plan.group == "field":
        members, of_nucleus = np.unique(fields[used], return_inverse=True)
        first = np.zeros(members.size, dtype=np.intp)
        first[of_nucleus] = used
        wells, groups = data.wells[first], members
    else:
        wells, of_nucleus = np.unique(data.wells[used], return_inverse=True)
        groups = np.array(plan.wells if plan.group == "well" else plan.plates)[wells]
    counts = np.bincount(labels[used], minlength=len(plan.classes))
    if (counts == 0).any() or np.unique(groups).size < 2:
        absent = [name for name, n in zip(plan.classes, counts, strict=True) if n == 0]
        raise I2RError(
            f"classes without nuclei: {', '.join(absent) or 'none'}; {np.unique(groups).size} "
            f"group(s) to hold out by {plan.group}, expected nuclei in every class and two groups. "
            "Name other 'classes' or another 'split_by'."
        )
    parts = np.full(labels.size, "", dtype="<U10")
    parts[used] = split_parts(
        groups,
        of_well[wells],
        n_folds=plan.n_folds,
        fold=plan.fold,
        seed=seed,
        blocks=np.array(plan.plates)[wells],
    )[of_nucleus]
    parts[used] = validate_fields(parts[used], labels[used], fields[used], seed=seed)
    return labels, parts


def _complete_settings(
    plan: TrainPlan, data: Dataset, parts: np.ndarray, labels: np.ndarray
) -> Any:
    """Measure the range of intensities on the controls that are trained on."""
    from i2r.models.batches import measure_scaling
    from i2r.models.encoder import EncoderSettings

    settings = EncoderSettings.from_plain({**plan.settings, "classes": plan.classes})
    trained = np.flatnonzero(parts == TRAIN)
    if plan.control in plan.classes:
        control = plan.classes.index(plan.control)
        trained = (
            trained[labels[trained] == control] if (labels[trained] == control).any() else trained
        )
    chosen = trained[:: max(1, len(trained) // N_SCALED)]
    crops = data.pool.crops[chosen.tolist()].cpu().numpy()
    unsigned = crops.view(np.uint16) if crops.dtype == np.int16 else crops
    scaling = measure_scaling(unsigned, method=settings.scale)
    return EncoderSettings.from_plain(
        {**settings.to_plain(), "low": scaling.low, "high": scaling.high}
    )


def _draw_null(
    wells: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    seed: np.random.SeedSequence,
) -> np.ndarray:
    """Draw the balanced accuracy of wells that are labelled at random."""
    names, of_nucleus = np.unique(wells, return_inverse=True)
    counts = np.zeros((names.size, probabilities.shape[1]), dtype=np.int64)
    np.add.at(counts, (of_nucleus, probabilities.argmax(axis=1)), 1)
    of_well = np.zeros(names.size, dtype=np.int64)
    of_well[of_nucleus] = labels
    spawned = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 2**31))
    return permute_groups(counts, of_well, n_draws=NULL_DRAWS, seed=spawned)


def _list_confusion(part: str, confusion: Confusion, classes: tuple[str, ...]) -> pd.DataFrame:
    """Make one row per pair of classes."""
    return pd.DataFrame(
        {
            "part": part,
            "true": np.repeat(classes, len(classes)),
            "predicted": np.tile(classes, len(classes)),
            "n_nuclei": confusion.counts.ravel(),
            "share": confusion.shares.ravel(),
        }
    )


def _list_splits(plan: TrainPlan, data: Dataset, parts: np.ndarray) -> pd.DataFrame:
    """Make one row per well and part, with its nuclei; wells that are left out have part ''."""
    by_well = pd.DataFrame({"number": data.wells, "part": parts})
    counted = by_well.groupby(["number", "part"], sort=True).size().reset_index(name="n_nuclei")
    numbers = counted.pop("number").to_numpy()
    plates = np.array(plan.plates, dtype=object)[numbers]
    keys = np.array(plan.wells, dtype=object)[numbers]
    counted.insert(0, "class", np.array(plan.labels, dtype=object)[numbers])
    counted.insert(0, "well", [key.rpartition("/")[2] for key in keys])
    counted.insert(0, "plate", plates)
    return counted


def _note_absent(plan: TrainPlan, tested: np.ndarray) -> str:
    """Name the classes of which nothing is tested, so that the accuracy is that of the others."""
    counts = np.bincount(tested, minlength=len(plan.classes))
    absent = [name for name, n in zip(plan.classes, counts, strict=True) if n == 0]
    return f"no test nuclei of {', '.join(absent)}" if absent else ""


def _list_predictions(
    plan: TrainPlan,
    data: Dataset,
    rows: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
) -> pd.DataFrame:
    """Make one row per held-out nucleus."""
    classes = np.array(plan.classes, dtype=object)
    truth = labels[rows]
    return pd.DataFrame(
        {
            "plate": np.array(plan.plates, dtype=object)[data.wells[rows]],
            "well": [plan.wells[n].rpartition("/")[2] for n in data.wells[rows]],
            "crop": data.crop_index[rows],
            "true": classes[truth],
            "predicted": classes[probabilities.argmax(axis=1)],
            "probability": probabilities[np.arange(len(rows)), truth],
        }
    )


def _explain_surest(
    plan: TrainPlan, data: Dataset, encoder: Any, predictions: pd.DataFrame, rows: np.ndarray
) -> pd.DataFrame:
    """Take the held-out nuclei of each class that are called it most surely, with their maps.

    Where the encoder sees regions, a small grey picture of each is kept beside its map.
    """
    import torch

    from i2r.models.occlusion import map_occlusion

    best = (
        predictions[predictions["predicted"] == predictions["true"]]
        .sort_values("probability", ascending=False, kind="stable")
        .groupby("true", sort=True)
        .head(plan.n_surest)
    )
    chosen = torch.from_numpy(rows[best.index.to_numpy()]).to(data.pool.device)
    device = next(encoder.parameters()).device
    images = data.pool.draw(encoder.settings, chosen, device=device)
    numbers = np.array([plan.classes.index(name) for name in best["true"]], dtype=np.int64)
    maps = map_occlusion(encoder, images, numbers)
    listed = {
        f"occlusion_{name}": [m.ravel().tolist() for m in maps.get(name, [])] or [[]] * len(best)
        for name in ("nucleus", "region")
    }
    listed["region"] = [[]] * len(best)
    if "region" in images and len(best):
        grey = torch.nn.functional.adaptive_avg_pool2d(
            images["region"][:, :1].float(), THUMBNAIL_PX
        )
        grey = (grey - grey.min()) / (grey.max() - grey.min()).clamp(min=1e-6)
        listed["region"] = (255 * grey).round().to(torch.uint8).flatten(1).cpu().tolist()
    return best.reset_index(drop=True).assign(**listed)
