"""A portrait as one picture, for a slide or a mail."""

import io
import textwrap
from typing import Any

import numpy as np

from i2r.report.distributions import BINS, REACH, count_shares
from i2r.report.images import join_strip, paint_outline
from i2r.view.portrait import N_NUCLEI, Portrait

WIDTH_IN, DPI, LETTERS = 11.0, 120, 130
PER_ROW = 5
FIELDS_PER_ROW = 3
GREY, BLUE = "#c9cfd6", "#0b66a8"


def draw_picture(portrait: Portrait) -> bytes:
    """Draw a portrait as PNG: what was found, nuclei, fields, features, from top to bottom."""
    from matplotlib.figure import Figure  # half a second; and no window system is asked for

    words = [line for text in portrait.why for line in textwrap.wrap(text, LETTERS)]
    strips = [
        (f"{strip.words}, {channel}", join_strip(list(tiles), N_NUCLEI))
        for strip in portrait.strips
        for channel, tiles in zip(portrait.channels, strip.tiles, strict=False)
    ]
    n_charts = len(portrait.moved) if portrait.relative is not None else 0
    chart_rows = -(-n_charts // PER_ROW)
    field_rows = -(-len(portrait.fields) // FIELDS_PER_ROW)
    heights = [
        0.45 + 0.17 * len(words),
        *[WIDTH_IN / N_NUCLEI + 0.22] * len(strips),
        *[WIDTH_IN / FIELDS_PER_ROW + 0.1] * field_rows,
        *[1.55] * chart_rows,
    ]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), dpi=DPI, facecolor="white")
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, hspace=0.12, left=0.02, right=0.98, top=0.995,
        bottom=0.25 / sum(heights),
    )  # fmt: skip
    title = figure.add_subplot(grid[0])
    title.set_axis_off()
    # Names are anybody's text: a dollar sign would begin a formula.
    name = f"{portrait.subject.kind} {portrait.subject.name}"
    title.text(0, 0.98, name, fontsize=15, va="top", weight="bold", parse_math=False)
    title.text(
        0, 0.98 - 0.34 / heights[0], "\n".join(words), fontsize=8.5, va="top", parse_math=False
    )
    row = 1
    for text, strip in strips:
        _show(figure.add_subplot(grid[row]), strip, text)
        row += 1
    for first in range(0, len(portrait.fields), FIELDS_PER_ROW):
        inner = grid[row].subgridspec(1, FIELDS_PER_ROW, wspace=0.03)
        for place, field in enumerate(portrait.fields[first : first + FIELDS_PER_ROW]):
            painted = paint_outline(field.grey, field.outlines)
            _show(figure.add_subplot(inner[place]), painted, field.words)
        row += 1
    if n_charts:
        _draw_charts(figure, grid[row:], portrait, chart_rows)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _show(axes: Any, pixels: np.ndarray, words: str) -> None:
    """Show pixels as they are, with a line above."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(words, fontsize=7, loc="left", pad=2, parse_math=False)


def _draw_charts(figure: Any, place: Any, portrait: Portrait, n_rows: int) -> None:
    """Draw the distributions of the features that moved most."""
    found = portrait.relative
    assert found is not None
    inner = place.subgridspec(n_rows, PER_ROW, hspace=0.5, wspace=0.12)
    middles = (np.arange(BINS) + 0.5) * 2 * REACH / BINS - REACH
    for number, item in enumerate(portrait.moved):
        if item.feature not in found.names:
            continue
        index = found.names.index(item.feature)
        axes = figure.add_subplot(inner[number // PER_ROW, number % PER_ROW])
        axes.fill_between(middles, count_shares(found.controls[:, index]), step="mid", color=GREY)
        axes.step(middles, count_shares(found.nuclei[:, index]), where="mid", color=BLUE, lw=1.2)
        axes.set_yticks([])
        axes.tick_params(labelsize=6)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.set_title(
            f"{item.feature} {item.change:+.1f}", fontsize=7, loc="left", pad=2, parse_math=False
        )
