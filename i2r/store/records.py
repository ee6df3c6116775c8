"""What an experiment says of itself, and how to get it back when it is damaged."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables
from i2r.store.documents import read_json


def read_record(url: str) -> dict[str, Any]:
    """Read what was written down of a run, ``runs/000007.json``.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        record = read_json(url)
        if not isinstance(record.get("pipeline"), dict):
            raise ValueError("no pipeline in it")
    except ValueError as error:
        raise InputError(
            f"{url}: damaged ({error}), expected the record of a run. Restore it from a copy, or "
            "move it away: the run before it counts then."
        ) from error
    return record


def restore_table(experiment_url: str, name: str) -> InputError:
    """Say that the layout or the source table is damaged, and where its last good copy is."""
    url = files.join_url(experiment_url, f"{name}.parquet")
    copy = files.join_url(experiment_url, "runs", f"{name}.parquet")
    advice = f"Copy {copy} to it" if files.exists(copy) else "Restore it from a copy"
    return InputError(
        f"{url}: damaged, expected the table that i2r wrote. {advice}; look after the disk."
    )


def save_description(url: str, version: int, given: Mapping[str, pd.DataFrame | None]) -> None:
    """Write ``experiment.json``, and the layout and the source table where they changed.

    Parameters
    ----------
    url
        The experiment.
    version
        Of the format on disk.
    given
        The tables by name; None where what is stored stays.
    """
    marker = files.join_url(url, "experiment.json")
    if not files.exists(marker):
        files.write_bytes(marker, json.dumps({"format": "i2r", "version": version}).encode())
    for name, frame in given.items():
        if frame is None:
            continue
        data = tables.encode_table(frame)
        # The copy is what an account of a damaged one says to go back to.
        for target in (f"{name}.parquet", f"runs/{name}.parquet"):
            target_url = files.join_url(url, target)
            if not files.exists(target_url) or files.read_bytes(target_url) != data:
                files.write_bytes(target_url, data)
