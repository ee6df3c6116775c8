"""Tables of a well's nuclei and of its fields, and which fields' nuclei can hardly be right."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.kernels.checks import freeze
from i2r.kernels.crops import Stack
from i2r.kernels.nuclei import measure_nuclei
from i2r.kernels.quality import FieldEvidence

INTENSITIES = ("mean", "std", "min", "max")

SATURATED = 0.01
"""A part of the pixels that is a tenth of what nuclei cover in a usual field."""

NOTHING_CONTRAST = 8.0
"""Robust standard deviations that neither noise nor uneven light reaches; see `FieldEvidence`."""

UNLABELLED = 0.5
"""So much of what is bright lies outside the labels."""

DEBRIS_AREAS = 8.0
"""An object of so many typical nuclei (the plate's median area) is none, ..."""

DEBRIS_PART = 0.25
"""... and a field is flagged where such objects hold so much of the labelled area, ..."""

FRAGMENT_AREAS, FRAGMENT_PART, LEAST_FRAGMENTS = 0.25, 0.5, 10
"""... or where so many of its objects, and at least so many, are so small."""

FEW_PART, LEAST_USUAL = 0.1, 10
"""A field has few nuclei with a tenth of the plate's median, if that is at least 10."""

NO_NUCLEI = pd.DataFrame({"well": [], "field": [], "area_px": []}).astype(
    {"well": object, "field": object}
)

EXAMPLES = 3
"""Fields that a note names, ..."""

PICTURE_EXAMPLES = 10
"""... and pictures of a folder, which no table lists."""


class Place(NamedTuple):
    """Names that lead every row of a table of nuclei."""

    plate: str
    well: str


def measure_fields(
    images: Stack,
    labels: Iterable[np.ndarray],
    *,
    place: Place,
    fields: Sequence[str],
    channels: Sequence[str],
    pixel_size_um: float,
) -> pd.DataFrame:
    """Measure every nucleus of some fields.

    Parameters
    ----------
    images, labels
        Shapes (field, c, y, x) and (field, y, x).
    place, fields, channels
        Names for the table.
    pixel_size_um
        Edge of a pixel.

    Returns
    -------
    DataFrame
        One row per nucleus: place, geometry in pixels and microns, and intensities ``mean_DNA``,
        ``std_DNA``, ... of every channel.
    """
    return pd.DataFrame(
        tabulate_nuclei(
            [
                measure_nuclei(freeze(plane), freeze(image))
                for plane, image in zip(labels, images, strict=True)
            ],
            place=place,
            fields=fields,
            channels=channels,
            dtype=images.dtype,
            pixel_size_um=pixel_size_um,
        )
    )


def tabulate_nuclei(
    measured: Sequence[Mapping[str, np.ndarray]],
    *,
    place: Place,
    fields: Sequence[str],
    channels: Sequence[str],
    dtype: "np.dtype[Any]",
    pixel_size_um: float,
) -> dict[str, np.ndarray]:
    """Make the table of a well's nuclei, by columns, of what was measured in each of its fields.

    Parameters
    ----------
    measured
        For each field what `i2r.kernels.nuclei.measure_nuclei` gives.
    place, fields, channels, pixel_size_um
        See `measure_fields`.
    dtype
        Of the images.
    """
    # An empty field first: it gives the columns their types where there are no nuclei.
    nothing, unlabelled = np.zeros((len(channels), 1, 1), dtype), np.zeros((1, 1), np.int32)
    measured = [measure_nuclei(freeze(unlabelled), freeze(nothing)), *measured]
    joined = {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
    counts = [len(part["label"]) for part in measured]
    columns: dict[str, np.ndarray] = {
        "plate": np.full(sum(counts), place.plate, dtype=object),
        "well": np.full(sum(counts), place.well, dtype=object),
        "field": np.repeat(np.array(["", *fields], dtype=object), counts),
        "label": joined.pop("label"),
        "area_px": joined["area_px"],
        "area_um2": joined.pop("area_px") * pixel_size_um**2,
    }
    intensities = {kind: joined.pop(f"intensity_{kind}") for kind in INTENSITIES}
    columns |= joined
    for kind, values in intensities.items():
        columns |= {f"{kind}_{name}": values[:, index] for index, name in enumerate(channels)}
    return columns


def tabulate_evidence(
    measured: Sequence[FieldEvidence], *, place: Place, fields: Sequence[str]
) -> dict[str, np.ndarray]:
    """Make the table of a well's fields, by columns: what they and their labels say.

    Parameters
    ----------
    measured
        For each field what `i2r.kernels.quality.measure_evidence` gives.
    place, fields
        Names for the table.
    """
    values = np.array(measured, dtype=float).reshape(len(fields), len(FieldEvidence._fields))
    return {
        "plate": np.full(len(fields), place.plate, dtype=object),
        "well": np.full(len(fields), place.well, dtype=object),
        "field": np.array(list(fields), dtype=object),
        **{name: values[:, n] for n, name in enumerate(FieldEvidence._fields)},
    }


def flag_fields(
    fields: pd.DataFrame, read_nuclei: Callable[[], Iterable[pd.DataFrame]]
) -> pd.DataFrame:
    """Flag the fields of a plate whose nuclei can hardly be right.

    Parameters
    ----------
    fields
        The plate's rows of `tabulate_evidence`.
    read_nuclei
        Gives the plate's nuclei (``well``, ``field``, ``area_px``), one table after another, each
        with whole fields. It is called twice, so that nobody holds all nuclei of a plate.

    Returns
    -------
    DataFrame
        `fields` with ``n_nuclei``; ``oversized`` and ``fragments``, the parts of labelled area and
        of objects that are far larger or smaller than the plate's typical nucleus, 0 to 1; and
        ``flag``, what is implausible, empty where nothing is: saturated, nothing found, bright
        unlabelled, debris, fragments, few nuclei.
    """
    # Of fields, not of nuclei: a field in pieces has more of them than all others.
    medians = [
        part.groupby(["well", "field"])["area_px"].median() for part in read_nuclei() if len(part)
    ]
    typical = float(pd.concat(medians).median()) if medians else float("nan")
    counted = [count_sizes(part, typical) for part in read_nuclei() if len(part)]
    shares = pd.concat(counted) if counted else count_sizes(NO_NUCLEI, typical)
    nothing = {"n_nuclei": 0, "oversized": 0.0, "fragments": 0.0}
    table = fields.join(shares, on=["well", "field"]).fillna(nothing)
    table["n_nuclei"] = table["n_nuclei"].astype(np.int64)
    usual = float(table["n_nuclei"].median()) if len(table) else 0.0
    is_few = (table["n_nuclei"] <= FEW_PART * usual) & (usual >= LEAST_USUAL)
    is_empty = (table["n_nuclei"] == 0) & (table["contrast"] >= NOTHING_CONTRAST)
    flags: Mapping[str, pd.Series] = {
        "saturated": table["saturated"] >= SATURATED,
        "nothing found": is_empty,
        "bright unlabelled": table["unlabelled"] >= UNLABELLED,
        "debris": table["oversized"] >= DEBRIS_PART,
        "fragments": (table["fragments"] >= FRAGMENT_PART) & (table["n_nuclei"] >= LEAST_FRAGMENTS),
        "few nuclei": is_few & ~is_empty,
    }
    raised = np.stack([of_all.to_numpy(dtype=bool) for of_all in flags.values()], axis=1)
    names = np.array(list(flags), dtype=object)
    said = [", ".join(names[of_field]) for of_field in raised]
    return table.assign(flag=pd.Series(said, index=table.index, dtype=object))


def count_sizes(nuclei: pd.DataFrame, typical: float) -> pd.DataFrame:
    """Give by well and field how many nuclei there are, and the shares of large and small ones."""
    is_large = nuclei["area_px"] > DEBRIS_AREAS * typical
    is_small = nuclei["area_px"] < FRAGMENT_AREAS * typical
    of_field = nuclei.assign(
        large_px=nuclei["area_px"].where(is_large, 0), small=is_small.astype(float)
    ).groupby(["well", "field"])
    return pd.DataFrame(
        {
            "n_nuclei": of_field.size(),
            "oversized": of_field["large_px"].sum() / of_field["area_px"].sum(),
            "fragments": of_field["small"].mean(),
        }
    )


def describe_flags(table: pd.DataFrame) -> list[str]:
    """Say for the end of a run how many fields are flagged, of what, and which first."""
    flagged = table[table["flag"] != ""]
    if not len(flagged):
        return []
    listed = _count_flags(flagged)
    first = ", ".join(
        f"{row.plate}/{row.well} field {row.field}" for row in flagged.head(EXAMPLES).itertuples()
    )
    more = ", ..." if len(flagged) > EXAMPLES else ""
    return [
        f"{len(flagged)} of {len(table)} fields look implausible ({listed}), for example {first}"
        f"{more}: look at them, and leave bad ones out with 'exclude' of the stage 'quality'"
    ]


def describe_pictures(measured: Mapping[str, tuple[FieldEvidence, Sequence[int]]]) -> str | None:
    """Say which pictures of a folder look implausible, as fields of a plate are judged.

    Parameters
    ----------
    measured
        By name: what `i2r.kernels.quality.measure_evidence` gives, and the nuclei's areas in
        pixels.

    Returns
    -------
    str
        How many, of what, and which with their reasons (of many the first); None for none.
    """
    names = list(measured)
    evidence = [evidence for evidence, _ in measured.values()]
    fields = pd.DataFrame(tabulate_evidence(evidence, place=Place("", ""), fields=names))
    nuclei = pd.DataFrame(
        {
            "well": "",
            "field": np.repeat(
                np.array(names, dtype=object), [len(a) for _, a in measured.values()]
            ),
            "area_px": np.concatenate([np.zeros(0), *(a for _, a in measured.values())]),
        }
    )
    table = flag_fields(fields, lambda: [nuclei])
    flagged = table[table["flag"] != ""]
    if not len(flagged):
        return None
    first = ", ".join(
        f"{row.field} ({row.flag})" for row in flagged.head(PICTURE_EXAMPLES).itertuples()
    )
    more = ", ..." if len(flagged) > PICTURE_EXAMPLES else ""
    return (
        f"{len(flagged)} of {len(table)} images look implausible ({_count_flags(flagged)}): "
        f"{first}{more}; look at them"
    )


def _count_flags(flagged: pd.DataFrame) -> str:
    """Count flagged fields by flag, the most frequent first."""
    counts = flagged["flag"].str.split(", ").explode().value_counts()
    return ", ".join(f"{number} {name}" for name, number in counts.items())
