"""All there is to say of one well, condition or gene, gathered once for a page or a picture."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.report.distributions import Moved, RelativeNuclei, rank_moved, read_relative
from i2r.report.feature_profiles import find_screen
from i2r.report.html import number
from i2r.report.images import Window, find_outlines, shrink, to_grey
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import ReportSource, StageRecord
from i2r.types import parse_well
from i2r.view.channels import list_looked_at, list_moved_features, order_channels
from i2r.view.contents import list_control_wells
from i2r.view.pictures import (
    find_contrast,
    find_field_contrast,
    list_nuclei,
    read_crops,
    read_field,
    read_labels,
)

Kind = Literal["well", "condition", "gene"]
N_NUCLEI, N_FIELDS, FIELD_PX = 16, 2, 640
OWED = {
    "own": "Neither the number of nuclei nor another measure of its wells explains it.",
    "count": "The number of nuclei explains it: others with as few change alike.",
    "focus": "The focus explains it: other wells as blurred or sharp change alike.",
    "dna": "The DNA content explains it: others stopped in the cell cycle as much change alike.",
    "position": "It would be called if places on the plate were not taken out.",
}


class Subject(NamedTuple):
    """What is shown: a well, or all wells of a condition or gene."""

    kind: Kind
    name: str
    keys: list[str]


class Strip(NamedTuple):
    """Nuclei side by side: tiles of 8 bit, shape (c, nucleus, y, x)."""

    words: str
    tiles: npt.NDArray[np.uint8]


class FieldPicture(NamedTuple):
    """A field in grey, and where outlines are, both shape (y, x)."""

    words: str
    grey: npt.NDArray[np.uint8]
    outlines: npt.NDArray[np.bool_]


class Portrait(NamedTuple):
    """What is known of a subject; parts that the experiment does not have are empty.

    ``channels`` are those of the strips, the one in which most moved first.
    """

    subject: Subject
    facts: list[tuple[str, str]]
    why: list[str]
    wells: pd.DataFrame
    channels: list[str]
    strips: list[Strip]
    fields: list[FieldPicture]
    relative: RelativeNuclei | None
    moved: list[Moved]


def find_subject(source: ReportSource, name: str) -> Subject:
    """Find the well, condition or gene that a name means.

    Parameters
    ----------
    source
        The experiment.
    name
        ``PLATE/B03``, or ``B03`` where there is one plate; a condition as the tables call it
        (``drug@2``), or a perturbation, which stands for all its doses; a gene.

    Raises
    ------
    InputError
        If nothing has that name, or wells of several plates have it.
    """
    wells = source.wells
    if name in source.experiment.wells:
        return Subject("well", name, [name])
    if keys := _find_wells(source, name):
        return Subject("well", keys[0], keys)
    columns: tuple[tuple[Kind, str], ...] = (
        ("condition", "condition"), ("condition", "given"), ("gene", "gene"),
        ("condition", "perturbation"),
    )  # fmt: skip
    for fold in (str, str.casefold):
        for kind, column in columns:
            same = wells[column].astype(str).map(fold) == fold(name)
            if name and same.any():
                found = str(wells.loc[same, column].iloc[0])
                return Subject(kind, found, wells.index[same].tolist())
    known = {*wells["condition"], *wells["gene"], *wells["perturbation"]} - {""}
    close = difflib.get_close_matches(name, sorted(map(str, known)), n=3)
    hint = f" Did you mean {', '.join(close)}?" if close else " See 'i2r table EXPERIMENT screen'."
    raise InputError(f"{name!r}: no well, condition or gene of the layout has this name.{hint}")


def _find_wells(source: ReportSource, name: str) -> list[str]:
    """Find the well of the only plate that has it."""
    try:
        well = parse_well(name).name
    except ValueError:
        return []
    found = [key for key, record in source.experiment.wells.items() if record.well == well]
    if len(found) > 1:
        raise InputError(
            f"{name!r}: {len(found)} plates have this well ({', '.join(found[:5])}"
            f"{', ...' if len(found) > 5 else ''}). Name one of them, or a condition."
        )
    return found


def make_portrait(
    source: ReportSource, subject: Subject, *, channels: Sequence[str] = ()
) -> Portrait:
    """Gather what is known of a subject, as far as the experiment is done.

    Parameters
    ----------
    source, subject
        The experiment, and what is shown of it.
    channels
        To draw. Default: nuclei in all channels, fields in the one whose features moved most and in
        the one that was segmented.

    Raises
    ------
    InputError
        If there is no such channel.
    """
    if unknown := [name for name in channels if name not in source.channels]:
        known = ", ".join(source.channels) or "none yet"
        raise InputError(f"no channel {unknown[0]!r}, expected one of: {known}.")
    screen = next(iter(list_screens(source)), None)
    wells = source.wells.loc[subject.keys]
    nuclei = pd.Series(source.nuclei_per_well, dtype=float).reindex(subject.keys)
    listed = pd.DataFrame(
        {"well": subject.keys, "condition": wells["given"].astype(str), "role": wells["role"]}
    ).assign(nuclei=nuclei.to_numpy())
    relative, moved = _compare(source, subject)
    facts, why = _explain(source, subject, screen)
    ordered = list(channels) or _order_channels(source, subject, screen, moved)
    segmented = [str(s.options.get("channel", "")) for s in source.stages_of("segment")][:1]
    in_fields = [name for name in dict.fromkeys([*ordered[:1], *segmented]) if name in ordered]
    return Portrait(
        subject, facts, why, listed.reset_index(drop=True), ordered,
        _cut_strips(source, subject, ordered),
        _draw_fields(source, subject, list(channels) or in_fields), relative, moved,
    )  # fmt: skip


def _order_channels(
    source: ReportSource, subject: Subject, screen: ScreenResult | None, moved: list[Moved]
) -> list[str]:
    """Order channels by the subject's features, or else by what its screen says and looked at."""
    features = [item.feature for item in moved]
    if screen is None:
        return order_channels(source, features)
    if not features:
        condition = str(source.wells.loc[subject.keys[0], "condition"])
        features = list_moved_features(source, screen, condition)
    return order_channels(source, features, chosen=list_looked_at(screen))


