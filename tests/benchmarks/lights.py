"""The threshold segmentation under uneven light: ``python -m tests.benchmarks.lights [SEED]``.

Fields of known nuclei (0, 3, 30 and 300; 10x, 20x and 40x; sharp and blurred; dim and bright; with
shot noise), under every kind of light, from half as high as nuclei to five times. Prints for each
kind and strength the mean and the least F1 at IoU 0.5, false nuclei, and how many fields are wrong
(F1 under 0.85, or nuclei in an empty field), without a flag, and flagged though they are right.
"""

import sys

import numpy as np
import pandas as pd

from i2r.analysis.nuclei import Place, flag_fields, tabulate_evidence
from i2r.kernels.metrics import score_segmentation
from i2r.kernels.quality import measure_evidence
from i2r.stages.segment import ThresholdSegment
from tests.kernels.lit_fields import LIGHTS, PIXEL_SIZE_UM, RADIUS_PX, draw_lit_field

STRENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0)
NUMBERS = (0, 3, 30, 300)


def score_lit_field(kind: str, strength: float, n_nuclei: int, seed: int) -> dict[str, object]:
    """Draw, segment, score and flag a field; size, blur and brightness are drawn by chance."""
    random = np.random.default_rng([seed, LIGHTS.index(kind), int(10 * strength), n_nuclei])
    objective = str(random.choice(list(RADIUS_PX)))
    field = draw_lit_field(
        kind,
        strength=strength,
        n_nuclei=n_nuclei,
        objective=objective,
        blur_px=max(random.choice([1.0, 2.5]) * RADIUS_PX[objective] / 12, 0.8),
        level=float(random.choice([300, 1000, 4000])),
        size_px=int(random.choice([540, 1080])),
        seed=seed,
    )
    labels = ThresholdSegment().segmenter(PIXEL_SIZE_UM[objective])(field.image)
    score = score_segmentation(labels, field.truth)
    areas = np.bincount(labels.ravel())[1:]
    fields = tabulate_evidence(
        [measure_evidence(field.image, labels)], place=Place("P1", "A01"), fields=["1"]
    )
    nuclei = pd.DataFrame({"well": "A01", "field": "1", "area_px": areas})
    is_flagged = flag_fields(pd.DataFrame(fields), lambda: [nuclei])["flag"].iloc[0] != ""
    n_false = int(score.false_positives[0])
    is_wrong = score.f1[0] < 0.85 if score.n_truth else n_false > 0
    return {
        "light": kind,
        "strength": strength,
        "F1": score.f1[0] if score.n_truth else np.nan,
        "false": n_false,
        "wrong": is_wrong,
        "unflagged": is_wrong and not is_flagged,
        "alarms": is_flagged and not is_wrong,
    }


def main(seed: int = 0) -> None:
    """Print the table."""
    rows = [
        score_lit_field(kind, strength, n_nuclei, seed)
        for kind in LIGHTS
        for strength in STRENGTHS
        for n_nuclei in NUMBERS
    ]
    table = pd.DataFrame(rows).groupby(["light", "strength"], sort=False)
    shown = table.agg(
        F1=("F1", "mean"),
        least=("F1", "min"),
        false=("false", "sum"),
        wrong=("wrong", "sum"),
        unflagged=("unflagged", "sum"),
        alarms=("alarms", "sum"),
        fields=("wrong", "size"),
    )
    print(shown.round(3).to_string())
    print(
        f"all: F1 {shown['F1'].mean():.3f}, {shown.drop(columns=['F1', 'least']).sum().to_dict()}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
