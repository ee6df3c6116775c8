"""Line charts: several curves over one axis, with bands and a legend."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from i2r.report import html
from i2r.report.scales import find_ticks, place_on

# Distinct with any colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color/), dark first.
COLOURS = ("#0b66a8", "#d55e00", "#009e73", "#8a5a9e", "#b07d00", "#56b4e9", "#5b6573", "#000000")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 58, 14, 12, 44


class Line(NamedTuple):
    """One curve.

    Attributes
    ----------
    name
        For the legend.
    x, y
        Places, drawn in this order; points that are not finite are left out.
    low, high
        Limits of a band around it; empty for none.
    is_dashed
        For what is not a result, such as chance.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_dashed: bool = False


def draw_lines(lines: Sequence[Line], *, x_title: str, y_title: str, caption: str) -> Markup:
    """Draw curves as a figure with its legend and caption.

    Parameters
    ----------
    lines
        At least one with a point; all share both axes.
    x_title, y_title
        What the axes are, with units.
    caption
        What is shown and how to read it.
    """
    xs, ys = (np.concatenate([np.asarray(v, dtype=float) for v in side]) for side in (
        [line.x for line in lines], [v for line in lines for v in (line.y, line.low, line.high)],
    ))  # fmt: skip
    x_limits, y_limits = _limits(xs), _limits(ys)
    x = place_on(x_limits, (LEFT, WIDTH - RIGHT))
    y = place_on(y_limits, (HEIGHT - BOTTOM, TOP))
    drawn: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True) if np.isfinite(a + b)]
        band = ""
        if len(line.low):
            upper = [(x(a), y(b)) for a, b in zip(line.x, line.high, strict=True)]
            lower = [(x(a), y(b)) for a, b in zip(line.x, line.low, strict=True)]
            band = " ".join(f"{a},{b}" for a, b in [*upper, *reversed(lower)])
        joined = " ".join(f"{a},{b}" for a, b in points)
        # The later one of two equal curves is all that can be seen.
        covered = next((d["name"] for d in drawn if points and d["points"] == joined), None)
        drawn.append(
            {
                "name": line.name if covered is None else f"{line.name} (covers {covered})",
                "colour": COLOURS[number % len(COLOURS)], "band": band, "points": joined,
                "is_dashed": line.is_dashed,
            }
        )  # fmt: skip
    return html.render(
        "lines.html", lines=drawn, width=WIDTH, height=HEIGHT, left=LEFT, right=WIDTH - RIGHT,
        top=TOP, bottom=HEIGHT - BOTTOM, x_title=x_title, y_title=y_title, caption=caption,
        x_ticks=[(x(tick), tick) for tick in find_ticks(*x_limits)],
        y_ticks=[(y(tick), tick) for tick in find_ticks(*y_limits)],
    )  # fmt: skip


def _limits(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