# ----------------------------------------------------------------------------- what was found


def _explain(
    source: ReportSource, subject: Subject, screen: ScreenResult | None
) -> tuple[list[tuple[str, str]], list[str]]:
    """Say what a screen found, and why."""
    conditions = list(dict.fromkeys(source.wells.loc[subject.keys, "condition"].astype(str)))
    facts = [("wells", f"{len(subject.keys)}")]
    genes = sorted(set(source.wells.loc[subject.keys, "gene"].astype(str)) - {""})
    if genes and subject.kind != "gene":
        facts.append(("gene", ", ".join(genes)))
    if screen is None:
        return facts, ["No screen is complete: nothing was tested yet."]
    why: list[str] = []
    table = screen.conditions
    title = screen.stage.title
    for name in conditions:
        row = table[table["condition"].astype(str) == name]
        if row.empty:
            why.append(f"'{title}' did not test {name}: it is what others are compared with, or "
                       "was left out (see its table of what was left out).")  # fmt: skip
            continue
        why.append(_explain_row(name, row.iloc[0], str(screen.statistics.get("impactful", ""))))
    if subject.kind == "gene":
        why += _explain_gene(source, title, subject.name)
    if subject.kind == "well":
        why += _explain_well(source, title, subject.keys[0])
    return facts, [*why, *screen.cautions]


def _explain_row(name: str, row: pd.Series, rule: str) -> str:
    """Write a row of a ranking as sentences."""
    parts = []
    p_value = float(row["p_value"])
    if np.isnan(p_value):
        parts.append(f"{name}: no p-value.")
    else:
        verdict = "called" if row["impactful"] else "not called"
        parts.append(
            f"{name}: p = {number(p_value)}, false discovery rate {number(float(row['fdr']))}: "
            f"{verdict} ({rule})."
        )
    if np.isfinite(score := float(row.get("score", np.nan))):
        parts.append(
            f"Score {score:.3f} (held-out balanced accuracy, 0.5 is guessing), rank "
            f"{number(float(row['rank']))}."
        )
    parts.append(OWED.get(str(row.get("explained", "")), ""))
    change = float(row.get("count_change", np.nan))
    if np.isfinite(change):
        fdr = float(row.get("count_fdr", np.nan))
        parts.append(
            f"Nuclei per field: {2.0**change:.2f} times those of controls (FDR {number(fdr)})."
        )
    parts.append(str(row.get("note", "") or ""))
    return " ".join(part for part in parts if part)


def _explain_gene(source: ReportSource, title: str, gene: str) -> list[str]:
    """Say what the statistic of genes with several reagents found."""
    table = source.reduced_table(title, f"{title}-genes")
    if table is None or "gene" not in table:
        return []
    own = table[table["gene"].astype(str).str.upper() == gene.upper()]
    values = [{n: v for n, v in row.items() if not pd.isna(v)} for _, row in own.iterrows()]
    return [
        "Gene: " + ", ".join(f"{n.replace('_', ' ')} {_write(v)}" for n, v in row.items()) + "."
        for row in values
    ]


def _explain_well(source: ReportSource, title: str, key: str) -> list[str]:
    """Say how much a well counted."""
    table = source.reduced_table(title, f"{title}-wells")
    if table is None or "share" not in table:
        return []
    own = table[(table["plate"].astype(str) + "/" + table["well"].astype(str)) == key]
    shares = [float(v) for v in own["share"] if float(v) > 0]
    return [f"This well counted for {100 * v:.0f} % of its condition's mean." for v in shares]


