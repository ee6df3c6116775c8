"""What trainings leave behind: encoders, checkpoints, and their parts of the tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from i2r.store import files, tables

TABLES = ("epochs", "confusion", "splits", "predictions", "surest")


class TrainedFiles(Protocol):
    """What a training gives: the encoder's bytes, a row of numbers, and one frame per table."""

    @property
    def encoder(self) -> bytes:
        """The encoder."""

    @property
    def summary(self) -> dict[str, Any]:
        """The row."""


def read_optional(url: str | None) -> bytes | None:
    """Read a file; None where there is none, or no URL."""
    try:
        return files.read_bytes(url) if url else None
    except FileNotFoundError:
        return None


def write_checkpoint(url: str, data: bytes) -> None:
    """Replace a checkpoint in one step: whoever is killed meanwhile leaves the one before."""
    files.write_bytes(url, data)


def write_trained(
    trained: TrainedFiles,
    *,
    described: Mapping[str, Any],
    url: str,
    part_urls: Mapping[str, str],
) -> dict[str, Any]:
    """Write an encoder and its parts of the tables, then remove its checkpoints.

    Parameters
    ----------
    trained
        From the training.
    described
        More columns of its row; view, fold and without come in all tables. Its ``note`` and that of
        the training are joined.
    url
        Where the encoder goes.
    part_urls
        Where its parts go, by table; '' is the stage's own.
    """
    written = files.write_bytes(url, trained.encoder)
    notes = (str(row.get("note", "")) for row in (described, trained.summary))
    joined = {"note": "; ".join(note for note in notes if note)}
    tables.write_table(part_urls[""], pd.DataFrame([{**described, **trained.summary, **joined}]))
    for name in TABLES:
        table: pd.DataFrame = getattr(trained, name)
        named = {key: [described[key]] * len(table) for key in ("view", "fold", "without")}
        tables.write_table(part_urls[name], pd.concat([pd.DataFrame(named), table], axis=1))
    remove_checkpoints(url)
    return {"nuclei": int(trained.summary["n_train"]), "bytes_out": written, "trained": True}


def remove_checkpoints(url: str) -> None:
    """Remove all checkpoints of the training that makes the model at that URL."""
    folder, _, own = url.rpartition("/")
    for name in files.list_folder(folder):
        if name.startswith(f"{own}.") and name.endswith(".checkpoint"):
            files.remove_file(f"{folder}/{name}")


def skip_unit(described: Mapping[str, Any], *, note: str, url: str) -> dict[str, Any]:
    """Write down that nothing was trained, and why."""
    tables.write_table(url, pd.DataFrame([{**described, "note": note}]))
    return {}


def merge_tables_there(merges: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Merge the parts that there are; imported encoders and skipped units have fewer."""
    for url, parts in merges.items():
        there = [part for part in parts if files.exists(part)]
        if there:
            tables.merge_tables({url: there})
    return {}
