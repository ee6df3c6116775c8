"""Tables of features that others computed, brought in as if they had been measured here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import I2RError, InputError, count_words, name_some
from i2r.formats.platemaps import read_platemap
from i2r.formats.profile_places import is_one_per_well, match_plates
from i2r.formats.profile_tables import ProfileTable, open_profiles, read_batches, read_places
from i2r.kernels.matching import match_points
from i2r.stages.base import Survey
from i2r.stages.import_checks import ColumnChecks
from i2r.store import files, tables
from i2r.store.arrays import write_embeddings
from i2r.store.catalog import quote_name
from i2r.store.experiment import Experiment
from i2r.store.features import PLACE
from i2r.store.layout import empty_sources

# Where rows wait for their wells' units, below the experiment.
INCOMING = "incoming"
# Rows are kept in memory up to this, then written to their wells.
KEPT_BYTES = 2**28
# The field of rows that name none.
ONE_FIELD = "1"


def survey_table(
    url: str, layout_url: str, *, names: Mapping[str, str], roles: Mapping[str, str]
) -> Survey:
    """Find out which wells a table and a layout have, without reading any feature.

    Parameters
    ----------
    url
        The table, see `i2r.formats.profile_tables.open_profiles`.
    layout_url, names, roles
        The layout, see `i2r.formats.platemaps.read_platemap`.

    Raises
    ------
    InputError
        If both have no plate in common, or a plate of the layout is not in the table.
    """
    table = open_profiles(url)
    places = read_places(table)
    layout = read_platemap(layout_url, columns=names, roles=roles)
    layout, places = match_plates(layout, places, url=url, layout_url=layout_url)
    rows = places.groupby(["plate", "well"], sort=False).size()
    listed = pd.MultiIndex.from_frame(layout[["plate", "well"]])
    notes = [
        f"{table.url}: {len(table.columns.features)} features; "
        f"{len(table.columns.left_out)} other columns are left out"
        + "".join(f" ({name}: {reason}, ...)" for name, reason in table.columns.left_out[:1])
    ]
    extra = rows[~rows.index.isin(listed)]
    if len(extra):
        shown = name_some(["/".join(place) for place in extra.index], 3)
        rows_are = count_words(int(extra.sum()), "row is", "rows are")
        notes.append(
            f"{rows_are} left out, of {count_words(len(extra), 'well')} not in the layout ({shown})"
        )
    empty = layout[~listed.isin(rows.index) & (layout["role"] != "empty").to_numpy()]
    if len(empty):
        shown = name_some([f"{p}/{w}" for p, w in empty[["plate", "well"]].to_numpy()], 3)
        has_none = count_words(len(empty), "well of the layout has", "wells of the layout have")
        notes.append(
            f"{has_none} no row and count{'s' * (len(empty) == 1)} as without nuclei ("
            f"{shown}{', ...' if len(empty) > 3 else ''})"
        )
    if is_one_per_well(places):
        notes.append(f"{table.url}: one row per well, so wells are compared and no nuclei")
    fields = _list_fields(places)
    layout["fields"] = [fields[str(plate)] for plate in layout["plate"]]
    layout["n_fields"] = layout["fields"].map(len)
    layout = layout.assign(
        height_px=0, width_px=0, dtype="uint16", pixel_size_um=float("nan"),
        channels=[[] for _ in range(len(layout))],
    )  # fmt: skip
    return Survey(layout, empty_sources(), tuple(notes))


def _list_fields(places: pd.DataFrame) -> dict[str, list[str]]:
    """List every plate's fields: which fields had no nucleus a table does not say."""
    if "field" not in places:
        return {str(plate): [ONE_FIELD] for plate in pd.unique(places["plate"])}
    return {
        str(plate): sorted(map(str, pd.unique(rows)), key=lambda name: (len(name), name))
        for plate, rows in places.groupby("plate")["field"]
    }


