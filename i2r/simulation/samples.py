"""Nuclei of an experiment, to compose simulated fields of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from i2r.errors import InputError
from i2r.simulation.nuclei import CROP_PX, PIXEL_SIZE_UM, Nuclei
from i2r.store import files, tables
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.nuclei import read_channels

# As many as ship with i2r; with fewer than the least, fields would show the same ones again.
_MOST, _LEAST = 300, 20


def sample_nuclei(url: str, *, seed: int = 0) -> Nuclei:
    """Draw nuclei of an experiment's negative controls, or of all its wells where none are done.

    Every well gives about as many.

    Parameters
    ----------
    url
        An experiment with a stage ``crop`` whose crops show the bare nucleus (``mask: true``). The
        channel is that of its ``segment``; the background is what ``quality`` measured, or, where
        that did not run, the lowest value in a nucleus.
    seed
        Which nuclei.

    Returns
    -------
    Nuclei
        At most 300, at `PIXEL_SIZE_UM`. Nuclei that are larger than the crops there are left out.

    Raises
    ------
    InputError
        If there are no such crops, or fewer than 20 nuclei that fit.
    """
    experiment = open_experiment(url)
    stages = (experiment.last_pipeline() or {"stages": []})["stages"]
    crop = [s for s in stages if s["stage"] == "crop" and s.get("mask", True)]
    segment = [s for s in stages if s["stage"] == "segment"]
    if not crop or not segment:
        raise InputError(
            f"{url}: no crops of bare nuclei, expected a stage 'crop' with 'mask: true' in its "
            "latest run. Run one."
        )
    title, channel = crop[-1].get("name") or "crop", str(segment[-1]["channel"])
    done = set(experiment.ledger.done_keys(title))
    roles = experiment.layout_by_key["role"]
    keys = [key for key in experiment.well_keys if key in done]
    keys = [key for key in keys if roles[key] == "negative_control"] or keys
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(6,)))
    by_well = [_read_well(experiment, title, key, channel, stages) for key in keys]
    # One of each well in turn.
    turns = [(rank, well) for well, own in enumerate(by_well) for rank in range(len(own))]
    orders = [random.permutation(len(own)) for own in by_well]
    drawn = [by_well[well][orders[well][rank]] for rank, well in sorted(turns)[:_MOST]]
    if len(drawn) < _LEAST:
        raise InputError(
            f"{url}: {len(drawn)} nuclei of negative controls fit into {CROP_PX} pixels of "
            f"{PIXEL_SIZE_UM} um, expected {_LEAST} or more. Check the pixel size, or name an "
            "experiment with more."
        )
    peaks = np.array([nucleus.max() for nucleus in drawn], dtype=np.float32)
    relative = np.stack(drawn) * (255 / peaks[:, None, None])
    return Nuclei(np.rint(relative).astype(np.uint8), peaks)


def _read_well(
    experiment: Experiment, crop: str, key: str, channel: str, stages: list[Mapping[str, Any]]
) -> list[npt.NDArray[np.float32]]:
    """Read the nuclei of a well that fit, in counts above the background."""
    plate, _ = experiment.locate(key)
    images = read_channels(
        experiment.crops_url(crop, key), channels=[plate.channels.index(channel)]
    )[:, 0]
    table = tables.read_table(experiment.part_url(crop, key), columns=["field", "crop"])
    fields = table[table["crop"] >= 0].sort_values("crop")["field"].tolist()
    background: dict[str, float] = {}
    quality = next((s.get("name") or "quality" for s in stages if s["stage"] == "quality"), "")
    if quality and files.exists(experiment.part_url(quality, key)):
        measured = tables.read_table(experiment.part_url(quality, key))
        measured = measured[measured["channel"] == channel]
        background = dict(zip(measured["field"], measured["background"].astype(float), strict=True))
    zoom = plate.pixel_size_um / PIXEL_SIZE_UM
    nuclei = [
        fit_nucleus(image, background.get(field), zoom)
        for image, field in zip(images, fields, strict=True)
    ]
    return [nucleus for nucleus in nuclei if nucleus is not None]


def fit_nucleus(
    image: npt.NDArray[Any], background: float | None, zoom: float
) -> npt.NDArray[np.float32] | None:
    """Bring a masked crop to the pixel size and the edge of the crops that fields are made of.

    Parameters
    ----------
    image
        Shape (y, x): counts, 0 outside the nucleus.
    background
        Counts to subtract; None takes the lowest inside.
    zoom
        Factor on its edge.

    Returns
    -------
    ndarray of float32 or None
        Shape (48, 48): counts above the background, the nucleus in the middle and 0 around it;
        None for what is empty, cut by the crop's edge, too large, or nowhere above the background.
    """
    inside = image > 0
    cut = inside[[0, -1]].any() or inside[:, [0, -1]].any()
    if cut or not inside.any():
        return None
    level = float(image[inside].min()) if background is None else background
    above = np.where(inside, np.maximum(image.astype(np.float32) - level, 0), 0)
    scaled = ndimage.zoom(above, zoom, order=1)
    rows, columns = (np.flatnonzero(scaled.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    nucleus = scaled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(nucleus.shape) > CROP_PX:
        return None
    framed = np.zeros((CROP_PX, CROP_PX), dtype=np.float32)
    y, x = ((CROP_PX - n) // 2 for n in nucleus.shape)
    framed[y : y + nucleus.shape[0], x : x + nucleus.shape[1]] = nucleus
    return framed
