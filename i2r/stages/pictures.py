"""New images treated as an experiment's own: the stages behind a map, and what they make of them.

This is no stage; `i2r.stages.predict` uses it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import FieldError, I2RError, InputError
from i2r.lazy.pictures import CropRules, Picture, embed_pictures, measure_pictures
from i2r.lazy.queries import relate_features, shift_embeddings
from i2r.readers.images import read_plane, read_shape
from i2r.readers.masks import find_mask, read_mask
from i2r.stages.base import find_stage
from i2r.stages.crop import Crop
from i2r.stages.embed import Embed, digest_file, open_encoder
from i2r.stages.features import Features
from i2r.stages.segment import Segment
from i2r.store import feature_profiles, files, signatures, tables
from i2r.store.experiment import Experiment
from i2r.store.plate import Plate

NEW_CONTROLS, OWN_CONTROLS = "control images", "the experiment's controls"
Reference = feature_profiles.FeatureWells | dict[str, list[str]]


class Chain(NamedTuple):
    """The stages that a map's images went through, and a plate of them."""

    segment: Segment
    crop: Crop
    profile: Embed | Features
    plate: Plate


def open_chain(experiment: Experiment, map_stage: str, *, has_masks: bool) -> Chain:
    """Find the stages that a map's images went through, with their options of the latest run.

    Raises
    ------
    InputError
        If the map learned from a table, or its nuclei came with masks and there are none now.
    """
    entries = (experiment.last_pipeline() or {}).get("stages", [])
    stages = {s.title: s for s in (find_stage(e["stage"]).model_validate(e) for e in entries)}
    learned = stages[map_stage]
    if learned.model_dump()["signatures"]:
        raise InputError(
            f"stage {map_stage!r} learned from a table, so images can't be turned into what it "
            "knows. Set 'queries', or map from a stage 'embed' or 'features'."
        )
    profile = stages[learned.needs[1]]
    segment, crop = (stages[name] for name in profile.needs[-2:])
    assert isinstance(segment, Segment)
    assert isinstance(crop, Crop)
    assert isinstance(profile, Embed | Features)
    if segment.method == "import" and not has_masks:
        raise InputError(
            f"stage {segment.title!r} took masks that were made elsewhere, so new images need some "
            "too. Set 'masks'."
        )
    return Chain(segment, crop, profile, next(iter(experiment.plates.values())))


def profile_pictures(
    experiment: Experiment,
    chain: Chain,
    found: Sequence[files.FoundFile],
    *,
    where: str,
    pages: Mapping[str, int],
    masks: str,
    encoders: Sequence[str],
    url: str,
) -> Delayed:
    """Cut and describe the nuclei of some pictures as a map's were, and write their profiles.

    Parameters
    ----------
    experiment, chain
        Whose stages do it.
    found
        The files.
    where
        What they are called in messages and in the table.
    pages
        Page of the files that shows each channel; empty takes page 0 for the segmented one.
    masks
        Folder of label images; '' segments the pictures.
    encoders
        Names of the encoders, where profiles are embeddings.
    url
        Where the table is written: query, gene, encoder, n_nuclei and numbers.

    Raises
    ------
    I2RError
        If no picture can be used, or none shows the channel that is segmented.
    """
    pages = pages or {chain.segment.channel: 0}
    if chain.segment.channel not in pages and not masks:
        raise I2RError(
            f"{where}: pages {', '.join(pages)}, expected one of {chain.segment.channel!r}, which "
            "is segmented. Add it to 'pages', or set 'masks'."
        )
    excluded, pictures, problems = dict[str, str](), list[Picture](), list[str]()
    for file in found:
        name = file.path.rpartition("/")[2]
        try:
            pictures.append(open_picture(file.path, name, chain, pages, masks=masks))
        except FieldError as error:
            problems.append(str(error))
            excluded[name] = str(error).partition(": ")[0]
    if not pictures:
        first = problems[0] if problems else "There is none."
        raise I2RError(f"{where}: none of {len(found)} pictures can be used. {first}")
    size, profile = chain.plate.pixel_size_um, chain.profile
    rules = CropRules(chain.crop.limits(size), chain.crop.size_px, chain.crop.mask)
    options: dict[str, Any] = {"channels": list(pages), "pixel_size_um": size, "rules": rules}
    if isinstance(profile, Embed):
        models = profile.encoders(experiment)
        opened = {
            name: delayed(open_encoder)(models[name], digest_file(models[name]), profile.channels)
            for name in encoders
        }
        table = embed_pictures(pictures, opened, **options)
    else:
        missing = [channel for channel in profile.channels if channel not in pages]
        if missing:
            raise I2RError(
                f"{where}: features are measured in {missing[0]!r}, the pictures show "
                f"{', '.join(pages)}. Say which page shows it, such as --pages {missing[0]}=1."
            )
        table = measure_pictures(
            pictures,
            measured=profile.channels,
            curvature_step_um=profile.curvature_step_um,
            radius_um=profile.radius_um,
            texture_um=profile.texture_um,
            **options,
        )
    return delayed(write_picture_profiles)(
        table, query=where, n_fields=len(pictures), excluded=excluded, url=url
    )


