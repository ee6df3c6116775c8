"""New images beside controls: their own, or the experiment's.

This is not a stage; `i2r.stages.predict` uses it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.embedding.profiles import Aggregate
from i2r.analysis.regulation import feature_profiles, signatures
from i2r.analysis.regulation.queries import correct_embeddings, relate_features, shift_embeddings
from i2r.errors import InputError
from i2r.kernels.profiles import Correction, Transform, fit_correction, start_moments
from i2r.stages.features import Features
from i2r.stages.predict.query_images import Chain
from i2r.store import tables
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.types import unit_key

# Columns of profiles that are not numbers.
DESCRIBED = ("query", "gene", "encoder", "n_nuclei")
NEW_CONTROLS, OWN_CONTROLS = "control images", "the experiment's controls"


class Reference(NamedTuple):
    """The experiment's own controls, for comparison with new images.

    Attributes
    ----------
    features : FeatureWells or None
        Where the map learned from features: the control wells.
    wells : str
        Otherwise the URL of the embed stage's table of wells,
    urls : dict
        by encoder, the embeddings of the nuclei of all control wells,
    correction, aggregate : str
        and that stage's options.
    """

    features: feature_profiles.FeatureWells | None
    wells: str = ""
    urls: Mapping[str, Sequence[str]] = {}
    correction: Correction = "none"
    aggregate: Aggregate = "mean"


def list_controls(experiment: Experiment, chain: Chain, encoders: Sequence[str]) -> Reference:
    """List the experiment's own control wells, as the chain's last stage profiled them."""
    stage, profile = chain.profile.title, chain.profile
    if isinstance(profile, Features):
        return Reference(feature_profiles.list_feature_wells(experiment, stage, {}))
    layout = experiment.layout_by_key
    done = layout.index.isin(list(experiment.ledger.done_keys(stage)))
    keys = layout.index[done & (layout["role"] == feature_profiles.CONTROLS)]
    urls = {
        encoder: [experiment.embeddings_url(stage, str(key), encoder=encoder) for key in keys]
        for encoder in encoders
    }
    table = experiment.table_url(stage)
    return Reference(None, table, urls, profile.correction, profile.aggregate)


def relate_profiles(
    table: pd.DataFrame,
    names: Sequence[str],
    controls: pd.DataFrame | None,
    reference: Reference,
    *,
    where: str,
) -> tuple[pd.DataFrame, str]:
    """Relate new images to controls as the map's wells were; say to which.

    Parameters
    ----------
    table
        Their profiles, or nuclei: query, gene, encoder, n_nuclei and numbers.
    names
        The numbers that the map learned from.
    controls
        The same of new control images; None for none.
    reference
        The experiment's own.
    where
        Where the images are from, for messages.
    """
    compared = OWN_CONTROLS if controls is None else NEW_CONTROLS
    if reference.features is not None:
        if controls is None:
            standard = feature_profiles.measure_standard(reference.features)
        else:
            kept = [name for name in map(str, controls) if name not in DESCRIBED]
            values = controls[kept].to_numpy(dtype=float)
            values = values[np.isfinite(values).all(axis=1)]
            spread = feature_profiles.start_spread().add(values)
            standard = feature_profiles.make_standard(spread, kept, where="controls")
        order = [standard.names.index(name) for name in names if name in standard.names]
        return relate_features(
            table, names, mean=standard.mean[order], spread=standard.spread[order], where=where
        ), compared
    if reference.correction != "none":
        transforms = _learn_correction(names, controls, reference)
        return correct_embeddings(table, names, transforms, aggregate=reference.aggregate), compared
    if controls is None:
        return table, "nothing"
    wells = tables.read_table(reference.wells)
    wells = wells[wells["role"] == feature_profiles.CONTROLS]
    keys = {unit_key(p, w): "controls" for p, w in zip(wells["plate"], wells["well"], strict=True)}
    means = [signatures.average_wells(wells, keys, encoder=e).values[0] for e in reference.urls]
    own = pd.DataFrame(np.stack(means), columns=list(names))
    own.insert(0, "encoder", list(reference.urls))
    return shift_embeddings(table, names, controls=controls, reference=own), compared


def _learn_correction(
    names: Sequence[str], controls: pd.DataFrame | None, reference: Reference
) -> dict[str, Transform]:
    """Learn the correction of new images from their control nuclei, or the experiment's."""
    transforms = {}
    for encoder, urls in reference.urls.items():
        moments = start_moments(len(names))
        if controls is None:
            for url in urls:
                moments = moments.add(read_array(url))
        else:
            moments = moments.add(controls.loc[controls["encoder"] == encoder, list(names)])
        if moments.n < 2:
            raise InputError(
                f"controls: {moments.n} nuclei, expected some hundreds to correct by. Look at the "
                "control images."
            )
        transforms[encoder] = fit_correction(moments, reference.correction)
    return transforms
