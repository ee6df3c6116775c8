"""The real plate BBBC013 as a screen of doses: what GFP shows, what DNA must not show.

``python -m tests.benchmarks.bbbc013`` prints both rankings beside the bars. It reads the folder
named by I2R_DATA and takes about five minutes on two cores.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from i2r.cluster import ClusterSpec
from i2r.kernels.statistics import measure_trend
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment

ROLES = {"negative": "negative_control", "positive": "positive_control", "dose": "treated"}
HIGH_DOSES = (7, 8, 9)
PATTERN = r"Channel(?P<channel>\d)-\d+-(?P<row>[A-H])-(?P<column>\d+)\.tif"


def write_layout(data: Path, target: Path, *, controls: int = 16) -> None:
    """Write the plate's layout: drug and dose of every well, without some of the 16 controls."""
    wells = pd.read_csv(data / "platemap.csv")
    negative = wells.index[wells["control"] == "negative"]
    kept = negative[np.linspace(0, len(negative) - 1, controls).round().astype(int)]
    wells = wells.drop(index=negative.difference(kept))
    control = wells["control"] == "negative"
    pd.DataFrame(
        {
            "well": wells["well"],
            "perturbation": wells["drug"].mask(control, "untreated"),
            "dose": wells["dose_index"].astype(str).mask(control, ""),
            "role": wells["control"].map(ROLES),
        }
    ).to_csv(target, index=False)


def run_stages(data: Path, folder: Path, *stages: dict[str, Any] | str, controls: int = 16) -> str:
    """Convert and segment the plate, run the other stages, and give the experiment's URL."""
    write_layout(data, folder / "layout.csv", controls=controls)
    convert = {
        "stage": "convert",
        "source": str(data / "images"),
        "layout": str(folder / "layout.csv"),
        "pattern": PATTERN,
        "channels": {"2": "DNA", "1": "GFP"},
        "plate": "BBBC013",
        "pixel_size_um": 1.3,
    }
    pipeline = parse_pipeline(
        {"seed": 1, "stages": [convert, "segment", *stages]}, where="benchmark"
    )
    url = str(folder / "experiment")
    summary = run_pipeline(pipeline, url, cluster=ClusterSpec(), style="plain")
    if summary.exit_code:
        raise RuntimeError(f"the run ended with {summary.failed or summary.stopped}")
    return url


def screen_plate(data: Path, folder: Path, *, draws: int = 20) -> dict[str, pd.DataFrame]:
    """Run the plate from TIFF files to rankings.

    Parameters
    ----------
    data
        The folder ``bbbc013_u2os_plate``.
    folder
        Where the experiment goes.
    draws
        Draws of control wells.

    Returns
    -------
    dict
        The rankings ``gfp`` and ``dna``.
    """
    screen = {"stage": "screen", "n_folds": 3, "control_draws": draws}
    crop = {"stage": "crop", "min_area_um2": 80}
    experiment = open_experiment(
        run_stages(
            data,
            folder,
            {**crop, "name": "crop-gfp", "mask": False},
            {**crop, "name": "crop-dna"},
            {**screen, "name": "screen-gfp", "needs": ["crop-gfp"], "channels": ["GFP"]},
            {**screen, "name": "screen-dna", "needs": ["crop-dna"], "scale": "nucleus"},
        )
    )
    return {name: experiment.table(f"screen-{name}") for name in ("gfp", "dna")}


def screen_doses(data: Path, folder: Path, *, controls: int = 16) -> Path:
    """Screen every dose in fast mode, on features of the reporter and of DNA, with a report.

    Parameters
    ----------
    data
        The folder ``bbbc013_u2os_plate``.
    folder
        Where the experiment goes.
    controls
        How many of the 16 control wells the layout names.

    Returns
    -------
    Path
        The experiment.
    """
    url = run_stages(
        data,
        folder,
        "quality",
        {"stage": "crop", "min_area_um2": 80},
        {"stage": "features", "channels": ["DNA", "GFP"]},
        {"stage": "screen", "method": "fast", "n_folds": 3},
        "report",
        controls=controls,
    )
    return Path(url)


def measure_doses(ranking: pd.DataFrame) -> pd.DataFrame:
    """Give by drug the trend of its scores over its doses: tau and p_value."""
    treated = ranking[ranking["kind"] != "control_draw"]
    return pd.DataFrame(
        {
            drug: measure_trend(rows["dose"], rows["score"])
            for drug, rows in treated.groupby("perturbation")
        },
        index=["tau", "p_value"],
    ).T


def compare(rankings: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Put both channels side by side and compute the figures that have bars.

    Returns
    -------
    table : DataFrame
        One row per condition: dose and both scores.
    figures : dict
        ``gfp_high_doses`` (lowest GFP score of doses 7 to 9, bar 0.90), ``dna_highest`` (bar
        0.65), ``gfp_minus_dna`` (smallest difference at doses 7 to 9, bar 0.25), and the mean of
        the control draws per channel (0.5 +- 0.04).
    """
    scores = {}
    for name, ranking in rankings.items():
        compared = ranking[ranking["kind"] != "control_draw"].set_index("condition")
        scores[name] = compared[["score", "spread"]].add_suffix(f"_{name}")
        doses = compared[["perturbation", "dose"]]
    table = doses.join(scores["gfp"]).join(scores["dna"]).sort_values(["perturbation", "dose"])
    table = table.reset_index(drop=True)
    high = table[table["dose"].isin(HIGH_DOSES)]
    figures = {
        "gfp_high_doses": float(high["score_gfp"].min()),
        "dna_highest": float(table["score_dna"].max()),
        "gfp_minus_dna": float((high["score_gfp"] - high["score_dna"]).min()),
    }
    for name, ranking in rankings.items():
        draws = ranking.loc[ranking["kind"] == "control_draw", "score"]
        figures[f"{name}_draws_mean"] = float(draws.mean())
        figures[f"{name}_draws_sd"] = float(draws.std())
        figures[f"{name}_draws"] = len(draws)
    return table, figures


def main() -> None:
    """Print the comparison."""
    root = os.environ.get("I2R_DATA")
    if root is None:
        sys.exit("set I2R_DATA to the folder that holds bbbc013_u2os_plate")
    with tempfile.TemporaryDirectory() as folder:
        found = screen_doses(Path(root) / "bbbc013_u2os_plate", Path(folder))
        ranking = open_experiment(str(found)).table("screen")
    shown = ranking[ranking["kind"] != "control_draw"].sort_values(["perturbation", "dose"])
    columns = ["perturbation", "dose", "score", "ci_low", "ci_high", "p_value", "fdr", "feature"]
    print(shown[columns].round(4).to_string(index=False))
    print(measure_doses(ranking).to_string())
    with tempfile.TemporaryDirectory() as folder:
        table, figures = compare(screen_plate(Path(root) / "bbbc013_u2os_plate", Path(folder)))
    print(table.round(3).to_string(index=False))
    for name, value in figures.items():
        print(f"{name:16s} {value:.3f}")


if __name__ == "__main__":
    main()