def _write(value: Any) -> str:
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)


# ----------------------------------------------------------------------------- features


def _compare(source: ReportSource, subject: Subject) -> tuple[RelativeNuclei | None, list[Moved]]:
    """Compare features with controls; what a screen said moved most comes first."""
    stages = [s for s in source.stages_of("features") if source.results(s.title)]
    for stage in stages:
        relative = read_relative(source, stage, subject.keys)
        if relative is None:
            continue
        return relative, _list_moved(source, stage, subject, relative)
    return None, []


def _list_moved(
    source: ReportSource, stage: StageRecord, subject: Subject, relative: RelativeNuclei
) -> list[Moved]:
    """List the ten features that moved most, as the screen says of a condition, or by means."""
    screen = find_screen(source, stage)
    conditions = set(source.wells.loc[subject.keys, "condition"].astype(str))
    if screen is not None and len(conditions) == 1 and subject.kind != "well":
        title = screen.stage.title
        table = source.reduced_table(title, f"{title}-features")
        if table is not None:
            own = table[table["condition"].astype(str).isin(conditions)].sort_values("place")
            rows = own[["feature", "change", "low", "high"]].itertuples(index=False, name=None)
            if len(own):
                return [Moved(str(f), float(c), float(a), float(b)) for f, c, a, b in rows]
    # No table says it of a well or of a gene with several reagents: nuclei against nuclei.
    nuclei = pd.DataFrame(relative.nuclei, columns=list(relative.names))
    return rank_moved(nuclei, relative.names)


# ----------------------------------------------------------------------------- pictures


def _cut_strips(source: ReportSource, subject: Subject, channels: Sequence[str]) -> list[Strip]:
    """Cut nuclei of the subject and of controls, all with the contrast of controls."""
    stage = next((s for s in source.stages_of("crop") if source.results(s.title)), None)
    if stage is None:
        return []
    controls = list_control_wells(source, subject.keys)
    strips = []
    for words, keys in ((subject.name, subject.keys), ("Negative controls, same plates", controls)):
        tiles = _cut(source, stage.title, keys, channels)
        if tiles is not None:
            strips.append(Strip(words, tiles))
    return strips


def _cut(
    source: ReportSource, stage: str, keys: Sequence[str], channels: Sequence[str]
) -> npt.NDArray[np.uint8] | None:
    """Cut some nuclei evenly over wells, shape (c, nucleus, y, x)."""
    chosen, _ = list_nuclei(source, stage, keys, count=N_NUCLEI, everywhere=True)
    if not chosen:
        return None
    contrast = find_contrast(source, stage)
    by_channel = []
    for channel in map(source.channels.index, channels):
        found = contrast[channel]
        window = Window(found["black"], found["white"])
        tiles = [
            to_grey(read_crops(source, stage, n.key, [n.crop], channel)[0], window) for n in chosen
        ]
        by_channel.append(np.stack(tiles))
    return np.stack(by_channel)


def _draw_fields(
    source: ReportSource, subject: Subject, channels: Sequence[str]
) -> list[FieldPicture]:
    """Draw the first usable field of some wells, and of a control, with outlines, by channel."""
    segment = next((s for s in source.stages_of("segment") if source.results(s.title)), None)
    if segment is None:
        return []
    done = set(source.results(segment.title))
    own = [key for key in subject.keys if key in done][:N_FIELDS]
    controls = [key for key in list_control_wells(source, subject.keys) if key in done][:1]
    stages = [stage.title for stage in source.stages]
    places = [
        (key, fields[0])
        for key in [*own, *(controls if own else [])]
        if (fields := source.experiment.fields(key, stages))
    ]
    return [
        _draw_field(source, key, field, name, segment.title)
        for name in channels
        for key, field in places
    ]


def _draw_field(
    source: ReportSource, key: str, field: str, name: str, segment: str
) -> FieldPicture:
    """Draw a channel of a field in grey, with the contrast of a control field of its plate."""
    channel = source.channels.index(name)
    found = find_field_contrast(source, key)[channel]
    plane = read_field(source, key, field, channel)
    labels = read_labels(source, key, field, segment)
    factor = max(1, -(-max(plane.shape) // FIELD_PX))
    grey = to_grey(shrink(plane, factor), Window(found["black"], found["white"]))
    thin = labels[factor // 2 :: factor, factor // 2 :: factor]
    thin = thin[: grey.shape[0], : grey.shape[1]]
    condition = source.wells.loc[key, "condition"]
    n_nuclei = len(np.unique(labels[labels > 0]))
    words = f"{key}, field {field}, {name}, {condition}: {n_nuclei} nuclei"
    return FieldPicture(words, grey, find_outlines(thin))
