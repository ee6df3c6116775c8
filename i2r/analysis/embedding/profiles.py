"""Embeddings of nuclei to profiles of wells and conditions, and what these are worth."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from i2r.analysis.screen.condition_blocks import MAX_WELLS, cut_wells
from i2r.errors import I2RError
from i2r.kernels.profile_clusters import cluster_profiles
from i2r.kernels.profiles import (
    LEAST_SETS,
    Correction,
    Moments,
    Transform,
    count_sets,
    fit_correction,
    measure_retrieval,
    rank_neighbours,
    start_moments,
)
from i2r.kernels.statistics import adjust_pvalues

Aggregate = Literal["mean", "median"]
TABLES = ("", "-genes", "-reproducibility", "-clusters", "-curves", "-umap")
# Of each nucleus' well, in the tables.
DESCRIBED = ["plate", "well", "condition", "perturbation", "gene", "role"]
MAX_CLASSES = 4000
"""Classes that are clustered; more join the nearest of these."""
# Below, a layout in two dimensions says nothing.
MIN_UMAP, UMAP_NEIGHBOURS = 5, 15


class ProfilePlan(NamedTuple):
    """Which embeddings are summarised, and how.

    Attributes
    ----------
    wells
        By key: `DESCRIBED`, ``class`` (what a profile is made for, empty for none), ``control``
        (bool) and ``group`` (plate or batch that is corrected together).
    urls
        By encoder: where the embeddings of each well are, in the order of ``wells``.
    aggregate, correction
        See `i2r.stages.embed.Embed`.
    umap
        Whether to lay wells out in two dimensions.
    """

    wells: pd.DataFrame
    urls: Mapping[str, tuple[str, ...]]
    aggregate: Aggregate
    correction: Correction
    umap: bool


class _Profiles(NamedTuple):
    """Profiles by well and by class, with their numbers of nuclei."""

    wells: np.ndarray
    well_counts: np.ndarray
    classes: list[str]
    of_class: np.ndarray
    class_counts: np.ndarray


def profile_wells(
    plan: ProfilePlan, read: Callable[[str], np.ndarray], *, seed: np.random.SeedSequence
) -> dict[str, pd.DataFrame]:
    """Summarise embeddings.

    Parameters
    ----------
    plan
        What to do.
    read
        Reads the embeddings of one well, shape (nucleus, dim).
    seed
        Of nulls and of the layout in two dimensions.

    Returns
    -------
    dict
        By `TABLES`, each with the column ``encoder``.

    Raises
    ------
    I2RError
        Where a plate or batch has no controls to correct by.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for encoder, urls in plan.urls.items():
        transforms = _fit_corrections(plan, urls, read)
        profiles = _aggregate(plan, urls, read, transforms)
        tables = {
            "": _list_wells(plan, profiles),
            "-genes": _list_classes(plan, profiles),
            "-reproducibility": _measure_reproducibility(plan, profiles, seed),
            **_cluster(plan, profiles, seed),
            "-umap": _lay_out(plan, profiles, seed),
        }
        for name, table in tables.items():
            table.insert(0, "encoder", encoder)
            found[name].append(table)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}


def _fit_corrections(
    plan: ProfilePlan, urls: tuple[str, ...], read: Callable[[str], np.ndarray]
) -> dict[str, Transform]:
    """Learn the correction of every plate or batch from its controls' nuclei."""
    if plan.correction == "none":
        return {}
    moments: dict[str, Moments] = {}
    for url, group, is_control in zip(
        urls, plan.wells["group"], plan.wells["control"], strict=True
    ):
        if is_control:
            values = read(url)
            moments[group] = moments.get(group, start_moments(values.shape[1])).add(values)
    transforms = {}
    for group in plan.wells["group"].unique():
        if moments.get(group, start_moments(1)).n < 2:
            raise I2RError(
                f"plate or batch {group!r}: no nuclei of negative controls, expected some to "
                "correct by. Set 'correction: none', or another 'correct_by'."
            )
        transforms[group] = fit_correction(moments[group], plan.correction)
    return transforms


def _aggregate(
    plan: ProfilePlan,
    urls: tuple[str, ...],
    read: Callable[[str], np.ndarray],
    transforms: Mapping[str, Transform],
) -> _Profiles:
    """Average over nuclei, well by well and class by class; each well is read once."""
    classes = sorted(set(plan.wells["class"]) - {""})
    grouped = plan.wells.reset_index(drop=True).groupby("class").indices
    numbers = {name: grouped.get(name, np.zeros(0, dtype=np.intp)) for name in ("", *classes)}
    n_wells = len(plan.wells)
    counts = np.zeros(n_wells, dtype=np.int64)
    of_well: list[Any] = [None] * n_wells
    of_class, class_counts = [], []
    groups = plan.wells["group"].to_numpy()
    n_dims = 0
    for name, wells in numbers.items():
        nuclei = []
        for index in wells:
            values = read(urls[index])
            n_dims = values.shape[1]
            if transforms:
                values = transforms[groups[index]].apply(values)
            counts[index] = len(values)
            of_well[index] = _average(plan.aggregate, values)
            # Of a mean the sum is all that is needed: controls of many plates don't fit in memory.
            if name:
                total = values.sum(axis=0, dtype=np.float64)[None]
                nuclei.append(values if plan.aggregate == "median" else total)
        if name:
            n_nuclei = int(counts[wells].sum())
            together = np.concatenate(nuclei)
            class_counts.append(n_nuclei)
            if not n_nuclei:
                of_class.append(np.full(n_dims, np.nan))
            elif plan.aggregate == "median":
                of_class.append(_average(plan.aggregate, together))
            else:
                of_class.append(together.sum(axis=0) / n_nuclei)
    return _Profiles(
        np.asarray(of_well, dtype=np.float64),
        counts,
        classes,
        np.asarray(of_class, dtype=np.float64).reshape(len(classes), n_dims),
        np.asarray(class_counts, dtype=np.int64),
    )


