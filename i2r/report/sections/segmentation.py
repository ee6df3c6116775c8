"""A few fields with the outlines of their nuclei."""

from typing import Any

import numpy as np
import pandas as pd

from i2r.report.html import render
from i2r.report.images import (
    Window,
    find_outlines,
    find_window,
    overlay_uri,
    png_uri,
    shrink,
    to_grey,
)
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Segmentation"
ORDER = 50
FIELD_PX = 720
MAX_STAGES = 2
# Fields over all segmentations.
MAX_FIELDS = 4
# Bright enough on grey, and told apart with any colour vision.
BLUE, ORANGE = (0, 200, 255), (255, 150, 0)


def draw(source: ReportSource) -> str | None:
    """Show the fields with the most, the median and the fewest nuclei of every segmentation."""
    shown = []
    segments = source.stages_of("segment")[:MAX_STAGES]
    for segment in segments:
        examples = _choose_wells(source, segment)[: MAX_FIELDS // len(segments)]
        if not examples:
            continue
        channel = _channel_of(source, segment)
        window = _find_window(source, examples, channel)
        crop = next(
            (c for c in source.stages_of("crop") if source.upstream(c, "segment") == segment), None
        )
        fields = [
            drawn
            for words, key in examples
            if (drawn := _draw_field(source, segment, crop, key, words, channel, window))
        ]
        if fields:
            shown.append(
                {
                    "stage": segment,
                    "channel": source.channels[channel],
                    "fields": fields,
                    "crop": crop,
                    "window": window,
                }
            )
    return render("segmentation.html", stages=shown) if shown else None


def _choose_wells(source: ReportSource, segment: StageRecord) -> list[tuple[str, str]]:
    """Choose the wells with the most, the median and the fewest nuclei, and a control."""
    counts = {k: r.get("nuclei", 0) for k, r in source.results(segment.title).items()}
    order = sorted((key for key, n in counts.items() if n), key=lambda key: (-counts[key], key))
    if not order:
        return []
    chosen = {order[0]: "most nuclei"}
    chosen.setdefault(order[-1], "fewest nuclei")
    chosen.setdefault(order[len(order) // 2], "median nuclei")
    controls = [key for key in order if source.wells.at[key, "condition"] == NEGATIVE_CONTROL]
    if controls:
        chosen.setdefault(controls[len(controls) // 2], "negative control")
    return [(words, key) for key, words in chosen.items()]


def _channel_of(source: ReportSource, segment: StageRecord) -> int:
    """Give the index of the channel that was segmented."""
    name = segment.options.get("channel")
    return source.channels.index(name) if name in source.channels else 0


def _find_window(source: ReportSource, examples: list[tuple[str, str]], channel: int) -> Window:
    """Choose the contrast from one field of a negative control, or else of the first example."""
    controls = source.wells.index[source.wells["condition"] == NEGATIVE_CONTROL]
    segmented = [key for _, key in examples]
    candidates = [*controls, *segmented]
    for key in candidates:
        fields = _usable_fields(source, key)
        if fields:
            return find_window(source.image(key, fields[0])[channel])
    return Window(0.0, 1.0)


def _usable_fields(source: ReportSource, key: str) -> list[str]:
    """List the fields of a well that were segmented."""
    if all(key not in source.results(s.title) for s in source.stages_of("segment")):
        return []
    return source.experiment.fields(key, [stage.title for stage in source.stages])


def _draw_field(
    source: ReportSource, segment: StageRecord, crop: StageRecord | None, key: str, words: str,
    channel: int, window: Window,
) -> dict[str, Any] | None:  # fmt: skip
    """Draw one field: the image, and a layer with outlines."""
    fields = _usable_fields(source, key)
    if not fields:
        return None
    nuclei = source.part(segment.title, key)
    counts = nuclei.groupby("field").size().reindex(fields, fill_value=0)
    order = counts.sort_values(kind="stable", ascending=words == "fewest nuclei")
    is_extreme = words in ("most nuclei", "fewest nuclei")
    field = str(order.index[0 if is_extreme else len(order) // 2])
    plane = source.image(key, field)[channel]
    labels = source.labels(segment.title, key, field)
    factor = -(-max(plane.shape) // FIELD_PX)
    is_cropped = _cropped_labels(source, crop, key, field, nuclei)
    small = labels[factor // 2 :: factor, factor // 2 :: factor]
    image = to_grey(shrink(plane, factor), window)
    small = small[: image.shape[0], : image.shape[1]]
    edges = find_outlines(small)
    classes = np.where(edges, np.where(np.isin(small, is_cropped), 1, 2), 0).astype(np.uint8)
    return {
        "key": key, "field": field, "words": words, "n_nuclei": int(counts[field]),
        "n_crops": len(is_cropped), "factor": factor,
        "condition": source.wells.at[key, "condition"],
        "image": png_uri(image), "outlines": overlay_uri(classes, [BLUE, ORANGE]),
        "width_um": plane.shape[1] * source.experiment.locate(key)[0].pixel_size_um,
    }  # fmt: skip


def _cropped_labels(
    source: ReportSource, crop: StageRecord | None, key: str, field: str, nuclei: pd.DataFrame
) -> list[int]:
    """List the labels of a field that have a crop; all of them where nothing was cropped."""
    if crop is None or key not in source.results(crop.title):
        chosen = nuclei[nuclei["field"] == field]
    else:
        table = source.part(crop.title, key)
        chosen = table[(table["field"] == field) & (table["crop"] >= 0)]
    return [int(label) for label in chosen["label"]]
