"""Every condition by its score, against draws of control wells; scores by dose."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from i2r.kernels.statistics import measure_trend
from i2r.report import html
from i2r.report.scales import find_ticks, place_on, score_limits
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import ReportSource

TITLE = "Ranking"
ORDER = 30
WIDTH, RIGHT, TOP = 900, 24, 10
# Rows are this high. Of more conditions than the second number, all are shown without names in
# a drawing of the given height, and the first of them again with names.
ROW_PX, MAX_NAMED, BEST_NAMED, ALL_PX = 19.0, 60, 40, 420
NAME_LETTERS, LETTER_PX = 36, 8
MAX_DOSE_CURVES = 24
MIN_DOSES = 3


def draw(source: ReportSource) -> str | None:
    """Show ranking plot, dose curves and table of every screen."""
    shown = [_draw_screen(screen) for screen in list_screens(source)]
    return html.render("ranking.html", screens=shown) if shown else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the scores of every fold and of the draws of control wells, and of every dose."""
    for screen in list_screens(source):
        title, ranking = screen.stage.title, screen.ranking
        folds = [(name, score) for name, scores in screen.folds.items() for score in scores]
        yield f"{title} folds", pd.DataFrame(folds, columns=["condition", "score"])
        yield f"{title} control draws", screen.null.rename("score").to_frame()
        doses = [rows for _, rows in _list_doses(ranking)]
        if doses:
            shown = ["perturbation", "dose", "score", "ci_low", "ci_high", "kind"]
            yield f"{title} scores by dose", pd.concat(doses)[shown]


def _draw_screen(screen: ScreenResult) -> dict[str, Any]:
    """Draw one screen."""
    ranking = screen.conditions
    # What a reader asks first stands left; a page is too narrow for all.
    columns = {
        "rank": "rank", "condition": "condition", "gene": "gene", "kind": "kind",
        "impactful": "impactful", "p_value": "p", "fdr": "FDR", "score": "score",
        "feature": "feature", "change": "change", "explained": "owed to",
        "count_change": "nuclei x2", "note": "note", "ci_low": "95 % from", "ci_high": "to",
        "spread": "spread", "auc": "AUC", "count_fdr": "FDR of nuclei",
        "position_calls": "at its place", "n_folds": "folds", "n_wells": "wells",
        "n_nuclei": "nuclei",
    }  # fmt: skip
    moved = (
        "feature and change: what moved most, in standard deviations of control wells; owed to: "
        "what a call comes from (count: the number of nuclei alone; focus: the sharpness of the "
        "fields alone; dna: the DNA content alone; own: none of these; position: it would be "
        "called if places were not taken out); nuclei x2: doublings of the nuclei per field, with "
        "a false discovery rate of its own; "
    )
    if not ranking["feature"].astype(bool).any():
        for name in ("feature", "change"):
            columns.pop(name)
        moved = moved.partition("; ")[2]
    # Screens of an earlier i2r by networks did not test the number of nuclei.
    if "count_change" not in ranking or not ranking["count_change"].notna().any():
        for name in ("explained", "count_change", "count_fdr"):
            columns.pop(name)
        moved = ""
    place = (
        "at its place: share called treated of control wells at the condition's positions on "
        "other plates, minus that of its other control wells (well above 0: it may be called for "
        "its place); "
    )
    if not ranking["position_calls"].notna().any():
        columns.pop("position_calls")
        place = ""
    genes = ranking["gene"].astype(str)
    if not genes.astype(bool).any() or (genes == ranking["condition"].astype(str)).all():
        columns.pop("gene")
    if (ranking["kind"] == "treated").all():
        columns.pop("kind")
    if not ranking["note"].astype(bool).any():
        columns.pop("note")
    listed = ranking[list(columns)].rename(columns=columns)
    listed["impactful"] = listed["impactful"].map({True: "yes", False: ""})
    if "kind" in listed:
        listed["kind"] = listed["kind"].map(lambda kind: html.ROLE_NAMES.get(kind, kind))
    listed["rank"] = listed["rank"].astype(float).mask(listed["rank"] == 0)
    curves = list(_list_doses(ranking))
    return {
        "screen": screen,
        "plots": _choose_plots(screen),
        "curves": [_place_doses(name, rows, screen) for name, rows in curves[:MAX_DOSE_CURVES]],
        "n_curves_left_out": max(0, len(curves) - MAX_DOSE_CURVES),
        "table": html.table(
            listed,
            f"All conditions of '{screen.stage.title}': what is impactful first, then by score. "
            "Score: mean held-out balanced accuracy over folds (0.5 is guessing, 1 is perfect), "
            "with its interval for wells like these; "
            "spread: standard deviation of the folds; AUC: area under the ROC curve; "
            f"{moved}{place}nuclei: held-out nuclei of the condition over folds.",
            scores=("score", "95 % from", "to", "spread", "AUC", "change", "at its place"),
        ),
        "left_out": html.table(
            screen.left_out, f"What '{screen.stage.title}' did not use, or not compare."
        )
        if len(screen.left_out)
        else "",
    }


