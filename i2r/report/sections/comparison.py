"""Two screens of the same conditions side by side: networks against the fast screen."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from i2r.report import html
from i2r.report.scales import find_ticks, place_on, score_limits
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import ReportSource

TITLE = "Comparison"
ORDER = 31
EDGE, LEFT, TOP = 380, 48, 12
MIN_CONDITIONS = 3
COMPARED = ("score", "rank", "p_value", "impactful")


def draw(source: ReportSource) -> str | None:
    """Show every pair of screens with different methods."""
    shown = [_draw_pair(one, two, both) for one, two, both in _list_pairs(source)]
    return html.render("comparison.html", pairs=shown) if shown else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the scores of the conditions that both screens of a pair have, with both verdicts."""
    for one, two, both in _list_pairs(source):
        names = {
            f"{column}_{side}": f"{column.replace('_', ' ')} in {screen.stage.title}"
            for column in COMPARED
            for side, screen in (("x", one), ("y", two))
        }
        yield f"{one.stage.title} and {two.stage.title}", both.rename(columns=names)


def _list_pairs(
    source: ReportSource,
) -> Iterator[tuple[ScreenResult, ScreenResult, pd.DataFrame]]:
    """Give pairs of screens with different methods, and the conditions that both scored."""
    for one, two in combinations(list_screens(source), 2):
        columns = ["condition", *COMPARED]
        both = (
            one.conditions[columns]
            .merge(two.conditions[columns], on="condition")
            .dropna(subset=["score_x", "score_y"])
        )
        if one.statistics["method"] != two.statistics["method"] and len(both) >= MIN_CONDITIONS:
            yield one, two, both


def _draw_pair(one: ScreenResult, two: ScreenResult, both: pd.DataFrame) -> dict[str, Any]:
    """Place the conditions that both screens scored."""
    limits = score_limits([*both["score_x"], *both["score_y"]])
    x = place_on(limits, (LEFT, LEFT + EDGE))
    y = place_on(limits, (TOP + EDGE, TOP))
    titles = one.stage.title, two.stage.title
    called = both["impactful_x"].astype(bool), both["impactful_y"].astype(bool)
    points = [
        {
            "x": x(row.score_x), "y": y(row.score_y),
            "colour": {2: "#0b66a8", 1: "#d55e00", 0: "#8a939e"}[row.impactful_x + row.impactful_y],
            "title": f"{row.condition}: {html.score(row.score_x)} and {html.score(row.score_y)}",
        }
        for row in both.astype({"impactful_x": int, "impactful_y": int}).itertuples()
    ]  # fmt: skip
    differing = both[called[0] != called[1]].sort_values("rank_x")
    listed = differing.rename(
        columns={
            "score_x": titles[0], "score_y": titles[1], "p_value_x": f"p in {titles[0]}",
            "p_value_y": f"p in {titles[1]}",
        }
    )  # fmt: skip
    listed["impactful in"] = [titles[0] if only else titles[1] for only in differing["impactful_x"]]
    shown = ["condition", *titles, f"p in {titles[0]}", f"p in {titles[1]}", "impactful in"]
    return {
        "titles": titles,
        "spearman": float(both["score_x"].rank().corr(both["score_y"].rank())),
        "n": len(both),
        "both": int((called[0] & called[1]).sum()),
        "only": (int((called[0] & ~called[1]).sum()), int((called[1] & ~called[0]).sum())),
        "points": points,
        "ticks": [(x(tick), y(tick), tick) for tick in find_ticks(*limits, count=5)],
        "left": LEFT, "right": LEFT + EDGE, "top": TOP, "bottom": TOP + EDGE,
        "width": LEFT + EDGE + 12, "height": TOP + EDGE + 46,
        "table": html.table(
            listed[shown], "Conditions that one of the two screens calls impactful.", scores=titles
        )
        if len(listed)
        else "",
    }  # fmt: skip
