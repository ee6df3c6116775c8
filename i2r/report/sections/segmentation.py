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
    """Show the best, a typical and the worst field of every segmentation."""
    shown = []
    segments = source.stages_of("segment")[:MAX_STAGES]
    for segment in segments:
        crop = next(
            (c for c in source.stages_of("crop") if source.upstream(c, "segment") == segment), None
        )
        counts = _count_nuclei(source, segment, crop)
        chosen = choose_wells(counts, source.wells["condition"])
        examples = [(words, key) for key, words in chosen.items()][: MAX_FIELDS // len(segments)]
        if not examples:
            continue
        channel = _channel_of(source, segment)
        window = _find_window(source, examples, channel)
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


def choose_wells(counts: pd.DataFrame, conditions: pd.Series) -> dict[str, str]:
    """Choose wells to show: the best, a typical and the worst one, and a negative control.

    Parameters
    ----------
    counts
        One row per well, by key: ``n_nuclei``, ``n_whole`` (not cut by the border of a field) and
        ``n_sound`` (whole, with a crop).
    conditions
        The wells' conditions by key.

    Returns
    -------
    dict
        What the well stands for, by key. The measure is the share of whole nuclei whose size and
        shape are those of a nucleus (that have a crop), of wells with at least a tenth of the
        nuclei of the median well, or else the number of nuclei where no well was cropped.
    """
    counts = counts[counts["n_nuclei"] > 0]
    if not len(counts):
        return {}
    if counts["n_sound"].notna().any():
        enough = counts["n_nuclei"] >= counts["n_nuclei"].median() / 10
        measure = (counts["n_sound"] / counts["n_whole"].clip(lower=1))[enough]
        best, typical, worst = "best", "typical", "worst"
    else:
        measure = counts["n_nuclei"]
        best, typical, worst = "most nuclei", "median number of nuclei", "fewest nuclei"
    ranked = pd.DataFrame({"measure": -measure, "key": measure.index})
    order = list(ranked.sort_values(["measure", "key"])["key"])
    chosen = {order[0]: best}
    chosen.setdefault(order[-1], worst)
    chosen.setdefault(order[len(order) // 2], typical)
    controls = [key for key in order if conditions[key] == NEGATIVE_CONTROL]
    if controls:
        chosen.setdefault(controls[len(controls) // 2], "negative control")
    shown = [best, typical, worst, "negative control"]
    return dict(sorted(chosen.items(), key=lambda item: shown.index(item[1])))


def _count_nuclei(
    source: ReportSource, segment: StageRecord, crop: StageRecord | None
) -> pd.DataFrame:
    """Count nuclei, whole ones and sound ones of every well, from what the stages reported."""
    labelled = source.results(segment.title)
    cropped = {} if crop is None else source.results(crop.title)
    rows = {}
    for key, result in labelled.items():
        n_nuclei, found = int(result.get("nuclei", 0)), cropped.get(key)
        n_border = 0 if found is None else int(found.get("left_out", {}).get("border", 0))
        n_sound = float("nan") if found is None else float(found.get("nuclei", 0))
        rows[key] = (n_nuclei, n_nuclei - n_border, n_sound)
    columns = ["n_nuclei", "n_whole", "n_sound"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


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
    n_crops = pd.Series(
        {field: len(_cropped_labels(source, crop, key, field, nuclei)) for field in fields}
    )
    measure = counts if "nuclei" in words else n_crops / counts.clip(lower=1)
    order = measure.sort_values(kind="stable")
    place = {"worst": 0, "fewest nuclei": 0, "best": -1, "most nuclei": -1}
    field = str(order.index[place.get(words, len(order) // 2)])
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
