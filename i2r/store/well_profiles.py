"""Profiles of wells, conditions and genes: features or embeddings averaged, beside the layout."""

from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.kernels.normalisation import Normalisation, normalise_wells
from i2r.store import files
from i2r.store.catalog import Catalog
from i2r.store.crops import OF_IMAGES
from i2r.store.features import read_features

Level = Literal["well", "condition", "gene"]
Aggregate = Literal["mean", "median"]
# Columns that describe a row of profiles; all others are features.
DESCRIBED = (
    "plate", "well", "condition", "perturbation", "gene", "dose", "replicate", "role", "n_wells",
    "n_nuclei",
)  # fmt: skip


def make_profiles(
    experiment: Catalog,
    *,
    by: Level = "well",
    source: str = "",
    aggregate: Aggregate = "mean",
    normalise: Normalisation = "standardise",
    keys: Collection[str] | None = None,
) -> pd.DataFrame:
    """Average features or embeddings over the nuclei of wells, and wells by what is in them.

    Parameters
    ----------
    experiment
        The experiment.
    by
        A row per well, condition (perturbation and dose), or gene.
    source
        The stage that made features or embeddings; default: features, or else embeddings.
    aggregate
        Of nuclei to wells.
    normalise
        To the control wells of each plate, see `i2r.kernels.normalisation.normalise_wells`.
    keys
        Only these wells, ``PLATE/B03``; those that other wells are normalised to among them.

    Returns
    -------
    DataFrame
        What the layout says, ``n_nuclei`` (and ``n_wells`` for conditions and genes), then one
        column per feature. Wells without nuclei are left out, as are nuclei with missing values.
        Conditions and genes are means of their wells, weighing wells alike; negative controls are
        conditions too, and have no gene.

    Raises
    ------
    InputError
        If there are no features or embeddings, wells have different ones, or no plate has two
        control wells to normalise to.
    """
    source = source or _find_source(experiment)
    wells, names = _average_nuclei(experiment, source, aggregate, keys)
    is_control = (wells["role"] == "negative_control").to_numpy()
    values = normalise_wells(wells[names].to_numpy(), wells["plate"], is_control, normalise)
    known = np.isfinite(values).all(axis=1)
    if not known.any():
        raise InputError(
            f"{experiment.url}: no plate has two negative-control wells with nuclei, expected some "
            "to normalise to. Take 'none', or look at the control wells."
        )
    described = wells.drop(columns=names)[known].reset_index(drop=True)
    features = pd.DataFrame(values[known].astype(np.float32), columns=names)
    table = pd.concat([described, features], axis=1)
    return table if by == "well" else _average_wells(table, names, by)


def _find_source(experiment: Catalog) -> str:
    """Name the stage whose numbers are taken where nobody says which."""
    found = [n for n in experiment.tables() if n.startswith("features") and "-" not in n]
    found += files.list_folder(experiment.path("embeddings"))
    done = [name for name in found if experiment.ledger.done_keys(name)]
    if not done:
        raise InputError(
            f"{experiment.url}: no features and no embeddings yet. Run 'features' or 'embed'."
        )
    return done[0]


def _average_nuclei(
    experiment: Catalog, source: str, aggregate: Aggregate, keys: Collection[str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Read one well after another and average its nuclei."""
    layout = experiment.layout_by_key
    kept = [name for name in layout.columns if name not in OF_IMAGES]
    rows, values, names = [], [], list[str]()
    done = set(experiment.ledger.done_keys(source))
    if keys is not None:
        done &= set(keys)
    for key in (key for key in experiment.well_keys if key in done):
        try:
            own, nuclei, _ = read_features(
                experiment.part_url(source, key), experiment.embeddings_url(source, key)
            )
        except (FileNotFoundError, KeyError) as error:
            raise InputError(
                f"{experiment.url}: {source!r} has no features or embeddings of {key}. Name a "
                "stage 'features' or 'embed'."
            ) from error
        if names and list(own) != names:
            raise InputError(
                f"{key}: {source!r} has {len(own)} features there, other wells have {len(names)} "
                "or others. Run the stage again."
            )
        names = list(own)
        sound = nuclei[np.isfinite(nuclei).all(axis=1)]
        if not len(sound):
            continue
        average = np.mean if aggregate == "mean" else np.median
        values.append(average(sound.astype(np.float64), axis=0))
        rows.append({**layout.loc[key, kept].to_dict(), "n_nuclei": len(sound)})
    if not rows:
        raise InputError(
            f"{experiment.url}: no well of {source!r} has a nucleus. See 'i2r status'."
        )
    described = pd.DataFrame(rows)
    order = [name for name in DESCRIBED if name in described]
    order += [name for name in described if name not in order]
    return pd.concat([described[order], pd.DataFrame(values, columns=names)], axis=1), names


def _average_wells(table: pd.DataFrame, names: list[str], by: Level) -> pd.DataFrame:
    """Average wells by condition or gene; genes in upper case, wells without one left out."""
    if by == "gene":
        gene = table["gene"].fillna("").astype(str).str.upper()
        used = (gene != "") & table["role"].isin(["treated", "positive_control"])
        table = table.assign(gene=gene)[used]
        if table.empty:
            raise InputError("no treated well has a gene. Fill the column 'gene' of the layout.")
    groups = table.groupby(by, sort=False)
    single = [n for n in ("perturbation", "gene", "dose", "role") if n in table and n != by]
    if by == "gene":
        single = []
    described = groups[single].first() if single else pd.DataFrame(index=groups.size().index)
    described["n_wells"] = groups.size()
    described["n_nuclei"] = groups["n_nuclei"].sum()
    features = groups[names].mean().astype(np.float32)
    return pd.concat([described, features], axis=1).reset_index()
