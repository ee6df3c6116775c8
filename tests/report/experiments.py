"""Experiments made with the store's own writers: no stage runs, everything is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from i2r.kernels.crops import cut_crops
from i2r.store import files, tables
from i2r.store.arrays import write_crops
from i2r.store.experiment import Experiment
from i2r.store.images import write_image, write_labels
from i2r.store.ledger import LedgerWriter

CHANNELS = ["DNA", "GFP"]
SHAPE = (60, 80)
SIZE = 24
# y0, x0, y1, x1 of the nuclei of every field; the last one touches the border.
BOXES = [(5, 6, 15, 18), (30, 8, 42, 17), (8, 40, 18, 52), (35, 50, 47, 60), (50, 70, 60, 80)]
BOX_NAMES = ["bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"]
VERBS = {"crop-dna": "crop", "crop-gfp": "crop", "screen-gfp": "screen", "screen-fast": "screen"}
NEEDS: dict[str, list[str]] = {
    "convert": [], "quality": ["convert"], "segment": ["convert", "quality"],
    "crop-dna": ["convert", "quality", "segment"], "crop-gfp": ["convert", "quality", "segment"],
    "screen-gfp": ["crop-gfp"], "screen-fast": ["crop-gfp"],
}  # fmt: skip
ALL = list(NEEDS)[:-1]
WELLS = [
    ("A01", "untreated", float("nan"), "negative_control"),
    ("A02", "untreated", float("nan"), "negative_control"),
    ("A03", "drug", 1.0, "treated"),
    ("A04", "drug", 2.0, "treated"),
    ("B01", "drug", 4.0, "treated"),
    ("B02", "known", float("nan"), "positive_control"),
    ("B03", "toxic", float("nan"), "treated"),
]
EMPTY_WELL = "B03"


def make_experiment(
    folder: Path, *, stages: Sequence[str] = tuple(ALL), plates: Sequence[str] = ("P1",),
    names: Mapping[str, str] | None = None, scores: Mapping[str, float] | None = None,
    excluded: Mapping[str, Mapping[str, str]] | None = None, failed: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None, draws: int = 5,
    statistics: Mapping[str, Any] | None = None,
) -> Experiment:  # fmt: skip
    """Write an experiment with the given stages done.

    Parameters
    ----------
    folder
        Where to write.
    stages, plates
        Names.
    names
        Other names for perturbations.
    scores
        Scores by condition; others get scores that fall from 0.95.
    excluded
        Fields left out by 'quality', with their reasons, by key.
    failed
        Errors of units of 'segment', by key.
    options
        More fields of every stage in the run record.
    draws
        Draws of controls in the ranking.
    statistics
        Other values in the screens' statistics.
    """
    layout = _lay_out(plates, names or {})
    experiment = Experiment(str(folder / "experiment"), layout=layout, sources=pd.DataFrame())
    experiment.save_description()
    writer = LedgerWriter(experiment.ledger, 1)
    for key in experiment.well_keys:
        left_out = (excluded or {}).get(key, {})
        if error := (failed or {}).get(key):
            writer.write("convert", key, "done", "x", result={"fields": 2, "excluded": {}})
            writer.write("segment", key, "failed", "x", error=error)
            continue
        for stage, result in _write_well(experiment, key, stages, left_out).items():
            writer.write(stage, key, "done", "x", seconds=0.25, result=result, worker="here")
    for stage in stages:
        if VERBS.get(stage) == "screen":
            write_ranking(experiment, stage, scores or {}, draws=draws, statistics=statistics)
            writer.write(stage, "drug@1/0", "done", "x", seconds=2.0, result={"nuclei": 12})
            writer.write(stage, "*", "done", "x")
    writer.close()
    record = {
        "run": 1, "command": "i2r run", "started_s": 1.7e9, "seconds": 12.0, "units_run": {"convert": 7},
        "failed": 0, "versions": {"i2r": "0.1"}, "python": "3.11", "platform": "Linux",
        "cluster": {"type": "none"},
        "pipeline": {
            "seed": 1,
            "stages": [
                {"stage": VERBS.get(name, name), "name": name, "needs": NEEDS[name],
                 **({"mask": name == "crop-dna"} if VERBS.get(name) == "crop" else {}),
                 **(options or {})}
                for name in stages
            ],
        },
    }  # fmt: skip
    files.write_bytes(experiment.path("runs", "000001.json"), json.dumps(record).encode())
    return Experiment(experiment.url)


def _lay_out(plates: Sequence[str], names: Mapping[str, str]) -> pd.DataFrame:
    rows = [
        (plate, well, names.get(perturbation, perturbation), "", dose, role)
        for plate in plates
        for well, perturbation, dose, role in WELLS
    ]
    layout = pd.DataFrame(rows, columns=["plate", "well", "perturbation", "gene", "dose", "role"])
    return layout.assign(
        fields=[["1", "2"]] * len(layout), n_fields=2, height_px=SHAPE[0], width_px=SHAPE[1],
        dtype="uint16", pixel_size_um=0.5, channels=[CHANNELS] * len(layout),
    )  # fmt: skip


def _write_well(
    experiment: Experiment, key: str, stages: Sequence[str], excluded: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Write a well's pixels and tables; give each stage's result."""
    plate, well = experiment.locate(key)
    fields = [field for field in ("1", "2") if field not in excluded]
    boxes = [] if well == EMPTY_WELL else BOXES
    labels = np.zeros(SHAPE, np.int32)
    for label, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = label
    image = np.stack([100 + 50 * labels, 90 + 400 * (labels > 0)]).astype(np.uint16)
    nuclei = pd.DataFrame(
        [(plate.name, well, f, n + 1, *box) for f in fields for n, box in enumerate(boxes)],
        columns=["plate", "well", "field", "label", *BOX_NAMES],
    )
    results: dict[str, dict[str, Any]] = {}
    for stage in stages:
        if stage == "convert":
            for field in fields:
                write_image(experiment.image_url(key, field), image, channels=CHANNELS)
            results[stage] = {"fields": 2, "excluded": {}, "wrote": "source"}
        elif stage == "quality":
            quality = pd.DataFrame(
                [(plate.name, well, f, c, 0.5, 0.0, 120.0, 90.0, "") for f in "12" for c in CHANNELS],
                columns=["plate", "well", "field", "channel", "focus", "saturated_fraction", "mean",
                         "background", "reason"],
            )  # fmt: skip
            tables.write_table(experiment.part_url(stage, key), quality)
            results[stage] = {"fields": 2, "excluded": dict(excluded)}
        elif stage == "segment":
            for field in fields:
                write_labels(experiment.image_url(key, field), stage, labels)
            tables.write_table(experiment.part_url(stage, key), nuclei)
            results[stage] = {"fields": len(fields), "nuclei": len(nuclei), "wrote": "labels"}
        elif VERBS[stage] == "crop":
            results[stage] = _write_crops(experiment, stage, key, image, labels, nuclei)
    return results


