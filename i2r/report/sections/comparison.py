"""Two screens of the same conditions side by side: networks against the fast screen."""

from itertools import combinations
from typing import Any

from i2r.report import html
from i2r.report.scales import find_ticks, place_on, score_limits
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import ReportSource

TITLE = "Comparison"
ORDER = 31
EDGE, LEFT, TOP = 380, 48, 12
MIN_CONDITIONS = 3


def draw(source: ReportSource) -> str | None:
    """Show every pair of screens with different methods."""
    pairs = [
        _compare(one, two)
        for one, two in combinations(list_screens(source), 2)
        if one.statistics["method"] != two.statistics["method"]
    ]
    shown = [pair for pair in pairs if pair is not None]
    return html.render("comparison.html", pairs=shown) if shown else None


def _compare(one: ScreenResult, two: ScreenResult) -> dict[str, Any] | None:
    """Place the conditions that both screens scored."""
    columns = ["condition", "score", "rank", "impactful", "p_value"]
    both = (
        one.conditions[columns]
        .merge(two.conditions[columns], on="condition")
        .dropna(subset=["score_x", "score_y"])
    )
    if len(both) < MIN_CONDITIONS:
        return None
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
