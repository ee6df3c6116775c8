"""Nuclei of every condition, all channels, with one contrast per channel."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.report.html import render
from i2r.report.images import (
    Window,
    cut_window,
    find_outlines,
    find_window,
    join_strip,
    paint_outline,
    png_uri,
    resample_labels,
    shrink,
    to_grey,
)
from i2r.report.nuclei import choose_nuclei, rank_for_gallery, read_crops
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Nuclei"
ORDER = 32
MAX_CONDITIONS = 24
MAX_STAGES = 3
# Controls whose pixels set the contrast.
CONTRAST_NUCLEI = 64
# Larger crops are shown smaller, and with many channels fewer conditions are shown.
TILE_PX = 96
MAX_PIXELS = 6_000_000
# Kept around the largest masked nucleus.
MARGIN_PX = 3


class Frame(NamedTuple):
    """How all crops of a gallery are shown: contrast per channel, part, and size."""

    windows: list[Window]
    trim: int
    factor: int

    def cut(self, planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Leave out the rim that is empty in all crops; the last two axes are y, x."""
        inner = slice(self.trim, planes.shape[-1] - self.trim)
        return planes[..., inner, inner]


class Selection(NamedTuple):
    """What a gallery shows: chosen nuclei by condition, and what it does not show."""

    chosen: dict[str, pd.DataFrame]
    without: list[str]
    n_left_out: int
    screen: str
    scores: dict[str, float]


