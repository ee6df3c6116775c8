"""How long the stages took."""

import numpy as np
import pandas as pd

from i2r.report import html
from i2r.report.source import ReportSource

TITLE = "Timings"
ORDER = 80


def draw(source: ReportSource) -> str | None:
    """Show a table of times per stage."""
    rows = []
    for stage in source.stages:
        done = [e for e in source.experiment.ledger.entries(stage.title) if e.event == "done"]
        units = [entry for entry in done if entry.key != "*"]
        if not units:
            continue
        seconds = np.array([entry.seconds for entry in units])
        total = float(sum(entry.seconds for entry in done))
        rows.append(
            {
                "stage": stage.title, "units": len(units), "total s": round(total, 1),
                "median s per unit": round(float(np.median(seconds)), 3),
                "longest s per unit": round(float(seconds.max()), 3),
                "fields/s": _rate(sum(int(e.result.get("fields", 0)) for e in units), total),
                "nuclei/s": _rate(sum(int(e.result.get("nuclei", 0)) for e in units), total),
                "workers": len({entry.worker for entry in units if entry.worker}) or 1,
            }
        )  # fmt: skip
    if not rows:
        return None
    return html.table(
        pd.DataFrame(rows),
        "Seconds of computing per stage, of the run in which each unit was last done; the bars "
        "compare the stages. Totals are sums over units, so several workers need less time than "
        "that by the clock. Fields and nuclei per second are those of one worker, writing "
        "included; of a screen they are held-out nuclei.",
        bars=("total s",),
    )


def _rate(count: int, seconds: float) -> float:
    """Divide a count by a time; NaN where nothing was counted."""
    return float(f"{count / seconds:.3g}") if count and seconds else float("nan")
