"""What was planted in a simulated screen beside what a run found of it, gene by gene."""

import io
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.well_profiles import DESCRIBED

BINS = (0.0, 1.0, 2.0, 3.0, 5.0, np.inf)
"""Planted changes, in standard deviations of a control well, whose calls are counted together."""

# Columns of a ranking that are taken over, where it has them.
FOUND = ("rank", "score", "p_value", "fdr", "feature", "change", "explained", "note")


def join_truth(experiment: Experiment, genes_url: str, *, screen: str = "screen") -> pd.DataFrame:
    """Put the truth of a simulated screen and the result of a run in one table.

    Effects are planted in images, as changes of diameters, contrasts and so on. What they do to the
    features is learned from all genes together: a linear model of the genes' mean features on what
    was planted. So both sides are in standard deviations of control wells, the unit of
    ``i2r design`` and of the screen's changes.

    Parameters
    ----------
    experiment
        What a run made of the simulated screen, with features and a screen.
    genes_url
        The table ``truth/genes.csv`` that `i2r.simulation.write_screen` made.
    screen
        Name of the screen.

    Returns
    -------
    DataFrame
        One row per gene, the largest planted change first: gene, is_null, module, effect, size (as
        planted); planted_feature, planted_sd (the feature that the planted effect moves most, and
        by how much; 0 for null genes); found_sd (how far the gene's wells have moved in that
        feature); impactful, and what else the screen says of the gene: its rank, score, p_value,
        fdr, the feature that moved most by the screen and its change.

    Raises
    ------
    InputError
        If the truth can't be read, or is not that of the experiment.
    """
    try:
        genes = pd.read_csv(io.BytesIO(files.read_bytes(genes_url)))
    except FileNotFoundError as error:
        raise InputError(
            f"{genes_url}: no such file, expected the truth of a simulated screen. Name the folder "
            "that 'i2r simulate' made."
        ) from error
    kinds = [name for name in genes if name.startswith("change_")]
    if not kinds or not {"gene", "is_null", "effect"} <= set(genes):
        raise InputError(
            f"{genes_url}: found the columns {', '.join(map(str, list(genes)[:5]))}, expected what "
            "'i2r simulate' writes. Name the folder of a simulated screen of images."
        )
    ranking = experiment.table(screen)
    ranking = ranking[ranking["kind"] != "control_draw"].drop_duplicates("gene").set_index("gene")
    lacking = sorted(set(genes["gene"]) - set(ranking.index))
    if len(lacking) == len(genes):
        raise InputError(
            f"{genes_url}: none of its {len(genes)} genes is in the screen {screen!r} of "
            f"{experiment.url}. Name the experiment that was made from this simulation."
        )
    moved = measure_changes(experiment).reindex(genes["gene"])
    expected = predict_changes(moved, genes[kinds].to_numpy(dtype=float))
    most = np.abs(expected).argmax(axis=1)
    rows = np.arange(len(genes))
    joined = genes[[n for n in ("gene", "is_null", "module", "effect", "size") if n in genes]]
    joined = joined.assign(
        planted_feature=np.where(genes["is_null"], "", np.asarray(moved.columns)[most]),
        planted_sd=np.where(genes["is_null"], 0.0, expected[rows, most]),
        found_sd=np.where(genes["is_null"], np.nan, moved.to_numpy()[rows, most]),
        impactful=ranking["impactful"].reindex(genes["gene"]).eq(True).to_numpy(),
    )
    kept = ranking[[name for name in FOUND if name in ranking]].reindex(genes["gene"])
    joined = pd.concat([joined, kept.reset_index(drop=True)], axis=1)
    order = (-joined["planted_sd"].abs()).argsort(kind="stable")
    return joined.iloc[order].reset_index(drop=True)


def measure_changes(experiment: Experiment) -> pd.DataFrame:
    """Measure how far genes' wells lie from the controls of their plates.

    Returns
    -------
    DataFrame
        One row per gene, one column per feature, in standard deviations of control wells, which are
        pooled over plates.
    """
    wells = experiment.profiles(by="well", normalise="none")
    names = [name for name in wells if name not in DESCRIBED]
    values = wells[names].to_numpy(dtype=float, copy=True)
    control = (wells["role"] == "negative_control").to_numpy()
    squares, freedom = np.zeros(len(names)), 0
    for plate in wells["plate"].unique():
        here = (wells["plate"] == plate).to_numpy()
        own = values[here & control]
        if len(own) < 2:
            values[here] = np.nan
            continue
        values[here] -= own.mean(axis=0)
        squares += own.var(axis=0) * len(own)
        freedom += len(own) - 1
    deviation = np.sqrt(squares / max(freedom, 1))
    varies = deviation > 1e-9 * np.maximum(np.nanmax(np.abs(values), axis=0), 1e-12)
    table = pd.DataFrame(values[:, varies] / deviation[varies], columns=np.array(names)[varies])
    return table[~control].groupby(wells.loc[~control, "gene"].to_numpy()).mean()


def predict_changes(
    moved: pd.DataFrame, planted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Say what planted effects change on average over the genes that have them.

    Parameters
    ----------
    moved
        One row per gene, one column per feature; rows of missing values are left out.
    planted : (gene, kind)
        What was planted in each.

    Returns
    -------
    ndarray, shape (gene, feature)
    """
    known = np.isfinite(moved.to_numpy()).all(axis=1)
    used = np.abs(planted).sum(axis=0) > 0
    slopes = np.linalg.lstsq(planted[known][:, used], moved.to_numpy()[known], rcond=None)[0]
    return np.asarray(planted[:, used] @ slopes)


def describe_truth(joined: pd.DataFrame) -> list[str]:
    """Say what was called of the planted changes, by their size, and of the null genes."""
    size = joined["planted_sd"].abs()
    planted = size[~joined["is_null"]]
    lines = [
        f"planted genes move a feature by {planted.median():.1f} SD of a control well (median)"
    ]
    for low, high in pairwise(BINS):
        chosen = joined[~joined["is_null"] & (size > low) & (size <= high)]
        if len(chosen):
            words = f"{low:g} to {high:g}" if np.isfinite(high) else f"over {low:g}"
            called = int(chosen["impactful"].sum())
            lines.append(f"planted {words} SD: {called} of {len(chosen)} genes called")
    null = joined[joined["is_null"]]
    lines.append(f"null genes: {int(null['impactful'].sum())} of {len(null)} called")
    return lines