def split_table(
    experiment: Experiment, title: str, table: ProfileTable, keys: Sequence[str]
) -> None:
    """Read a table once, and put the rows of every well where its unit finds them.

    Parameters
    ----------
    experiment, title
        Where the stage of this name keeps them: ``incoming/<stage>/<plate>/<well>/0.parquet`` and
        so on, in the table's order.
    table
        The table.
    keys
        The wells that are wanted.

    Raises
    ------
    InputError
        If a column numbers the table's rows, or is the same for all nuclei of each well: it would
        tell plates and wells apart as no measurement does.
    """
    remove_incoming(experiment.url, title)
    checks = ColumnChecks(table.columns.features, len(keys))
    only = next(iter(experiment.plates)) if len(experiment.plates) == 1 else ""
    number_of = {key: number for number, key in enumerate(keys)}
    kept: dict[str, list[pd.DataFrame]] = {key: [] for key in keys}
    n_bytes, n_written = 0, dict.fromkeys(keys, 0)

    def write() -> None:
        for key, parts in kept.items():
            if parts:
                url = f"{incoming_url(experiment, title, key)}/{n_written[key]}.parquet"
                tables.write_table(url, pd.concat(parts, ignore_index=True))
                n_written[key] += 1
                parts.clear()

    empty: pd.DataFrame | None = None
    for batch in read_batches(table):
        checks.add_rows(batch.values)
        rows = pd.DataFrame(batch.values, columns=list(table.columns.features))
        rows = pd.concat([batch.places.add_prefix("place:"), rows], axis=1)
        empty = rows.iloc[:0] if empty is None else empty
        plates = batch.places["plate"].mask(batch.places["plate"] == "", only)
        codes, places = pd.factorize(plates + "/" + batch.places["well"])
        of_place = np.array([number_of.get(str(place), -1) for place in places])
        number = of_place[codes]
        order = np.argsort(number, kind="stable")
        starts = np.searchsorted(number[order], np.arange(len(keys) + 1))
        for found in np.unique(number[number >= 0]).tolist():
            chosen = order[starts[found] : starts[found + 1]]
            kept[keys[found]].append(rows.iloc[chosen])
            checks.add_well(found, batch.values[chosen])
            n_bytes += chosen.size * 4 * (rows.shape[1] + 8)
        if n_bytes > KEPT_BYTES:
            write()
            n_bytes = 0
    if problem := checks.find_problem():
        remove_incoming(experiment.url, title)
        raise InputError(f"{table.url}: {problem}")
    write()
    for key in (key for key in keys if not n_written[key]):
        assert empty is not None
        tables.write_table(f"{incoming_url(experiment, title, key)}/0.parquet", empty)


def remove_incoming(url: str, title: str) -> None:
    """Remove the rows that waited for a stage's units."""
    files.remove_tree(url, INCOMING, quote_name(title))
    if not files.list_folder(files.join_url(url, INCOMING)):
        files.remove_tree(url, INCOMING)


def describe_matches(experiment: Experiment, title: str, keys: Sequence[str]) -> list[str]:
    """Say how many rows found no nucleus, and how many nuclei no row, where rows were joined."""
    results = [experiment.ledger.result(title, key) or {} for key in keys]
    joined = [result for result in results if "unmatched" in result]
    if not joined:
        return []
    n, lost, bare = (
        sum(int(result[name]) for result in joined)
        for name in ("nuclei", "unmatched", "unmeasured")
    )
    return [f"{n:,} rows are joined to nuclei; {lost:,} rows have none, {bare:,} nuclei no row"]


def incoming_url(experiment: Experiment, title: str, key: str) -> str:
    """Name the folder in which the rows of a well wait."""
    plate, well, _ = experiment.wells[key]
    return experiment.path(INCOMING, quote_name(title), quote_name(plate), well)


def read_incoming(url: str, *, key: str) -> pd.DataFrame:
    """Read the rows that wait for a well.

    Raises
    ------
    I2RError
        If there are none: not even an empty table.
    """
    names = files.list_folder(url)
    if not names:
        raise I2RError(f"{key}: its rows are gone from {url}. Run again: the table is read anew.")
    ordered = sorted(names, key=lambda name: int(name.partition(".")[0]))
    return tables.concatenate([tables.read_table(files.join_url(url, name)) for name in ordered])


