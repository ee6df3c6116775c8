"""What embeddings are worth: do wells find each other, which perturbations are alike, a map."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from i2r.report import html
from i2r.report.scales import find_ticks, place_on
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Embeddings"
ORDER = 34
# Encoders of a stage that are shown; more of them say little more.
MAX_ENCODERS = 3
# Colours that can be told apart (Okabe and Ito, 2008).
COLOURS = ("#0b66a8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
GREY = "#b3bac2"
# Names below a map; the marks tell the others.
MAX_LEGEND = 24


def draw(source: ReportSource) -> str | None:
    """Show every stage that embedded nuclei."""
    shown = [found for stage in source.stages_of("embed") for found in _draw_stage(source, stage)]
    return html.render("embeddings.html", encoders=shown) if shown else None


def _draw_stage(source: ReportSource, stage: StageRecord) -> list[dict[str, Any]]:
    """Draw the first encoders of a stage."""
    found = {
        name: source.reduced_table(stage.title, f"{stage.title}-{name}")
        for name in ("reproducibility", "clusters", "curves", "umap")
    }
    if any(table is None for table in found.values()):
        return []
    tables = {name: table for name, table in found.items() if table is not None}
    names = list(dict.fromkeys(tables["reproducibility"]["encoder"]))
    options = stage.options
    correction = options.get("correction", "none")
    setup = f"{options.get('aggregate', 'mean')} over nuclei, " + (
        "no correction"
        if correction == "none"
        else f"correction {correction} by {options.get('correct_by', 'plate')}"
    )
    results = source.results(stage.title).values()
    teacher = next((r["trained_by"] for r in results if r.get("trained_by")), "")
    shown = []
    for name in names[:MAX_ENCODERS]:
        own = {key: table[table["encoder"] == name] for key, table in tables.items()}
        shown.append(
            {
                "title": " ".join(part for part in (stage.title, name) if part), "setup": setup,
                "n_left_out": max(0, len(names) - MAX_ENCODERS),
                "table": _list_classes(own["reproducibility"], own["clusters"], teacher),
                "layout": next(iter(own["umap"].get("method", ())), "UMAP"),
                "curve": _draw_curve(own["curves"]), "maps": _draw_maps(own["umap"], source.wells),
            }
        )  # fmt: skip
    return shown


def _list_classes(reproducibility: pd.DataFrame, clusters: pd.DataFrame, teacher: str) -> str:
    """Make the table of conditions; the teacher trained the encoder on these wells, if any did."""
    merged = reproducibility.merge(clusters[["class", "cluster", "order"]], on="class", how="left")
    columns = {
        "class": "condition", "n_wells": "wells", "cluster": "cluster",
        "precision_controls": "mAP, controls", "null_mean_controls": "by chance",
        "p_value_controls": "p, controls", "fdr_controls": "FDR, controls",
        "precision_others": "mAP, others", "null_mean_others": "by chance ",
        "p_value_others": "p, others", "fdr_others": "FDR, others", "note": "note",
    }  # fmt: skip
    merged = merged.sort_values(["cluster", "order"], kind="stable")
    # Experiments of earlier versions have no false discovery rates and no notes.
    columns = {name: words for name, words in columns.items() if name in merged}
    if "note" in columns and not merged["note"].astype(bool).any():
        columns.pop("note")
    listed = merged[list(columns)].assign(cluster=merged["cluster"] + 1)
    return html.table(
        listed.rename(columns=columns),
        "Do the wells of a condition find each other? Mean average precision (mAP) with which each "
        "of its wells ranks the others before control wells, or before wells of other conditions, "
        "by cosine similarity; 1 is perfect, 'by chance' the mean of as many wells drawn at "
        "random on the same plates, p the share of such draws that are as good, FDR over the "
        "conditions. Rows are in the order of the tree."
        + (
            f" The encoder was trained by '{teacher}' on wells of this screen: those of what it "
            "was taught find each other better than new wells would."
            if teacher
            else ""
        ),
        scores=("mAP, controls", "by chance", "mAP, others", "by chance "),
    )


def _draw_curve(curves: pd.DataFrame) -> dict[str, Any] | None:
    """Place the quality of every number of clusters, and the null's."""
    if not len(curves):
        return None
    numbers = curves["n_clusters"].to_numpy(dtype=float)
    values = curves[["silhouette", "null_silhouette"]].to_numpy(dtype=float)
    low, high = min(0.0, float(values.min())), max(0.1, float(values.max())) * 1.05
    x = place_on((numbers.min(), max(numbers.max(), numbers.min() + 1)), (52, 410))
    y = place_on((low, high), (220, 12))
    lines = [
        " ".join(f"{x(n)},{y(v)}" for n, v in zip(numbers, column, strict=True))
        for column in values.T
    ]
    best = int(np.argmax(values[:, 0]))
    return {
        "line": lines[0], "null": lines[1], "best": int(numbers[best]),
        "best_x": x(numbers[best]), "best_y": y(values[best, 0]),
        "x_ticks": [(x(n), int(n)) for n in numbers],
        "y_ticks": [(y(tick), tick) for tick in find_ticks(low, high)],
    }  # fmt: skip


def _draw_maps(umap: pd.DataFrame, wells: pd.DataFrame) -> list[dict[str, Any]]:
    """Place wells in two dimensions, once for everything that they can be coloured by.

    Parameters
    ----------
    umap
        One row per well: plate, well, class, x and y.
    wells
        The layout by key; its columns plate and batch, where they differ, colour a map each.
    """
    if not len(umap):
        return []
    x = place_on((umap["x"].min(), umap["x"].max() + 1e-9), (16, 384))
    y = place_on((umap["y"].min(), umap["y"].max() + 1e-9), (304, 16))
    keys = umap["plate"] + "/" + umap["well"]
    names = umap["class"].replace("", "empty")
    coloured = {"condition": names}
    for column in ("plate", "batch"):
        if column in wells and len(set(wells[column])) > 1:
            coloured[column] = keys.map(wells[column].astype(str))
    places = [(x(a), y(b)) for a, b in zip(umap["x"], umap["y"], strict=True)]
    maps = []
    for column, values in coloured.items():
        colours = choose_colours(values)
        points = [
            {"x": px, "y": py, "colour": colours.get(value, GREY), "title": f"{key}: {name}"}
            for (px, py), value, key, name in zip(places, values, keys, names, strict=True)
        ]
        legend = list(colours.items()) if len(colours) <= MAX_LEGEND else []
        maps.append({"by": column, "points": points, "legend": legend, "n": len(colours)})
    return maps


def choose_colours(values: pd.Series) -> dict[str, str]:
    """Choose a colour for every value; negative controls and empty wells have none.

    Up to seven values have colours that anyone can tell apart; more go round the circle of hues,
    by turns light and dark.
    """
    names = sorted(set(values) - {NEGATIVE_CONTROL, "empty"})
    if len(names) <= len(COLOURS):
        return dict(zip(names, COLOURS, strict=False))
    return {
        name: f"hsl({round(360 * i / len(names))} 70% {(38, 62)[i % 2]}%)"
        for i, name in enumerate(names)
    }


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the wells' places and the curves of the numbers of clusters."""
    shown = {"umap": "map of wells", "curves": "numbers of clusters"}
    yield from source.list_reduced("embed", shown)