def _choose_plots(screen: ScreenResult) -> list[dict[str, Any]]:
    """Draw all conditions with names, or, where they are many, all without and the best with."""
    rows = screen.conditions.dropna(subset=["score"])
    rows = rows.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    if not len(rows):
        return []
    if len(rows) <= MAX_NAMED:
        return [_place_rows(screen, rows, "Conditions by score, best on top", is_named=True)]
    is_shown = (pd.RangeIndex(len(rows)) < BEST_NAMED) | (rows["kind"] == "positive_control")
    best = rows[is_shown].iloc[:MAX_NAMED]
    return [
        _place_rows(
            screen, rows, f"All {len(rows)} conditions by score, best on top", is_named=False
        ),
        _place_rows(
            screen, best, f"The {BEST_NAMED} highest scores and positive controls", is_named=True
        ),
    ]


def _place_rows(
    screen: ScreenResult, rows: pd.DataFrame, words: str, *, is_named: bool
) -> dict[str, Any]:
    """Place a row per condition and one for the draws."""
    height = ROW_PX if is_named else ALL_PX / len(rows)
    folds = [value for values in screen.folds.values() for value in values]
    limits = score_limits([*rows["score"], *screen.null, *folds])
    longest = max([len(_shorten(name)) for name in rows["condition"]], default=0)
    left = max(140, 20 + LETTER_PX * longest)
    x = place_on(limits, (left, WIDTH - RIGHT))
    drawn = []
    for index, row in enumerate(rows.itertuples()):
        ends = _find_ends(row, limits)
        drawn.append(
            {
                "y": round(TOP + (index + 0.5) * height, 1), "x": x(row.score),
                "whisker": (x(ends[0]), x(ends[1])),
                "folds": [x(value) for value in screen.folds.get(row.condition, [])],
                "kind": row.kind, "name": _shorten(row.condition), "condition": row.condition,
                "score": row.score, "spread": row.spread,
            }
        )  # fmt: skip
    null_y = TOP + len(rows) * height + 20
    return {
        "rows": drawn, "named": is_named, "words": words,
        "has_positive": "positive_control" in set(rows["kind"]),
        "radius": 5 if is_named else 2, "width": WIDTH, "left": left,
        "right": WIDTH - RIGHT, "top": TOP, "bottom": round(null_y + 14, 1),
        "height": round(null_y + 52, 1), "null_y": round(null_y, 1),
        "null": [(x(value), value) for value in screen.null],
        "band": tuple(x(value) for value in screen.null_range) if screen.null_range else None,
        "ticks": [(x(tick), tick) for tick in find_ticks(*limits, count=8)], "half": x(0.5),
    }  # fmt: skip


def _find_ends(row: Any, limits: tuple[float, float]) -> tuple[float, float]:
    """Give the ends of a row's interval within the axis; the score itself where it has none."""
    low = row.score if math.isnan(row.ci_low) else float(row.ci_low)
    high = row.score if math.isnan(row.ci_high) else float(row.ci_high)
    return max(limits[0], low), min(limits[1], high)


def _shorten(name: str) -> str:
    """Cut a name that is too long for its place; the whole is in the tooltip and the table."""
    return name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…"


def _list_doses(ranking: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """List the perturbations with three or more doses, the highest score first."""
    known = ranking.dropna(subset=["score", "dose"])
    groups = [(str(name), rows.sort_values("dose")) for name, rows in known.groupby("perturbation")]
    groups = [(name, rows) for name, rows in groups if rows["dose"].nunique() >= MIN_DOSES]
    return sorted(groups, key=lambda group: (-group[1]["score"].max(), group[0]))


def _place_doses(name: str, rows: pd.DataFrame, screen: ScreenResult) -> dict[str, Any]:
    """Place the scores of one perturbation by dose; doses over more than a decade on a log axis."""
    width, height, left, right, top, bottom = 320, 210, 54, 310, 12, 168
    doses = rows["dose"].to_numpy()
    is_log = doses.min() > 0 and doses.max() / doses.min() > 20
    # On a log axis positions are the logarithms of doses.
    places = rows["dose"].map(math.log10) if is_log else rows["dose"]
    pad = 0.05 * (places.max() - places.min())
    x = place_on((places.min() - pad, places.max() + pad), (left, right))
    limits = score_limits(screen.conditions["score"])
    y = place_on(limits, (bottom, top))
    points = []
    for row, place in zip(rows.itertuples(), places, strict=True):
        ends = _find_ends(row, limits)
        points.append(
            {
                "x": x(place), "y": y(row.score), "dose": row.dose, "score": row.score,
                "whisker": (y(ends[0]), y(ends[1])),
                "kind": row.kind,
            }
        )  # fmt: skip
    wanted = dict(zip(places, doses, strict=True))
    tau, p_value = measure_trend(doses, rows["score"])
    step = -(-len(wanted) // 7)
    return {
        "name": name, "tau": tau, "p_value": p_value, "points": points,
        "along": str(screen.statistics.get("doses_along") or ""),
        "is_log": is_log, "width": width, "height": height,
        "left": left, "right": right, "top": top, "bottom": bottom, "half": y(0.5),
        "line": " ".join(f"{p['x']},{p['y']}" for p in points),
        "band": tuple(y(value) for value in screen.null_range) if screen.null_range else None,
        "x_ticks": [(x(place), dose) for place, dose in list(wanted.items())[::step]],
        "y_ticks": [(y(tick), tick) for tick in find_ticks(*limits, count=6)],
    }  # fmt: skip