def join_well(
    url: str, *, key: str, fields: Sequence[str], segment_url: str, reach_px: float
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Take the rows that wait for a well, and join them to its nuclei where it has any.

    Parameters
    ----------
    url
        The folder in which they wait.
    key
        The well.
    fields
        The fields of the well that are used; rows of others are left out.
    segment_url
        The well's nuclei as i2r found them, which rows are joined to; "" for none.
    reach_px
        How far a row's centroid may be from a nucleus'.

    Returns
    -------
    DataFrame, dict
        plate, well, field, label, crop (the row's number) and the features; and for the ledger
        ``fields``, ``nuclei``, and where rows were joined ``unmatched``: rows without a nucleus,
        ``unmeasured``: nuclei without a row.

    Raises
    ------
    I2RError
        If a nucleus has several rows, or rows don't say which field or nucleus they are from.
    """
    rows = read_incoming(url, key=key)
    plate, _, well = key.rpartition("/")
    places = {str(n).removeprefix("place:"): rows.pop(n) for n in list(rows) if n[:6] == "place:"}
    named = pd.DataFrame({n: places[n] for n in ("field", "nucleus") if n in places})
    if "nucleus" in named and named.duplicated().any():
        raise I2RError(
            f"{key}: a nucleus has several rows in the table, expected one. Tell them apart by a "
            "column 'field', or leave the column of nuclei out."
        )
    result: dict[str, Any] = {}
    field = places["field"] if "field" in places else pd.Series(ONE_FIELD, index=rows.index)
    label = np.arange(1, len(rows) + 1)
    kept = np.ones(len(rows), dtype=bool)
    if segment_url:
        nuclei = tables.read_table(segment_url)
        nuclei = nuclei[nuclei["field"].isin(fields)]
        if "field" not in places and len(fields) == 1:
            field = pd.Series(fields[0], index=rows.index)
        elif "field" not in places:
            raise I2RError(
                f"{key}: the table has no column for the field, and the well has {len(fields)}. "
                "Add 'field' (or Metadata_Site), with the fields' names as in 'segment'."
            )
        label = match_nuclei(field, places, nuclei, reach_px=reach_px, where=key)
        kept = label > 0
        result = {"unmatched": int((~kept).sum()), "unmeasured": len(nuclei) - int(kept.sum())}
    elif "nucleus" in places:
        numbers = pd.to_numeric(places["nucleus"], errors="coerce")
        if numbers.notna().all() and (numbers == np.floor(numbers)).all():
            label = numbers.to_numpy(np.int64)
    place = {"plate": plate, "well": well, "field": field.astype(str), "label": label, "crop": 0}
    made = pd.concat([pd.DataFrame(place, index=rows.index), rows], axis=1)[kept]
    made = made.reset_index(drop=True).assign(crop=np.arange(int(kept.sum())))
    return made, {"fields": len(fields), "nuclei": len(made), **result}


def import_well(url: str, *, part_url: str, **options: Any) -> dict[str, Any]:
    """Write a well's rows as its part of the table of features; see `join_well`."""
    made, result = join_well(url, **options)
    tables.write_table(part_url, made)
    return result


def import_embeddings(
    incoming: str, *, url: str, part_url: str, nuclei: str, **options: Any
) -> dict[str, Any]:
    """Write a well's imported rows as its embeddings, and which nuclei they are of.

    Parameters
    ----------
    incoming
        The folder in which the rows wait.
    url, part_url
        Of the well's embeddings, and of its part of the table of their nuclei.
    nuclei
        The name of that table.
    options
        See `join_well`.
    """
    rows, result = join_well(incoming, **options)
    values = rows.drop(columns=list(PLACE)).to_numpy(dtype=np.float32)
    sound = np.isfinite(values).all(axis=1)
    place = rows.loc[sound, list(PLACE)].assign(crop=np.arange(int(sound.sum())))
    tables.write_table(part_url, place)
    written = write_embeddings(url, values[sound], attributes={"crops": nuclei})
    kept = {"nuclei": len(place), "bytes_out": written, "encoders": [""], "trained_by": ""}
    return result | kept


def match_nuclei(
    field: "pd.Series[str]",
    places: Mapping[str, "pd.Series[Any]"],
    nuclei: pd.DataFrame,
    *,
    reach_px: float,
    where: str,
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Find the label of every row: by its centroid where it has one, or else by its number.

    Centroids come first because another program's numbers are those of its own masks.

    Parameters
    ----------
    field, places
        Of the rows; ``x`` and ``y``, or ``nucleus``.
    nuclei
        The well's nuclei: field, label, centroid_x_px, centroid_y_px.
    reach_px
        The largest distance of centroids.
    where
        The well, for messages.

    Returns
    -------
    ndarray of int64
        0 for rows without a nucleus.

    Raises
    ------
    I2RError
        If rows have neither.
    """
    label = np.zeros(len(field), dtype=np.int64)
    if {"x", "y"} <= set(places):
        points = np.column_stack([places["x"], places["y"]])
        for name, own in nuclei.groupby("field", sort=False):
            rows = np.flatnonzero((field == str(name)).to_numpy())
            known = own[["centroid_x_px", "centroid_y_px"]].to_numpy()
            found = match_points(points[rows], known, reach=reach_px)
            label[rows[found >= 0]] = own["label"].to_numpy()[found[found >= 0]]
        return label
    if "nucleus" not in places:
        raise I2RError(
            f"{where}: the table has no column for the nucleus or its centroid, so rows can't be "
            "joined to nuclei. Add 'nucleus', or 'x' and 'y' in pixels."
        )
    numbers = pd.to_numeric(places["nucleus"], errors="coerce").fillna(0).to_numpy(np.int64)
    keys = set(zip(nuclei["field"].astype(str), nuclei["label"].tolist(), strict=True))
    named = zip(field.astype(str), numbers.tolist(), strict=True)
    return np.array([number if (name, number) in keys else 0 for name, number in named], np.int64)
