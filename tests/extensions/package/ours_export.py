"""An export: the layout as a Markdown table."""

from pathlib import Path

from i2r.store.experiment import Experiment


def export(experiment: Experiment, target: Path, name: str | None) -> str:
    """Write the wells, one line each."""
    layout = experiment.layout
    lines = [f"| {row.plate} | {row.well} | {row.perturbation} |" for row in layout.itertuples()]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{len(layout)} wells"
