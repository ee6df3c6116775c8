"""Nuclei of every condition, all channels, with one contrast per channel."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from i2r.report.html import render
from i2r.report.images import (
    Window,
    cut_window,
    find_outlines,
    find_window,
    join_strip,
    paint_outline,
    png_uri,
    shrink,
    to_grey,
)
from i2r.report.nuclei import Chosen, choose_nuclei, rank_for_gallery
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Nuclei"
ORDER = 40
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


def draw(source: ReportSource) -> str | None:
    """Show a gallery per crop stage."""
    crops = source.stages_of("crop")
    screens = list_screens(source)
    n_shown = min(len(crops), MAX_STAGES)
    galleries = [
        gallery
        for crop in crops[:n_shown]
        if (gallery := _draw_stage(source, crop, screens, MAX_PIXELS // n_shown))
    ]
    if not galleries:
        return None
    left_out = [crop.title for crop in crops[n_shown:]]
    return render("gallery.html", galleries=galleries, left_out=left_out)


def _draw_stage(
    source: ReportSource, crop: StageRecord, screens: list[ScreenResult], max_pixels: int
) -> dict[str, Any] | None:
    """Draw the gallery of one crop stage, ordered by the screen that reads it."""
    screen = next((s for s in screens if s.crop is not None and s.crop.title == crop.title), None)
    ranking = screen.conditions if screen is not None else None
    conditions, n_left_out = rank_for_gallery(source, ranking, MAX_CONDITIONS)
    count, pixels, without = source.gallery_nuclei, 0, []
    found: dict[str, Chosen] = {}
    for position, condition in enumerate(conditions):
        if pixels > max_pixels:
            n_left_out += len(conditions) - position
            break
        chosen = choose_nuclei(source, crop, condition, count)
        if chosen is None:
            without.append(condition)
            continue
        found[condition] = chosen
        *_, n_channels, edge, _ = chosen.crops.shape
        pixels += len(chosen.crops) * n_channels * min(edge, TILE_PX) ** 2
    if not found:
        return None
    frame = _choose_frame(source, crop, found)
    scores = {} if ranking is None else ranking.set_index("condition")["score"].to_dict()
    first = next(iter(found))
    return {
        "crop": crop, "masked": bool(crop.options.get("mask", False)), "without": without,
        "n_left_out": n_left_out, "screen": screen.stage.title if screen is not None else "",
        "count": count, "windows": list(zip(source.channels, frame.windows, strict=False)),
        "shown_px": found[first].crops.shape[-1] - 2 * frame.trim, "trim": frame.trim,
        "size_px": found[first].crops.shape[-1], "by_controls": first == NEGATIVE_CONTROL,
        "example": _draw_outlines(source, crop, found[first], frame), "example_name": first,
        "shown": [
            {
                "name": condition, "score": scores.get(condition),
                "wells": ", ".join(dict.fromkeys(chosen.keys)),
                "strips": _draw_strips(source, _to_tiles(chosen, frame)),
            }
            for condition, chosen in found.items()
        ],
    }  # fmt: skip


def _choose_frame(source: ReportSource, crop: StageRecord, found: dict[str, Chosen]) -> Frame:
    """Choose contrast from negative controls, or else from the first condition; trim masks."""
    masked = bool(crop.options.get("mask", False))
    controls = choose_nuclei(source, crop, NEGATIVE_CONTROL, CONTRAST_NUCLEI)
    crops = (controls or next(iter(found.values()))).crops
    windows = [find_window(crops[:, c], ignore_zero=masked) for c in range(crops.shape[1])]
    size, trim = crops.shape[-1], 0
    if masked:
        used = np.zeros((size, size), dtype=bool)
        for chosen in found.values():
            used |= (chosen.crops > 0).any(axis=(0, 1))
        rows, columns = np.nonzero(used)
        if rows.size:
            outer = (rows.min(), columns.min(), size - 1 - rows.max(), size - 1 - columns.max())
            trim = max(0, int(min(outer)) - MARGIN_PX)
    return Frame(windows, trim, -(-(size - 2 * trim) // TILE_PX))


def _to_tiles(chosen: Chosen, frame: Frame) -> npt.NDArray[np.uint8]:
    """Scale crops to 8 bit, shape (nucleus, c, y, x), not larger than `TILE_PX`."""
    return np.stack(
        [
            [to_grey(shrink(p, frame.factor), w) for p, w in zip(crop, frame.windows, strict=True)]
            for crop in frame.cut(chosen.crops)
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
    source: ReportSource, crop: StageRecord, chosen: Chosen, frame: Frame
) -> list[tuple[str, str]]:
    """Draw the outline of each nucleus in its label image; nothing without a segmentation."""
    segment = source.upstream(crop, "segment")
    if segment is None:
        return []
    step = slice(frame.factor // 2, None, frame.factor)
    painted = []
    for key, row, tiles in zip(
        chosen.keys, chosen.rows.itertuples(), _to_tiles(chosen, frame), strict=True
    ):
        nuclei = source.part(segment.title, key)
        nucleus = nuclei[(nuclei["field"] == row.field) & (nuclei["label"] == row.label)].iloc[0]
        bbox = [int(nucleus[name]) for name in ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")]
        labels = source.labels(segment.title, key, str(row.field))
        own = frame.cut(cut_window(labels, bbox, chosen.crops.shape[-1]) == row.label)
        outline = find_outlines(own[step, step].astype(np.int32))
        outline = outline[: tiles.shape[1], : tiles.shape[2]]
        painted.append(np.stack([paint_outline(tile, outline) for tile in tiles]))
    return _draw_strips(source, painted)