def open_picture(
    url: str, name: str, chain: Chain, pages: Mapping[str, int], *, masks: str
) -> Picture:
    """Check a picture's header and open it and its labels lazily."""
    headers = {read_shape(url, page) for page in pages.values()}
    (shape, dtype), *others = sorted(headers, key=str)
    if others:
        raise FieldError(f"shape: {name}: pages differ in size or type. Export it again.")
    if dtype != chain.plate.dtype:
        raise FieldError(
            f"dtype: {name} is {dtype}, the experiment's images are {chain.plate.dtype}. "
            "Export it at that depth."
        )
    image = da.from_delayed(
        delayed(read_pages)(url, tuple(pages.values())), (1, len(pages), *shape), dtype=dtype
    )
    if not masks:
        channel = list(pages).index(chain.segment.channel)
        labels = chain.segment.label(
            image, channel=channel, pixel_size_um=chain.plate.pixel_size_um
        )
        return Picture(name, image, labels)
    mask = find_mask(masks, image_url=url)
    if mask is None:
        raise FieldError(f"mask: no mask of {name} in {masks}. Add it.")
    plane = da.from_delayed(delayed(read_mask)(mask, shape=shape), shape, dtype=np.int32)
    return Picture(name, image, plane[None])


def read_pages(url: str, pages: Sequence[int]) -> np.ndarray:
    """Read pages of a picture as a field of channels, shape (1, c, y, x)."""
    return np.stack([read_plane(url, page=page) for page in pages])[None]


def write_picture_profiles(
    table: pd.DataFrame, *, query: str, n_fields: int, excluded: Mapping[str, str], url: str
) -> dict[str, Any]:
    """Write what was found in the pictures of a query; without a nucleus there is no query."""
    n_nuclei = int(table.loc[table["encoder"] == table["encoder"].min(), "n_nuclei"].sum())
    if not n_nuclei:
        raise I2RError(
            f"{query}: no nucleus with a crop in {n_fields} picture(s). Look at their pixel size, "
            "channel and masks."
        )
    described = pd.DataFrame({"query": query, "gene": ""}, index=table.index)
    tables.write_table(url, pd.concat([described, table], axis=1))
    return {"fields": n_fields, "nuclei": n_nuclei, "excluded": dict(excluded)}


def list_encoders(made_by: Mapping[str, Any]) -> list[str]:
    """List the encoders that a map learned from; the name of a single one is empty."""
    return sorted(set(made_by["encoders"].values())) or [""]


def list_controls(experiment: Experiment, made_by: Mapping[str, Any]) -> Reference:
    """List the experiment's own control wells: their features, or embeddings by encoder."""
    stage = made_by["stage"]
    wells = feature_profiles.list_feature_wells(experiment, stage, {})
    if made_by["profiles"] == "features":
        return wells
    layout = experiment.layout_by_key
    done = layout.index.isin(list(experiment.ledger.done_keys(stage)))
    keys = layout.index[done & (layout["role"] == feature_profiles.CONTROLS)]
    return {
        encoder: [experiment.embeddings_url(stage, str(k), encoder=encoder) for k in keys]
        for encoder in list_encoders(made_by)
    }


def relate_profiles(
    table: pd.DataFrame,
    names: Sequence[str],
    controls: str,
    reference: Reference | None,
    *,
    where: str,
) -> tuple[pd.DataFrame, str]:
    """Relate new images to controls as the map's wells were; say to which."""
    if isinstance(reference, dict):
        own = {
            encoder: signatures.average_wells(urls, ["controls"] * len(urls)).values[0]
            for encoder, urls in reference.items()
        }
        means = pd.DataFrame(np.stack(list(own.values())), columns=list(names))
        means.insert(0, "encoder", list(own))
        new = tables.read_table(controls)
        return shift_embeddings(table, names, controls=new, reference=means), NEW_CONTROLS
    is_features = "d0" not in table
    if not is_features:
        return table, "nothing"
    if reference is not None:
        standard, compared = feature_profiles.measure_standard(reference), OWN_CONTROLS
    else:
        nuclei = tables.read_table(controls)
        kept = [
            str(name) for name in nuclei if name not in ("query", "gene", "encoder", "n_nuclei")
        ]
        standard = feature_profiles.make_standard(nuclei[kept].to_numpy(), kept, where="controls")
        compared = NEW_CONTROLS
    order = [standard.names.index(name) for name in names if name in standard.names]
    return relate_features(
        table, names, mean=standard.mean[order], spread=standard.spread[order], where=where
    ), compared
