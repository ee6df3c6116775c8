"""What encoders learned: curves, confusions, surest nuclei, and what their calls rest on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.report import html
from i2r.report.images import Window, find_window, join_strip, png_uri, to_grey
from i2r.report.scales import find_ticks, place_on
from i2r.report.source import NEGATIVE_CONTROL, ReportSource, StageRecord

TITLE = "Encoders"
ORDER = 33
# Held-out nuclei that are shown of each class, and classes at most.
MAX_SHOWN, MAX_CLASSES = 8, 24
# Above this the names beside a matrix could not be read.
MAX_NAMED = 60
# Share of a tile's brightness that the strongest part of a map takes.
TINT = 0.75
# From 0 to 1 in the chart that compares views.
VIEW_AXIS = (150.0, 700.0)
# Cells of tables that are not numbers or names: maps of occlusion.
LISTS = (list, np.ndarray)


def draw(source: ReportSource) -> str | None:
    """Show every stage that trained encoders."""
    shown = [found for stage in source.stages_of("train") if (found := _draw_stage(source, stage))]
    return html.render("encoders.html", stages=shown) if shown else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the numbers behind curves and matrices, and the nuclei that are shown."""
    shown = {"epochs": "epochs", "confusion": "confusion matrix", "surest": "surest nuclei"}
    for words, table in source.list_reduced("train", shown):
        yield words, table[[name for name in table if not isinstance(table[name].iloc[0], LISTS)]]


def _draw_stage(source: ReportSource, stage: StageRecord) -> dict[str, Any] | None:
    """Draw one stage; None where nothing was trained."""
    summary = source.reduced_table(stage.title, stage.title)
    if summary is None or "test_balanced_accuracy" not in summary:
        return None
    summary = summary[summary["n_classes"].notna()]
    names = ("epochs", "confusion", "surest")
    epochs, confusion, surest = (
        source.reduced_table(stage.title, f"{stage.title}-{n}") for n in names
    )
    view = next(iter(stage.options.get("views", ())), summary["view"].iloc[0])
    return {
        "title": stage.title, "leaks": stage.options.get("split_by") == "field",
        "table": _list_units(summary, stage),
        "views": _compare_views(summary, stage.options.get("views", ())),
        "view_ticks": [(place_on((0.0, 1.0), VIEW_AXIS)(t), t) for t in find_ticks(0.0, 1.0)],
        "curves": [] if epochs is None else _draw_curves(epochs),
        "matrix": None if confusion is None else _draw_matrix(confusion, view), "view": view,
        "gallery": None if surest is None else _draw_gallery(source, stage, surest, view),
        "shows_regions": "region" in view,
    }  # fmt: skip


def _list_units(summary: pd.DataFrame, stage: StageRecord) -> str:
    columns = {
        "unit": "encoder", "n_classes": "classes", "n_train": "trained on", "n_validation":
        "validated on", "n_test": "tested on", "best_epoch": "best epoch",
        "train_balanced_accuracy": "training", "validation_balanced_accuracy": "validation",
        "test_balanced_accuracy": "test", "chance": "chance", "null_high": "null 95 %",
        "p_value": "p", "start": "weights from", "note": "note",
    }  # fmt: skip
    if not summary["note"].astype(bool).any():
        columns.pop("note")
    return html.table(
        summary[list(columns)].rename(columns=columns),
        f"Encoders of '{stage.title}': numbers of nuclei, and balanced accuracies, the mean of the "
        "classes' recalls. Chance is one over the number of classes; the null is what wells that "
        "are labelled at random give, and p the share of these that are as good.",
        scores=("training", "validation", "test", "chance", "null 95 %"),
    )