def draw(source: ReportSource) -> str | None:
    """Show a gallery per crop stage."""
    crops = source.stages_of("crop")
    galleries = [_draw_stage(source, crop, selection) for crop, selection in _select(source)]
    if not galleries:
        return None
    left_out = [crop.title for crop in crops[MAX_STAGES:]]
    return render("gallery.html", galleries=galleries, left_out=left_out)


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the nuclei of every gallery: where each is, in the order of its strip."""
    for crop, selection in _select(source):
        rows = [
            chosen.assign(condition=condition, score=selection.scores.get(condition, np.nan))
            for condition, chosen in selection.chosen.items()
        ]
        table = pd.concat(rows, ignore_index=True)
        table["place"] = table.groupby("condition", sort=False).cumcount() + 1
        boxes = _find_boxes(source, crop, table)
        shown = ["condition", "score", "place", "plate", "well", "field", "label", "crop", *boxes]
        yield f"{crop.title} nuclei shown", table.assign(**boxes)[shown]


def _find_boxes(
    source: ReportSource, crop: StageRecord, table: pd.DataFrame
) -> dict[str, npt.NDArray[Any]]:
    """Find the middle of every nucleus in its field; nothing without a segmentation."""
    segment = source.upstream(crop, "segment")
    if segment is None:
        return {}
    keys = dict.fromkeys(table["plate"] + "/" + table["well"])
    parts = pd.concat([source.part(segment.title, key) for key in keys], ignore_index=True)
    found = table.merge(parts, on=["plate", "well", "field", "label"], how="left")
    return {
        f"{axis}_px": (found[f"bbox_{axis}0"] + found[f"bbox_{axis}1"]).to_numpy() / 2
        for axis in "yx"
    }


def _select(source: ReportSource) -> Iterator[tuple[StageRecord, Selection]]:
    """Choose the nuclei of every crop stage that has any, ordered by the screen that reads it."""
    crops = source.stages_of("crop")[:MAX_STAGES]
    screens = list_screens(source)
    for crop in crops:
        screen = next(
            (s for s in screens if s.crop is not None and s.crop.title == crop.title), None
        )
        selection = _choose(source, crop, screen, MAX_PIXELS // len(crops))
        if selection.chosen:
            yield crop, selection


def _choose(
    source: ReportSource, crop: StageRecord, screen: ScreenResult | None, max_pixels: int
) -> Selection:
    """Choose conditions and nuclei of one stage, as many as the page has room for."""
    ranking = screen.conditions if screen is not None else None
    conditions, n_left_out = rank_for_gallery(source, ranking, MAX_CONDITIONS)
    tile_pixels = min(int(crop.options.get("size_px", TILE_PX)), TILE_PX) ** 2
    pixels, without = 0, []
    found: dict[str, pd.DataFrame] = {}
    for position, condition in enumerate(conditions):
        if pixels > max_pixels:
            n_left_out += len(conditions) - position
            break
        chosen = choose_nuclei(source, crop, condition, source.gallery_nuclei)
        if chosen is None:
            without.append(condition)
            continue
        found[condition] = chosen
        pixels += len(chosen) * len(source.channels) * tile_pixels
    return Selection(
        found, without, n_left_out, screen.stage.title if screen is not None else "",
        {} if ranking is None else ranking.set_index("condition")["score"].to_dict(),
    )  # fmt: skip


def _draw_stage(source: ReportSource, crop: StageRecord, selection: Selection) -> dict[str, Any]:
    """Draw the gallery of one crop stage."""
    found = {name: read_crops(source, crop, rows) for name, rows in selection.chosen.items()}
    frame = _choose_frame(source, crop, found)
    first = next(iter(found))
    size_px = found[first].shape[-1]
    cut_px = source.cut_px(crop.title, str(selection.chosen[first].index[0]), size_px)
    return {
        "crop": crop, "masked": bool(crop.options.get("mask", False)),
        "without": selection.without, "n_left_out": selection.n_left_out,
        "screen": selection.screen, "count": source.gallery_nuclei,
        "windows": list(zip(source.channels, frame.windows, strict=False)),
        "shown_px": size_px - 2 * frame.trim, "trim": frame.trim, "size_px": size_px,
        "pixel_um": source.pixel_size_um * cut_px / size_px,
        "by_controls": first == NEGATIVE_CONTROL, "example_name": first,
        "example": _draw_outlines(source, crop, selection.chosen[first], found[first], frame),
        "shown": [
            {
                "name": condition, "score": selection.scores.get(condition),
                "wells": ", ".join(dict.fromkeys(selection.chosen[condition].index)),
                "strips": _draw_strips(source, _to_tiles(crops, frame)),
            }
            for condition, crops in found.items()
        ],
    }  # fmt: skip


def _choose_frame(
    source: ReportSource, crop: StageRecord, found: dict[str, npt.NDArray[Any]]
) -> Frame:
    """Choose contrast from negative controls, or else from the first condition; trim masks."""
    masked = bool(crop.options.get("mask", False))
    controls = choose_nuclei(source, crop, NEGATIVE_CONTROL, CONTRAST_NUCLEI)
    first = next(iter(found.values()))
    crops = first if controls is None else read_crops(source, crop, controls)
    windows = [find_window(crops[:, c], ignore_zero=masked) for c in range(crops.shape[1])]
    size, trim = crops.shape[-1], 0
    if masked:
        used = np.zeros((size, size), dtype=bool)
        for shown in found.values():
            used |= (shown > 0).any(axis=(0, 1))
        rows, columns = np.nonzero(used)
        if rows.size:
            outer = (rows.min(), columns.min(), size - 1 - rows.max(), size - 1 - columns.max())
            trim = max(0, int(min(outer)) - MARGIN_PX)
    return Frame(windows, trim, -(-(size - 2 * trim) // TILE_PX))


def _to_tiles(crops: npt.NDArray[Any], frame: Frame) -> npt.NDArray[np.uint8]:
    """Scale crops to 8 bit, shape (nucleus, c, y, x), not larger than `TILE_PX`."""
    return np.stack(
        [
            [to_grey(shrink(p, frame.factor), w) for p, w in zip(crop, frame.windows, strict=True)]
            for crop in frame.cut(crops)
        ]
    )


def _draw_strips(
    source: ReportSource, tiles: Iterable[npt.NDArray[np.uint8]]
) -> list[tuple[str, str]]:
    """Make one picture per channel of tiles by nucleus, (c, y, x) or (c, y, x, rgb) each."""
    by_channel = zip(*tiles, strict=True)
    return [
        (channel, png_uri(join_strip(of_channel, source.gallery_nuclei)))
        for channel, of_channel in zip(source.channels, by_channel, strict=False)
    ]


def _draw_outlines(
    source: ReportSource,
    crop: StageRecord,
    chosen: pd.DataFrame,
    crops: npt.NDArray[Any],
    frame: Frame,
) -> list[tuple[str, str]]:
    """Draw the outline of each nucleus in its label image; nothing without a segmentation."""
    segment = source.upstream(crop, "segment")
    if segment is None:
        return []
    step = slice(frame.factor // 2, None, frame.factor)
    painted = []
    for row, tiles in zip(chosen.itertuples(), _to_tiles(crops, frame), strict=True):
        key = str(row.Index)
        nuclei = source.part(segment.title, key)
        nucleus = nuclei[(nuclei["field"] == row.field) & (nuclei["label"] == row.label)].iloc[0]
        bbox = [int(nucleus[name]) for name in ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")]
        labels = source.labels(segment.title, key, str(row.field))
        size = crops.shape[-1]
        window = cut_window(labels, bbox, source.cut_px(crop.title, key, size))
        own = frame.cut(resample_labels(window, size) == row.label)
        outline = find_outlines(own[step, step].astype(np.int32))
        outline = outline[: tiles.shape[1], : tiles.shape[2]]
        painted.append(np.stack([paint_outline(tile, outline) for tile in tiles]))
    return _draw_strips(source, painted)