def _average(aggregate: Aggregate, values: np.ndarray) -> np.ndarray:
    """Average nuclei, shape (nucleus, dim), in double precision; NaN for none."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    if aggregate == "median":
        return np.median(values, axis=0)
    return values.mean(axis=0, dtype=np.float64)


def _number_dims(profiles: np.ndarray) -> pd.DataFrame:
    """Make the columns e0, e1, ... in single precision."""
    names = [f"e{number}" for number in range(profiles.shape[1])]
    return pd.DataFrame(profiles.astype(np.float32), columns=names)


def _list_wells(plan: ProfilePlan, profiles: _Profiles) -> pd.DataFrame:
    """Make one row per well."""
    described = plan.wells[DESCRIBED].reset_index(drop=True)
    described = described.assign(n_nuclei=profiles.well_counts)
    return pd.concat([described, _number_dims(profiles.wells)], axis=1)


def _list_classes(plan: ProfilePlan, profiles: _Profiles) -> pd.DataFrame:
    """Make one row per condition or gene; ``gene`` is empty where its wells name several."""
    rows = []
    grouped = plan.wells.reset_index(drop=True).groupby("class").indices
    for name, count in zip(profiles.classes, profiles.class_counts, strict=True):
        wells = plan.wells.iloc[grouped[name]]
        genes = wells["gene"].unique()
        filled = int((profiles.well_counts[grouped[name]] > 0).sum())
        gene = genes[0] if len(genes) == 1 else ""
        rows.append((name, gene, bool(wells["control"].all()), filled, int(count)))
    described = pd.DataFrame(rows, columns=["class", "gene", "is_control", "n_wells", "n_nuclei"])
    return pd.concat([described, _number_dims(profiles.of_class)], axis=1)


def _measure_reproducibility(
    plan: ProfilePlan, profiles: _Profiles, seed: np.random.SeedSequence
) -> pd.DataFrame:
    """Ask of every class whether its wells are nearer to each other than to other wells.

    A screen of many plates is asked in blocks of plates that share classes: ranks of all wells
    among all would grow with the square of their number. Of a class in several blocks the wells of
    that one count which has most of them.
    """
    known = profiles.well_counts > 0
    names, plates = plan.wells["class"].to_numpy(), plan.wells["plate"].to_numpy()
    is_control = plan.wells["control"].to_numpy() & known
    treated = ~plan.wells["control"].to_numpy() & known & (names != "")
    used = np.flatnonzero(treated | is_control)
    blocks = [used]
    if used.size > MAX_WELLS:
        held = np.where(treated, names, "")[used].tolist()
        blocks = [used[own] for own in cut_wells(plates[used].tolist(), held)]
    number_of = {name: index for index, name in enumerate(profiles.classes)}
    counts = pd.Series(names[treated]).value_counts()
    found: dict[int, dict[str, Any]] = {}
    for block in blocks:
        controls, others = block[is_control[block]], block[treated[block]]
        # The wells of all classes are the same for every class: ranked once, or they take hours.
        among_others = rank_neighbours(profiles.wells[others])
        codes, present = pd.factorize(names[others])
        for code, name in enumerate(present):
            own, index = others[codes == code], number_of[str(name)]
            if index in found and found[index]["asked"] >= len(own):
                continue
            row: dict[str, Any] = {"class": str(name), "n_wells": int(counts[name])}
            row["asked"] = len(own)
            beside = np.concatenate([own, controls])
            notes = []
            if len(own) < row["n_wells"]:
                notes.append(
                    f"{len(own)} of its wells, those of one block of plates, were compared"
                )
            for kind, ranks, chosen, on in (
                ("controls", rank_neighbours(profiles.wells[beside]), np.arange(len(own)), beside),
                ("others", among_others, np.searchsorted(others, own), others),
            ):
                spawned = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
                measured = measure_retrieval(ranks, chosen, plates=plates[on], seed=spawned)
                row |= {f"{key}_{kind}": value for key, value in measured._asdict().items()}
                if np.isnan(measured.p_value):
                    notes.append(_say_why(kind, plates[on], chosen))
            found[index] = row | {"note": "; ".join(notes)}
    rows = [found[index] for index in sorted(found)]
    columns = [
        f"{k}_{c}" for c in ("controls", "others") for k in ("precision", "null_mean", "p_value")
    ]
    table = pd.DataFrame(rows, columns=["class", "n_wells", *columns, "note"])
    for kind in ("controls", "others"):
        table[f"fdr_{kind}"] = adjust_pvalues(table[f"p_value_{kind}"].to_numpy(dtype=np.float64))
    return table[[name for name in table if name != "note"] + ["note"]]


def _say_why(kind: str, plates: np.ndarray, own: np.ndarray) -> str:
    """Say why a condition has no p-value among controls or others, and how many would do."""
    words = {"controls": "control wells", "others": "wells of other conditions"}[kind]
    if len(own) < 2:
        return f"no p-value among {words}: one well; 2 or more are needed"
    if len(own) == len(plates):
        return f"no p-value among {words}: there are none"
    names, counts = np.unique(plates[own], return_counts=True)
    fewest = min(int((plates == name).sum()) - m for name, m in zip(names, counts, strict=True))
    return (
        f"no p-value among {words}: {count_sets(plates, own)} sets of wells could lie on its "
        f"plates as its own do, {LEAST_SETS} are needed; add {words} (a plate has {fewest})"
    )


def _cluster(
    plan: ProfilePlan, profiles: _Profiles, seed: np.random.SeedSequence
) -> dict[str, pd.DataFrame]:
    """Cluster the classes, controls left out."""
    control = set(plan.wells["class"][plan.wells["control"]])
    kept = [
        index
        for index, name in enumerate(profiles.classes)
        if name not in control and profiles.class_counts[index] > 0
    ]
    names = [profiles.classes[index] for index in kept]
    rows = profiles.of_class[kept]
    # Trees take memory and time with the square of the classes: of more, a sample grows one.
    sample = np.arange(len(kept))
    if len(kept) > MAX_CLASSES:
        random = np.random.default_rng(seed)
        sample = np.sort(random.choice(len(kept), MAX_CLASSES, replace=False))
    found = cluster_profiles(rows[sample], seed=seed)
    if found is None:
        return {
            "-clusters": pd.DataFrame({"class": names, "cluster": 0, "order": range(len(names))}),
            "-curves": pd.DataFrame(
                columns=["n_clusters", "silhouette", "null_silhouette", "calinski_harabasz"],
                dtype=np.float64,
            ),
        }
    place = np.empty(len(sample), dtype=np.int64)
    place[found.order] = np.arange(len(sample))
    labels = found.labels[found.best]
    if len(sample) < len(names):
        # The others go where the nearest of the sample is, beside it.
        apart, nearest = cKDTree(rows[sample]).query(rows)
        order = np.lexsort((apart, place[nearest]))
        labels, place = labels[nearest], np.empty(len(names), dtype=np.int64)
        place[order] = np.arange(len(names))
    clusters = {"class": names, "cluster": labels, "order": place}
    curves = {
        "n_clusters": found.numbers,
        "silhouette": found.silhouette,
        "null_silhouette": found.null_silhouette,
        "calinski_harabasz": found.calinski_harabasz,
    }
    return {"-clusters": pd.DataFrame(clusters), "-curves": pd.DataFrame(curves)}


def _lay_out(plan: ProfilePlan, profiles: _Profiles, seed: np.random.SeedSequence) -> pd.DataFrame:
    """Lay the wells out in two dimensions; no rows where wells are few.

    By UMAP where umap-learn is installed (McInnes, Healy and Melville, 2018,
    doi:10.48550/arXiv.1802.03426), or else by the first two principal components.
    """
    known = np.flatnonzero(profiles.well_counts > 0)
    if not plan.umap or len(known) < MIN_UMAP:
        text = dict.fromkeys(["plate", "well", "class", "method"], "str")
        types = {**text, "x": "float64", "y": "float64"}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})
    rows = profiles.wells[known]
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    try:
        placed, method = _place_by_umap(rows, int(seed.generate_state(1)[0])), "UMAP"
    except ImportError:
        left, lengths, _ = np.linalg.svd(rows, full_matrices=False)
        placed, method = (left * lengths)[:, :2], "principal components"
    wells = plan.wells.iloc[known]
    return pd.DataFrame(
        {
            "plate": wells["plate"].to_numpy(),
            "well": wells["well"].to_numpy(),
            "class": wells["class"].to_numpy(),
            "method": method,
            "x": placed[:, 0].astype(np.float64),
            "y": placed[:, 1].astype(np.float64),
        }
    )


def _place_by_umap(rows: np.ndarray, seed: int) -> np.ndarray:
    """Place rows in two dimensions; needs umap-learn."""
    import warnings

    with warnings.catch_warnings():
        # It says that TensorFlow is absent, that a seed means one thread, and that few wells have
        # few neighbours: all meant.
        warnings.simplefilter("ignore")
        from umap import UMAP  # this, as a folder that was left behind imports as well

        few = len(rows) < UMAP_NEIGHBOURS
        return UMAP(
            n_neighbors=min(UMAP_NEIGHBOURS, len(rows) - 1),
            init="random" if few else "spectral",
            random_state=seed,
        ).fit_transform(rows.astype(np.float32))
