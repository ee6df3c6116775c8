"""New images treated as an experiment's own: the stages behind a map, and what they make of them.

This is not a stage; `i2r.stages.predict` uses it.
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
from i2r.readers.images import read_plane, read_shape
from i2r.readers.labels import read_mask
from i2r.readers.masks import find_mask
from i2r.stages.crop import Crop
from i2r.stages.embed import Embed, EncodeEmbed, digest_file, open_encoder
from i2r.stages.features import Features, MeasureFeatures
from i2r.stages.map import Map
from i2r.stages.methods import restore_stage
from i2r.stages.segment import Segment
from i2r.stages.segment.options import Labeller
from i2r.store import files, tables
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.illumination import correct_image
from i2r.store.plate import Plate


class Chain(NamedTuple):
    """The stages that a map's images went through, and a plate of them.

    Attributes
    ----------
    segment, crop, profile, plate
        The stages, the last being what the map learned from, and the plate.
    functions
        By channel: URLs of the illumination functions that all plates were divided by.
    """

    segment: Segment
    crop: Crop
    profile: EncodeEmbed | MeasureFeatures
    plate: Plate
    functions: Mapping[str, Sequence[str]]


def open_chain(experiment: Experiment, map_stage: str, *, has_masks: bool) -> Chain:
    """Find the stages that a map's images went through, with their options of the latest run.

    Raises
    ------
    InputError
        If the map learned from a table, or its nuclei came with masks and there are none now.
    """
    entries = (experiment.last_pipeline() or {}).get("stages", [])
    listed = [restore_stage(entry) for entry in entries]
    verbs = {stage.title: stage.stage for stage in listed}
    stages = {stage.title: stage.with_needs(stage.needs, verbs) for stage in listed}
    learned = stages[map_stage]
    assert isinstance(learned, Map)
    if learned.signatures:
        raise InputError(
            f"stage {map_stage!r} learned from a table, so images can't be turned into what it "
            "knows. Set 'queries', or map from a stage 'embed' or 'features'."
        )
    profile = stages[learned.upstream_title(learned.profiles)]
    segment, crop = (
        stages[profile.upstream_title("segment")],
        stages[profile.upstream_title("crop")],
    )
    assert isinstance(segment, Segment)
    assert isinstance(crop, Crop)
    if not isinstance(profile, EncodeEmbed | MeasureFeatures):
        assert isinstance(profile, Embed | Features)
        raise InputError(
            f"stage {profile.title!r} took its numbers by the method {profile.method!r}, which new "
            "images don't go through. Treat them in the same way and set 'queries', a table."
        )
    if segment.method == "import" and not has_masks:
        raise InputError(
            f"stage {segment.title!r} took masks that were made elsewhere, so new images need some "
            "too. Set 'masks'."
        )
    functions: dict[str, list[str]] = {}
    for plate in experiment.plates.values():
        for index, url in plate.find_functions(segment.needs).items():
            functions.setdefault(plate.channels[index], []).append(url)
    return Chain(segment, crop, profile, next(iter(experiment.plates.values())), functions)


def profile_pictures(
    experiment: Experiment,
    chain: Chain,
    found: Sequence[files.FoundFile],
    *,
    where: str,
    pages: Mapping[str, int],
    masks: str,
    encoders: Sequence[str],
    are_controls: bool,
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
    are_controls
        Whether others are compared with these.
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
    functions = {
        place: delayed(average_functions)(chain.functions[channel])
        for place, channel in enumerate(pages)
        if channel in chain.functions
    }
    excluded, pictures, problems = dict[str, str](), list[Picture](), list[str]()
    for file in found:
        name = file.path.rpartition("/")[2]
        try:
            pictures.append(
                open_picture(file.path, name, chain, pages, masks=masks, functions=functions)
            )
        except FieldError as error:
            problems.append(str(error))
            excluded[name] = str(error).partition(": ")[0]
    if not pictures:
        first = problems[0] if problems else "There is none."
        raise I2RError(f"{where}: none of {len(found)} pictures can be used. {first}")
    size, profile = chain.plate.pixel_size_um, chain.profile
    crop = chain.crop
    rules = CropRules(crop.limits(size), crop.size_px, crop.mask, crop.cut_px(size))
    options: dict[str, Any] = {"channels": list(pages), "pixel_size_um": size, "rules": rules}
    if isinstance(profile, Embed):
        models = profile.encoders(experiment)
        opened = {
            name: delayed(open_encoder)(models[name], digest_file(models[name]), profile.channels)
            for name in encoders
        }
        corrects = profile.correction != "none"
        # What a correction learns from is single nuclei, and a median is one of corrected ones.
        apart = corrects and (are_controls or profile.aggregate == "median")
        aggregate = None if apart else profile.aggregate
        table = embed_pictures(pictures, opened, aggregate=aggregate, **options)
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
    url: str,
    name: str,
    chain: Chain,
    pages: Mapping[str, int],
    *,
    masks: str,
    functions: Mapping[int, Delayed],
) -> Picture:
    """Check a picture's header and open it and its labels lazily."""
    if not masks and chain.segment.channel not in pages:
        raise I2RError(
            f"{name}: segmentation sees {chain.segment.channel!r}, the pictures show "
            f"{', '.join(pages)}. Say which page of the files shows it, such as --pages "
            f"{chain.segment.channel}=0."
        )
    headers = {read_shape(url, page) for page in pages.values()}
    (shape, dtype), *others = sorted(headers, key=str)
    if others:
        raise FieldError(f"shape: {name}: pages differ in size or type. Export it again.")
    if dtype != chain.plate.dtype:
        raise FieldError(
            f"dtype: {name} is {dtype}, the experiment's images are {chain.plate.dtype}. "
            "Export it at that depth."
        )
    if functions and shape != chain.plate.shape[1:]:
        raise FieldError(
            f"shape: {name} is {shape}, the experiment's illumination functions are "
            f"{chain.plate.shape[1:]}. Export whole fields, or set 'illumination' to 'none'."
        )
    image = da.from_delayed(
        delayed(read_pages)(url, tuple(pages.values()), functions),
        (1, len(pages), *shape),
        dtype=dtype,
    )
    if not masks:
        channel = list(pages).index(chain.segment.channel)
        labels = image[:, channel].map_blocks(
            label_block,
            label=chain.segment.labeller(chain.plate.pixel_size_um),
            dtype=np.int32,
            meta=np.empty((0, 0, 0), np.int32),
        )
        return Picture(name, image, labels)
    mask = find_mask(masks, image_url=url)
    if mask is None:
        raise FieldError(f"mask: no mask of {name} in {masks}. Add it.")
    plane = da.from_delayed(delayed(read_mask)(mask, shape=shape), shape, dtype=np.int32)
    return Picture(name, image, plane[None])


def label_block(planes: np.ndarray, *, label: Labeller) -> np.ndarray:
    """Label planes (field, y, x) of no names."""
    return np.stack(list(label([""] * len(planes), list(planes))))


def average_functions(urls: Sequence[str]) -> np.ndarray:
    """Average illumination functions, shape (y, x), float32; one is in memory at a time."""
    total = sum(read_array(url).astype(np.float64) for url in urls)
    return np.asarray(total / len(urls), dtype=np.float32)


def read_pages(url: str, pages: Sequence[int], functions: Mapping[int, np.ndarray]) -> np.ndarray:
    """Read pages of a picture as a field of channels, (1, c, y, x), divided by their functions."""
    image = np.stack([read_plane(url, page=page) for page in pages])
    return correct_image(image, functions)[None]


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
