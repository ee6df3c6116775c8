"""What an experiment lists: its wells, where everything of them is, and what is done."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa

from i2r.errors import DamageError, InputError
from i2r.store import files, tables
from i2r.store.layout import conditions
from i2r.store.ledger import Ledger
from i2r.store.records import restore_table
from i2r.types import parse_well, unit_key


class WellRecord(NamedTuple):
    """Where a well is, and the names of its fields."""

    plate: str
    well: str
    fields: list[str]


class WellsByKey(Mapping[str, WellRecord]):
    """The wells of a layout by unit key, each made only where asked for.

    Equal names and equal lists are one object: a screen has a million wells and few of them.

    Parameters
    ----------
    layout
        One row per well, with ``plate``, ``well`` and ``fields``.
    """

    def __init__(self, layout: pd.DataFrame) -> None:
        self._plates, self._wells = (_share_names(layout[name]) for name in ("plate", "well"))
        lists: dict[tuple[str, ...], list[str]] = {}
        # By identity first: layouts are read with one object for equal lists.
        given = layout["fields"].tolist()
        same = {
            number: lists.setdefault(tuple(map(str, fields)), list(map(str, fields)))
            for number, fields in {id(fields): fields for fields in given}.items()
        }
        self._fields = [same[id(fields)] for fields in given]
        keys = map(unit_key, self._plates, self._wells)
        self._rows = {key: row for row, key in enumerate(keys)}

    def __getitem__(self, key: str) -> WellRecord:
        row = self._rows[key]
        return WellRecord(self._plates[row], self._wells[row], self._fields[row])

    def fields(self, key: str) -> list[str]:
        """Give the names of a well's fields: quicker than its record."""
        return self._fields[self._rows[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def list_texts(layout: pd.DataFrame, columns: Sequence[str]) -> list[list[Any]]:
    """Give columns row by row as text, NaN for what is missing; the same object for equal ones."""
    shared = [_share(layout[name].astype(str)) for name in columns]
    return [list(row) for row in zip(*shared, strict=True)]


def _share_names(column: "pd.Series[str]") -> list[str]:
    """Give a column's texts, the same object for equal ones."""
    return _share(column, str)


def _share(column: "pd.Series[str]", make: Callable[[Any], Any] = lambda value: value) -> list[Any]:
    codes, values = pd.factorize(column, use_na_sentinel=False)
    made = [make(value) for value in values.tolist()]
    return [made[code] for code in codes.tolist()]


class SourcesByKey(Mapping[str, pd.DataFrame]):
    """The rows of a table of image files by unit key; a table of its own only where asked for.

    Parameters
    ----------
    sources
        One row per image file, with ``plate`` and ``well``.
    """

    def __init__(self, sources: pd.DataFrame) -> None:
        self._sources = sources
        found = sources.groupby(["plate", "well"], sort=False).indices
        places = sorted(found.items(), key=lambda place: int(place[1][0]))
        self._rows = {unit_key(str(p), str(w)): np.sort(rows) for (p, w), rows in places}

    def __getitem__(self, key: str) -> pd.DataFrame:
        return self._sources.iloc[self._rows[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _columns(self) -> pa.Table:
        return tables.to_arrow(self._sources)

    def take(self, key: str) -> pa.Table:
        """Give a well's rows as Arrow holds them: the quickest to send, to list and to write."""
        return self._columns.take(pa.array(self._rows[key]))

    def tabulate(self, key: str, columns: Sequence[str]) -> list[list[Any]]:
        """Give some columns of a well's rows as plain values, without making a table of them."""
        rows = self._rows[key]
        first, number = int(rows[0]), len(rows)
        if int(rows[-1]) - first == number - 1:
            parts = [self._columns[name].slice(first, number) for name in columns]
        else:
            parts = [self._columns[name].take(pa.array(rows)) for name in columns]
        return [list(row) for row in zip(*(part.to_pylist() for part in parts), strict=True)]


class Catalog:
    """Layout, image files, URLs and ledger of an experiment; opens no image and no table.

    Parameters
    ----------
    url
        Where it is: a path or any fsspec URL.
    layout, sources
        The layout and the table of image files of an experiment that is only being planned;
        None reads what the experiment holds.
    """

    def __init__(
        self, url: str, *, layout: pd.DataFrame | None = None, sources: pd.DataFrame | None = None
    ) -> None:
        self.url = files.normalise_url(url)
        self._given = {"layout": layout, "sources": sources}

    # ------------------------------------------------------------------ what it describes

    @cached_property
    def layout(self) -> pd.DataFrame:
        """One row per well: plate, well, perturbation, gene, dose, role, fields, shapes."""
        return self._open("layout")

    @cached_property
    def sources(self) -> pd.DataFrame:
        """One row per image file: plate, well, field, channel, url, size_bytes, mtime_ns."""
        table = self._open("sources")
        # Experiments of earlier versions: every image was as it came from the microscope.
        for name, value in (("problem", ""), ("inverted", False), ("factor", 1.0)):
            if name not in table:
                table = table.assign(**{name: value})
        return table

    def _open(self, name: str) -> pd.DataFrame:
        given = self._given[name]
        if given is not None:
            return given
        try:
            # Arrays in place of lists would be written in another way in fingerprints.
            return tables.read_table_with_lists(self.path(f"{name}.parquet"))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.url}: no experiment here (no {name}.parquet). Make one with "
                "'i2r run PIPELINE EXPERIMENT' or 'i2r convert'."
            ) from error
        except (DamageError, ValueError, KeyError, TypeError) as error:
            raise restore_table(self.url, name) from error

    @cached_property
    def layout_by_key(self) -> pd.DataFrame:
        """The layout with the unit key ``PLATE/B03`` as index and the column ``condition``."""
        keys = self.well_keys
        # The very texts of the keys: in an array of its own every look-up would make them anew.
        index = pd.Index(keys, name="key", dtype=object)
        return self.layout.assign(condition=conditions(self.layout)).set_index(index)

    @cached_property
    def sources_by_key(self) -> SourcesByKey:
        """The image files of each well of the layout, by unit key."""
        return SourcesByKey(self.sources)

    @cached_property
    def given_functions(self) -> Mapping[tuple[str, str], list[str]]:
        """The illumination functions that the source names, by plate and channel."""
        if "illumination" not in self.sources:
            return {}
        named = self.sources[self.sources["illumination"] != ""]
        groups = named.groupby(["plate", "channel"], sort=False)["illumination"]
        return {(str(p), str(c)): sorted(set(urls)) for (p, c), urls in groups}

    @cached_property
    def wells(self) -> WellsByKey:
        """Plate, well and fields by unit key, in the layout's order; quicker than the table."""
        return WellsByKey(self.layout)

    @property
    def well_keys(self) -> list[str]:
        """The units of work of stages that go well by well, in the layout's order."""
        return list(self.wells)

    @cached_property
    def channels(self) -> Mapping[str, list[str]]:
        """The channels of each plate, in the order of its images' first axis."""
        return {
            str(plate): [str(channel) for channel in rows["channels"].iloc[0]]
            for plate, rows in self.layout.groupby("plate", sort=True)
        }

    @cached_property
    def ledger(self) -> Ledger:
        """What is done and what is not."""
        return Ledger(self.path("ledger"))

    def n_fields(self, key: str) -> int:
        """Count the fields of a well that the layout lists."""
        return len(self.wells.fields(key))

    def fields(self, key: str, stages: Iterable[str]) -> list[str]:
        """List the fields of a well that may be used after the given stages.

        Parameters
        ----------
        key
            The well, ``PLATE/B03``.
        stages
            Names of the stages whose exclusions count.
        """
        excluded = set[str]()
        for stage in stages:
            excluded |= set(self.ledger.report(stage, key).excluded)
        return [field for field in self.wells.fields(key) if field not in excluded]

    def tables(self) -> list[str]:
        """List the tables there are."""
        return sorted(files.list_folder(self.path("tables")))

    def networks(self) -> list[str]:
        """List the networks there are."""
        names = files.list_folder(self.path("networks"))
        return [name.removesuffix(".graphml") for name in names if name.endswith(".graphml")]

    # ------------------------------------------------------------------ where things are

    def path(self, *parts: str) -> str:
        """Give the URL of something inside the experiment; parts can't lead out of it."""
        return files.join_url(self.url, *parts)

    def plate_url(self, plate: str) -> str:
        """Give the URL of a plate's OME-Zarr."""
        return self.path("plates", f"{quote_name(plate)}.ome.zarr")

    def image_url(self, key: str, field: str) -> str:
        """Give the URL of a field's image (an OME-Zarr image group)."""
        plate, well, _ = self.wells[key]
        return files.join_url(self.plate_url(plate), *well_path(well), quote_name(field))

    def crops_url(self, name: str, key: str) -> str:
        """Give the URL of a well's crops: one array (nucleus, c, y, x)."""
        plate, well, _ = self.wells[key]
        return self.path("nuclei", name, f"{quote_name(plate)}.zarr", well)

    def illumination_url(self, name: str, plate: str, channel: str) -> str:
        """Give the URL of what a stage knows of the illumination of a plate's channel."""
        return self.path("illumination", name, f"{quote_name(plate)}.zarr", quote_name(channel))

    def embeddings_url(self, name: str, key: str, *, encoder: str = "") -> str:
        """Give the URL of a well's embeddings: one array (nucleus, dim), in the crops' order.

        Stages with several encoders name the one; those with a single encoder name none.
        """
        plate, _, well = key.rpartition("/")
        folder = [quote_name(encoder)] if encoder else []
        return self.path("embeddings", name, *folder, f"{quote_name(plate)}.zarr", well)

    def model_url(self, name: str, key: str) -> str:
        """Give the URL of the network that one unit of a stage trained."""
        return self.path("models", name, *map(quote_name, f"{key}.pt".split("/")))

    def part_url(self, table: str, key: str) -> str:
        """Give the URL of one unit's part of a table."""
        *folders, last = key.split("/")
        return self.path("tables", table, *map(quote_name, folders), f"{quote_name(last)}.parquet")

    def table_url(self, table: str, plate: str = "") -> str:
        """Give the URL of a merged table: one file per plate, or one in all."""
        return self.path("tables", table, f"{quote_name(plate) if plate else 'all'}.parquet")

    def network_url(self, name: str) -> str:
        """Give the URL of a network of genes, a GraphML file."""
        return self.path("networks", f"{quote_name(name)}.graphml")


@lru_cache(maxsize=2048)  # of every field anew, and a screen has few names of wells
def well_path(well: str) -> tuple[str, str]:
    """Give a well's path inside its plate: ``("B", "3")``."""
    parsed = parse_well(well)
    return parsed.row_name, str(parsed.column)


def quote_name(name: str) -> str:
    """Make a path segment of any name: what file systems dislike is percent-encoded."""
    quoted = quote(name, safe=" ()+,@=")
    # A leading dot hides a file and '..' leads out of the experiment; empty names no file.
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted or "%00"
