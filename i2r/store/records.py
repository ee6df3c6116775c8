"""What an experiment says of itself, and how to get it back when it is damaged."""

from typing import Any

from i2r.errors import InputError
from i2r.store import files
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
    copy = files.join_url(experiment_url, f"{name}.backup.parquet")
    advice = f"Copy {copy} to it" if files.exists(copy) else "Restore it from a copy"
    return InputError(
        f"{url}: damaged, expected the table that i2r wrote. {advice}; look after the disk."
    )
