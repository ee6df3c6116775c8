"""How the screen fits linear heads to features or embeddings of all wells at once."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import I2RError
from i2r.kernels.conditions import FOLDS
from i2r.lazy.contrasts import COMPARED
from i2r.lazy.screening import FastPlan, score_screen
from i2r.stages.base import seed_sequence
from i2r.store import files
from i2r.store.experiment import Experiment
from i2r.store.features import read_features
from i2r.store.scores import write_fast

if TYPE_CHECKING:
    from i2r.stages.screen import Screen

# The one unit of the fast screen.
ALL = "all"


def build_fast(screen: "Screen", experiment: Experiment, compared: Sequence[str]) -> Delayed:
    """Score and test all comparisons on features or embeddings.

    Parameters
    ----------
    screen, experiment
        The stage and its experiment.
    compared
        The wells of all comparisons.

    Raises
    ------
    I2RError
        If there are embeddings of several encoders.
    """
    source = screen.needed(*screen.wanted)
    results = {key: experiment.ledger.result(source, key) for key in compared}
    keys = [key for key, result in results.items() if result is not None]
    encoders = {name for key in keys for name in (results[key] or {}).get("encoders", [""])}
    if encoders - {""}:
        raise I2RError(
            f"stage {screen.title!r}: {source!r} has embeddings of {len(encoders)} encoders, each "
            "without a class, expected those of one. Screen features, or embed with one encoder."
        )
    by_field = screen.split_by == "field"
    crop = _find_crops(experiment, source, keys) if by_field else ""
    rows = experiment.layout_by_key.loc[keys]
    plan = FastPlan(
        keys=tuple(keys),
        plates=tuple(map(str, rows["plate"])),
        positions=tuple(map(str, rows["well"])),
        n_fields=tuple(len(experiment.fields(key, screen.needs)) for key in keys),
        conditions=tuple(
            str(condition) if role in COMPARED else ""
            for condition, role in zip(rows["condition"], rows["role"], strict=True)
        ),
        contrasts=tuple(screen.contrasts(experiment).values()),
        by_field=by_field,
        doses=tuple(pd.to_numeric(rows["dose"], errors="coerce").astype(float)),
        compounds=tuple(map(str, rows["perturbation"])),
    )
    wells = [
        delayed(read_features)(
            experiment.part_url(source, key),
            experiment.embeddings_url(source, key),
            crops_url=experiment.part_url(crop, key) if crop else "",
        )
        for key in keys
    ]
    scored = score_screen(
        wells,
        plan,
        n_draws=FOLDS * screen.permutations,
        seed=seed_sequence(screen.seed, "screen", "permutations"),
    )
    names = ("-scores", "-calls", "-tests", "-left-out", "-features", "-wells", "-layout")
    return delayed(write_fast)(
        scored, urls={name: experiment.part_url(f"{screen.title}{name}", ALL) for name in names}
    )


def find_teacher(experiment: Experiment, source: str) -> str:
    """Name the stage that taught the encoder behind embeddings this screen's own labels.

    Such an encoder has seen wells that are held out, with what is in them. Empty for features,
    and for encoders from elsewhere.
    """
    results = (experiment.ledger.result(source, key) for key in experiment.well_keys)
    return next((str(r["trained_by"]) for r in results if r and "trained_by" in r), "")


def _find_crops(experiment: Experiment, source: str, keys: Sequence[str]) -> str:
    """Name the stage that cut what was embedded; empty for features, which name their fields."""
    if not keys:
        return ""
    url = f"{experiment.embeddings_url(source, keys[0])}/zarr.json"
    if not files.exists(url):
        return ""
    return str(json.loads(files.read_bytes(url))["attributes"]["crops"])
