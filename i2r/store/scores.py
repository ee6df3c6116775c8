"""Scores and calls of a screen on disk, before they are ranked."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from i2r.store import tables
from i2r.store.encoders import remove_checkpoints


def write_scores(
    scored: Mapping[str, Any],
    *,
    condition: str,
    kind: str,
    fold: int,
    urls: Mapping[str, str],
    model: str = "",
) -> dict[str, Any]:
    """Write the score of one fold, and the calls of its wells; remove the model's checkpoints."""
    row = {"condition": condition, "kind": kind, "fold": fold, **scored}
    calls = pd.DataFrame(
        row.pop("calls"), columns=["plate", "well", "is_treated", "n_nuclei", "n_called"]
    )
    calls.insert(0, "condition", condition)
    tables.write_table(urls["-scores"], pd.DataFrame([row]))
    tables.write_table(urls["-calls"], calls)
    if model:
        remove_checkpoints(model)
    return {"nuclei": int(row["n_test_treated"] + row["n_test_control"])}
