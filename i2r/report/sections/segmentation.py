"""A few fields with the outlines of their nuclei."""

from collections.abc import Iterator
from typing import Any, NamedTuple

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
from i2r.report.scales import choose_bar
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Segmentation"
ORDER = 50
FIELD_PX = 720
MAX_STAGES = 2
# Fields over all segmentations.
MAX_FIELDS = 4
# Bright enough on grey, and told apart with any colour vision.
BLUE, ORANGE = (0, 200, 255), (255, 150, 0)


class Example(NamedTuple):
    """A field that is shown: what it stands for, and how many nuclei and crops it has."""

    words: str
    key: str
    field: str
    n_nuclei: int
    # Labels that have a crop.
    cropped: list[int]


def draw(source: ReportSource) -> str | None:
    """Show the best, a typical and the worst field of every segmentation."""
    shown = []
    for segment, crop, examples in _list_examples(source):
        channel = _channel_of(source, segment)
        window = _find_window(source, [example.key for example in examples], channel)
        shown.append(
            {
                "stage": segment,
                "channel": source.channels[channel],
                "fields": [
                    _draw_field(source, segment, example, channel, window) for example in examples
                ],
                "crop": crop,
                "window": window,
            }
        )
    return render("segmentation.html", stages=shown) if shown else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the fields that are shown, and their counts."""
    for segment, crop, examples in _list_examples(source):
        table = source.wells.loc[[e.key for e in examples], ["plate", "well", "condition"]]
        table = table.reset_index(drop=True)
        table.insert(0, "shown as", [e.words for e in examples])
        table.insert(3, "field", [e.field for e in examples])
        table["nuclei"] = [e.n_nuclei for e in examples]
        if crop is not None:
            table["crops"] = [len(example.cropped) for example in examples]
        yield f"{segment.title} fields shown", table


def _list_examples(
    source: ReportSource,
) -> Iterator[tuple[StageRecord, StageRecord | None, list[Example]]]:
    """Choose the fields of every segmentation that is shown, and find the stage that crops it."""
    segments = source.stages_of("segment")[:MAX_STAGES]
    for segment in segments:
        crop = next(
            (c for c in source.stages_of("crop") if source.upstream(c, "segment") == segment), None
        )
        counts = _count_nuclei(source, segment, crop)
        wells = choose_wells(counts, source.wells["condition"])
        examples = [
            _choose_field(source, segment, crop, key, words)
            for key, words in list(wells.items())[: MAX_FIELDS // len(segments)]
            if _usable_fields(source, key)
        ]
        if examples:
            yield segment, crop, examples


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


def _find_window(source: ReportSource, examples: list[str], channel: int) -> Window:
    """Choose the contrast from one field of a negative control, or else of the first example."""
    controls = source.wells.index[source.wells["condition"] == NEGATIVE_CONTROL]
    for key in [*controls, *examples]:
        fields = _usable_fields(source, key)
        if fields:
            return find_window(source.image(key, fields[0])[channel])
    return Window(0.0, 1.0)


def _usable_fields(source: ReportSource, key: str) -> list[str]:
    """List the fields of a well that were segmented."""
    if all(key not in source.results(s.title) for s in source.stages_of("segment")):
        return []
    return source.experiment.fields(key, [stage.title for stage in source.stages])


def _choose_field(
    source: ReportSource, segment: StageRecord, crop: StageRecord | None, key: str, words: str
) -> Example:
    """Choose the field of a well that stands as the well does among wells."""
    fields = _usable_fields(source, key)
    nuclei = source.part(segment.title, key)
    counts = nuclei.groupby("field").size().reindex(fields, fill_value=0)
    cropped = {field: _cropped_labels(source, crop, key, field, nuclei) for field in fields}
    n_crops = pd.Series({field: len(labels) for field, labels in cropped.items()})
    measure = counts if "nuclei" in words else n_crops / counts.clip(lower=1)
    order = measure.sort_values(kind="stable")
    place = {"worst": 0, "fewest nuclei": 0, "best": -1, "most nuclei": -1}
    field = str(order.index[place.get(words, len(order) // 2)])
    return Example(words, key, field, int(counts[field]), cropped[field])


def _draw_field(
    source: ReportSource, segment: StageRecord, example: Example, channel: int, window: Window
) -> dict[str, Any]:
    """Draw one field: the image, and a layer with outlines."""
    plane = source.image(example.key, example.field)[channel]
    labels = source.labels(segment.title, example.key, example.field)
    factor = -(-max(plane.shape) // FIELD_PX)
    small = labels[factor // 2 :: factor, factor // 2 :: factor]
    image = to_grey(shrink(plane, factor), window)
    small = small[: image.shape[0], : image.shape[1]]
    edges = find_outlines(small)
    classes = np.where(edges, np.where(np.isin(small, example.cropped), 1, 2), 0)
    width_um = plane.shape[1] * source.experiment.locate(example.key)[0].pixel_size_um
    return {
        "key": example.key, "field": example.field, "words": example.words,
        "n_nuclei": example.n_nuclei, "n_crops": len(example.cropped), "factor": factor,
        "condition": source.wells.at[example.key, "condition"],
        "image": png_uri(image), "outlines": overlay_uri(classes.astype(np.uint8), [BLUE, ORANGE]),
        "width_um": width_um, "bar": choose_bar(width_um) if width_um > 0 else None,
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