def _write_crops(
    experiment: Experiment, stage: str, key: str, image: np.ndarray, labels: np.ndarray,
    nuclei: pd.DataFrame,
) -> dict[str, Any]:  # fmt: skip
    """Cut all nuclei but the one at the border."""
    kept = (nuclei["label"] < len(BOXES)).to_numpy(dtype=bool)
    parts = [np.zeros((0, 2, SIZE, SIZE), np.uint16)]
    for _, rows in nuclei[kept].groupby("field"):
        parts.append(
            cut_crops(
                image, labels, label_ids=rows["label"].to_numpy(), bbox=rows[BOX_NAMES].to_numpy(),
                size_px=SIZE, masked=stage == "crop-dna",
            )
        )  # fmt: skip
    crops = np.concatenate(parts)
    write_crops(experiment.crops_url(stage, key), crops)
    table = nuclei[["plate", "well", "field", "label"]].assign(
        reason=np.where(kept, "", "border"), crop=np.where(kept, np.cumsum(kept) - 1, -1)
    )
    tables.write_table(experiment.part_url(stage, key), table)
    return {
        "fields": 2,
        "nuclei": len(crops),
        "left_out": {"border": int((~kept).sum())} if len(kept) else {},
    }


def write_ranking(
    experiment: Experiment, stage: str, scores: Mapping[str, float], *, draws: int,
    statistics: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the tables of a screen."""
    layout = experiment.layout_by_key
    compared = layout[layout["role"].isin(["treated", "positive_control"])]
    rows = []
    for number, (condition, row) in enumerate(
        compared.drop_duplicates("condition").set_index("condition").iterrows()
    ):
        score = scores.get(str(condition), 0.95 - 0.05 * number)
        rows.append((condition, row["perturbation"], row["dose"], row["role"], score))
    rows += [
        (f"control draw {n:02d}", "control draw", float("nan"), "control_draw", 0.47 + 0.01 * n)
        for n in range(1, draws + 1)
    ]
    table = pd.DataFrame(rows, columns=["condition", "perturbation", "dose", "kind", "score"])
    table = table.sort_values("score", ascending=False, ignore_index=True)
    ranked = (table["kind"] != "control_draw") & table["score"].notna()
    ranking = table.assign(
        rank=np.where(ranked, ranked.cumsum(), 0), gene="", spread=0.02, auc=table["score"], n_folds=2,
        ci_low=table["score"] - 0.03, ci_high=table["score"] + 0.04, n_wells=2, n_nuclei=40,
        p_value=np.where(ranked, 0.01, np.nan), fdr=np.where(ranked, 0.02, np.nan),
        impactful=ranked & (table["score"] > 0.8), feature="", change=np.nan, position_calls=np.nan,
        note=np.where(table["score"].isna(), "no nuclei", ""),
    )  # fmt: skip
    folds = pd.concat(
        [
            table.assign(fold=fold, balanced_accuracy=table["score"] + shift)
            for fold, shift in ((0, -0.02), (1, 0.02))
        ]
    )
    statistics = {
        "method": "cnn", "group": "well", "is_leaking": False, "layout_repeats": False,
        "impactful": "fdr < 0.05", "tail": "student", "n_shapes": 1, "n_draws": draws, "n_independent": draws,
        "n_drawn_wells": 2, "n_tests": 4, "needed": 0.0125,
    } | (statistics or {})  # fmt: skip
    left_out = pd.DataFrame(columns=["what", "where", "reason"], dtype=str)
    tables.write_table(experiment.table_url(f"{stage}-statistics"), pd.DataFrame([statistics]))
    tables.write_table(experiment.table_url(f"{stage}-left-out"), left_out)
    tables.write_table(experiment.table_url(stage), ranking)
    tables.write_table(experiment.table_url(f"{stage}-scores"), folds)
