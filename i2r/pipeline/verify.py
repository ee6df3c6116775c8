"""Compare the pixels of an experiment with the image files they were converted from."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import FieldError, I2RError, InputError
from i2r.pipeline.spec import Pipeline
from i2r.readers.images import read_field
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment


class _Field(NamedTuple):
    """A field with its source files and the reason why it was left out, if it was."""

    key: str
    field: str
    sources: pd.DataFrame
    reason: str


class Comparison(NamedTuple):
    """What became of a comparison.

    Attributes
    ----------
    n_fields, n_planes
        How many were compared and found equal or not.
    differences
        One line for each plane that isn't what its source file is.
    missing
        One line for each plane that was left out of the conversion, with the reason.
    gone
        One line for each converted plane whose source can't be read any more, so that nobody can
        say whether it is what it was.
    """

    n_fields: int
    n_planes: int
    differences: list[str]
    missing: list[str]
    gone: list[str]


def compare_with_source(
    experiment: Experiment, pipeline: Pipeline, *, sample: int | None = None, seed: int = 0
) -> Comparison:
    """Read source files again and compare every pixel with what the experiment holds.

    Parameters
    ----------
    experiment
        The experiment; wells that are not converted are left alone.
    pipeline
        The pipeline of its last run: says which stage brought the images in.
    sample
        How many fields to compare, drawn without replacement; None compares all.
    seed
        Decides which fields are drawn.

    Raises
    ------
    InputError
        If nothing was brought in, or less than one field is asked for.
    """
    if sample is not None and sample < 1:
        raise InputError(f"sample: found {sample}, expected at least 1. Give a number of fields.")
    fields = list(_list_fields(experiment, pipeline))
    if not fields:
        raise InputError(f"{experiment.url}: no converted images here. Run 'convert' first.")
    if sample is not None and sample < len(fields):
        drawn = np.random.default_rng(seed).choice(len(fields), size=sample, replace=False)
        fields = [fields[number] for number in sorted(drawn)]
    differences: list[str] = []
    missing: list[str] = []
    gone: list[str] = []
    n_planes = 0
    # Decoding releases the interpreter, so threads share the machine's cores.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        lists = pool.map(lambda field: _compare_field(experiment, field), fields)
        for field, (unequal, unread, n_compared) in zip(fields, lists, strict=True):
            (missing if field.reason else differences).extend(unequal)
            (missing if field.reason else gone).extend(unread)
            n_planes += n_compared
    return Comparison(len(fields), n_planes, differences, missing, gone)


def _list_fields(experiment: Experiment, pipeline: Pipeline) -> Iterator[_Field]:
    """List the fields that were converted, or left out, in the layout's order."""
    ledger = experiment.ledger
    stages = [s.title for s in pipeline.stages if s.stage == "convert"]
    for key, sources in experiment.sources_by_key.items():
        results = [r for stage in stages if (r := ledger.result(stage, key)) is not None]
        excluded = {f: str(v) for r in results for f, v in r.get("excluded", {}).items()}
        for field, rows in sources.groupby("field", sort=False) if results else ():
            yield _Field(key, str(field), rows, excluded.get(str(field), ""))


def _compare_field(experiment: Experiment, field: _Field) -> tuple[list[str], list[str], int]:
    """Compare one field channel by channel.

    Returns
    -------
    unequal, unread : list of str
        Planes that are not what their source is, and planes whose source can't be read.
    n_compared : int
        Planes that were compared.
    """
    plate, well = experiment.locate(field.key)
    unequal: list[str] = []
    unread: list[str] = []
    n_compared = 0
    stored = None
    if not field.reason:
        url = f"{experiment.image_url(field.key, field.field)}/0"
        try:
            stored = read_array(url)
        except (I2RError, OSError, RuntimeError, ValueError) as error:
            where = f"plate {plate.name!r} well {well!r} field {field.field}"
            return [f"{where}: the stored image can't be read ({error})"], [], 0
    for number, channel in enumerate(plate.channels):
        where = f"plate {plate.name!r} well {well!r} field {field.field} channel {channel!r}"
        try:
            source = read_field(
                field.sources.itertuples(),
                channels=[channel],
                expected=(plate.shape[1:], plate.dtype),
            ).image[0]
        except FieldError as error:
            unread.append(
                f"{where}: {error}"
                if stored is None
                else f"{where}: the source can't be read any more: {error}"
            )
            continue
        if stored is None:
            continue
        n_compared += 1
        if n_wrong := int(np.count_nonzero(stored[number] != source)):
            unequal.append(
                f"{where}: {n_wrong} of {source.size} pixels differ from the source. Run the same "
                "pipeline again: changed files are converted anew; if it says that nothing is to "
                "do, the stored image is damaged."
            )
    if field.reason and not unread:
        unequal.append(
            f"plate {plate.name!r} well {well!r} field {field.field}: left out ({field.reason}), "
            "but its files can be read now. Run the same pipeline again."
        )
    return unequal, unread, n_compared