def _compare_views(summary: pd.DataFrame, order: Sequence[str]) -> list[dict[str, Any]]:
    """Average the folds of each view; nothing to compare with one view."""
    scored = summary.groupby("view", sort=False)["test_balanced_accuracy"].agg(["mean", "std"])
    scored = scored.reindex([view for view in order if view in scored.index])
    if len(scored) < 2:
        return []
    chance = float(summary["chance"].mean())
    x = place_on((0.0, 1.0), VIEW_AXIS)
    return [
        {
            "name": name, "y": 18 + 26 * index, "x": x(row["mean"]), "mean": row["mean"],
            "spread": row["std"], "start": x(0.0), "chance": x(chance),
        }
        for index, (name, row) in enumerate(scored.iterrows())
    ]  # fmt: skip


def _draw_curves(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """Place loss and balanced accuracy of all encoders over epochs, one chart for each."""
    charts = []
    for name, words in (
        ("loss", "cross-entropy, nats"),
        ("balanced_accuracy", "balanced accuracy"),
    ):
        columns = [f"train_{name}", f"validation_{name}"]
        values = epochs[columns].to_numpy(dtype=float)
        known = values[np.isfinite(values)]
        if not known.size:
            continue
        low, high = float(min(0.0, known.min())), float(known.max()) * 1.05 + 1e-9
        x = place_on((1, max(2, int(epochs["epoch"].max()))), (52, 410))
        y = place_on((low, high), (220, 12))
        lines = []
        for _, unit in epochs.groupby(["view", "fold", "without"], sort=False):
            for column in columns:
                rows = unit[np.isfinite(unit[column].astype(float))]
                points = " ".join(
                    f"{x(e)},{y(v)}" for e, v in zip(rows["epoch"], rows[column], strict=True)
                )
                lines.append({"points": points, "validates": column.startswith("validation")})
        charts.append(
            {
                "words": words, "lines": lines, "x_ticks": _whole_ticks(epochs, x),
                "y_ticks": [(y(tick), tick) for tick in find_ticks(low, high)],
            }
        )  # fmt: skip
    return charts


def _whole_ticks(epochs: pd.DataFrame, x: Any) -> list[tuple[float, int]]:
    last = int(epochs["epoch"].max())
    return [(x(t), int(t)) for t in find_ticks(1, max(2, last)) if float(t).is_integer()]


def _draw_matrix(confusion: pd.DataFrame, view: str) -> dict[str, Any] | None:
    """Draw the held-out confusions of all folds of one view as a picture with names."""
    test = confusion[(confusion["part"] == "test") & (confusion["view"] == view)]
    counts = test.groupby(["true", "predicted"], sort=False)["n_nuclei"].sum().unstack()
    if counts.empty or not counts.to_numpy(dtype=float).sum():
        return None
    names = [str(name) for name in counts.index]
    table = counts.reindex(columns=counts.index).fillna(0).to_numpy(dtype=float)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
    edge = max(6, min(26, 520 // len(names)))
    grey = (255 - 235 * np.sqrt(shares)).astype(np.uint8)
    return {
        "picture": png_uri(np.stack([grey, grey // 2 + 127, np.full_like(grey, 255)], axis=2)),
        "names": names if len(names) <= MAX_NAMED else [], "edge": edge, "side": edge * len(names),
        "diagonal": [round(float(value), 3) for value in shares.diagonal()],
        "left": 10 + min(170, max(7 * len(name) for name in names)),
    }  # fmt: skip


def _draw_gallery(
    source: ReportSource, stage: StageRecord, surest: pd.DataFrame, view: str
) -> dict[str, Any] | None:
    """Show the surest held-out nuclei of each class and what their calls rest on."""
    crop = source.upstream(stage, "crop")
    channel = (stage.options.get("channels") or ["DNA"])[0]
    surest = surest[surest["view"] == view]
    if crop is None or not len(surest):
        return None
    names = sorted(surest["true"].unique(), key=lambda name: (name != NEGATIVE_CONTROL, name))
    chosen = {name: _choose_surest(surest[surest["true"] == name]) for name in names[:MAX_CLASSES]}
    plates = source.experiment.plates
    tiles = {
        name: [
            source.crops(crop.title, f"{row.plate}/{row.well}", [int(row.crop)])[
                0, plates[row.plate].channels.index(channel)
            ]
            for row in rows.itertuples()
        ]
        for name, rows in chosen.items()
    }
    regions = {
        name: [_square(values) for values in rows.get("region", ())]
        for name, rows in chosen.items()
    }
    shows_regions = all(found and found[0].size for found in regions.values())
    window = _common_window(tiles)
    region_window = _common_window(regions) if shows_regions else window
    shown = []
    for name, rows in chosen.items():
        words = (f"Surest nuclei of {name}", f"What the calls of {name} rest on")
        strips = _draw_strips(tiles[name], rows["occlusion_nucleus"], window, words)
        if shows_regions:
            words = (f"Regions around nuclei of {name}", "What of the regions the calls rest on")
            strips += _draw_strips(regions[name], rows["occlusion_region"], region_window, words)
        shown.append(
            {
                "name": name, "strips": strips,
                "probability": float(rows["probability"].iloc[0]),
                "wells": ", ".join(dict.fromkeys(f"{r.plate}/{r.well}" for r in rows.itertuples())),
            }
        )  # fmt: skip
    return {
        "classes": shown, "n_left_out": len(names) - len(shown), "channel": channel,
        "width_um": tiles[names[0]][0].shape[-1] * source.pixel_size_um,
        "region_um": stage.options.get("region_px", float("nan")) * source.pixel_size_um,
    }  # fmt: skip


def _choose_surest(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose a class' nuclei of the highest probability, each once."""
    best = rows.sort_values("probability", ascending=False, kind="stable")
    return best.drop_duplicates(["plate", "well", "crop"]).head(MAX_SHOWN)


def _common_window(tiles: Mapping[str, list[npt.NDArray[Any]]]) -> Window:
    """Choose one contrast for all classes, so that brighter nuclei are seen to be brighter."""
    pixels = [tile.ravel() for of_class in tiles.values() for tile in of_class]
    return find_window(np.concatenate(pixels), ignore_zero=True)


def _draw_strips(
    tiles: list[npt.NDArray[Any]],
    occlusion: "pd.Series[Any]",
    window: Window,
    words: tuple[str, str],
) -> list[tuple[str, str]]:
    """Draw tiles side by side, and what calls rest on, where that is known; each with its words."""
    maps = [np.asarray(values, dtype=float) for values in occlusion]
    greys = [np.repeat(to_grey(tile, window)[..., None], 3, 2) for tile in tiles]
    strips = [(png_uri(join_strip(greys, MAX_SHOWN)), words[0])]
    if maps[0].size:
        painted = [_paint(tile, values, window) for tile, values in zip(tiles, maps, strict=True)]
        strips.append((png_uri(join_strip(painted, MAX_SHOWN)), words[1]))
    return strips


def _square(values: Any) -> npt.NDArray[np.uint8]:
    """Give a square picture of a row of grey values; an empty one has none."""
    flat = np.asarray(values, dtype=np.uint8)
    side = round(flat.size**0.5)
    return flat.reshape(side, side)


def _paint(
    tile: npt.NDArray[Any], occlusion: npt.NDArray[np.float64], window: Window
) -> npt.NDArray[np.uint8]:
    """Tint a tile: orange where hiding lowers the class' probability, blue where it raises it."""
    grey = to_grey(tile, window).astype(np.float64)[..., None] / 255
    if not occlusion.size:
        return np.zeros((*tile.shape, 3), np.uint8)
    grid = int(np.sqrt(occlusion.size))
    index = np.minimum(np.arange(tile.shape[0]) * grid // tile.shape[0], grid - 1)
    values = occlusion.reshape(grid, grid)[np.ix_(index, index)][..., None]
    strength = TINT * np.abs(values) / max(1e-12, float(np.abs(values).max()))
    colour = np.where(values > 0, np.array([1.0, 0.45, 0.0]), np.array([0.1, 0.45, 1.0]))
    mixed: npt.NDArray[np.uint8] = (255 * (grey * (1 - strength) + colour * strength)).astype(
        np.uint8
    )
    return mixed
