"""An experiment: the folder with everything in it. Locates and opens, never processes."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from i2r.errors import DamageError, InputError
from i2r.store import files, tables
from i2r.store.description import describe_experiment
from i2r.store.documents import read_json
from i2r.store.layout import conditions
from i2r.store.ledger import Ledger
from i2r.store.networks import read_network
from i2r.store.plate import Plate
from i2r.store.records import read_record, restore_table, save_description
from i2r.store.results import open_result, read_result
from i2r.store.source_table import SourcesByKey
from i2r.types import unit_key

if TYPE_CHECKING:
    import dask.dataframe as dd
    import networkx as nx
    import xarray

    from i2r.store.well_profiles import Level

FORMAT_VERSION = 1


class WellRecord(NamedTuple):
    """Where a well is, and the names of its fields."""

    plate: str
    well: str
    fields: list[str]


class Experiment:
    """A folder or object-store prefix with images, labels, crops, tables and the ledger.

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

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an Experiment stays on the client; give tasks its URLs instead")

    def __repr__(self) -> str:
        return describe_experiment(self)

    def reopen(self) -> "Experiment":
        """Open it again, with the ledger as it is now."""
        return Experiment(self.url, layout=self._given["layout"], sources=self._given["sources"])

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
        return self.layout.assign(condition=conditions(self.layout)).set_index(
            pd.Index(keys, name="key")
        )

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
    def wells(self) -> dict[str, WellRecord]:
        """Plate, well and fields by unit key, in the layout's order; quicker than the table."""
        columns = (self.layout[name].tolist() for name in ("plate", "well", "fields"))
        return {
            unit_key(plate, well): WellRecord(str(plate), str(well), list(map(str, fields)))
            for plate, well, fields in zip(*columns, strict=True)
        }

    @property
    def well_keys(self) -> list[str]:
        """The units of work of stages that go well by well, in the layout's order."""
        return list(self.wells)

    @cached_property
    def plates(self) -> dict[str, Plate]:
        """The plates by name."""
        return {
            str(name): Plate(str(name), rows, self)
            for name, rows in self.layout.groupby("plate", sort=True)
        }

    @cached_property
    def ledger(self) -> Ledger:
        """What is done and what is not."""
        return Ledger(self.path("ledger"))

    def locate(self, key: str) -> tuple[Plate, str]:
        """Give the plate and the well that a unit key stands for."""
        plate, well, _ = self.wells[key]
        return self.plates[plate], well

    def n_fields(self, key: str) -> int:
        """Count the fields of a well that the layout lists."""
        return len(self.wells[key].fields)

    def well_bytes(self, key: str) -> int:
        """Give the size of a well's images in memory: all fields and channels."""
        return self.n_fields(key) * self.locate(key)[0].field_bytes()

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
            result = self.ledger.result(stage, key) or {}
            excluded |= set(result.get("excluded", {}))
        return [field for field in self.wells[key].fields if field not in excluded]

    def last_run(self) -> dict[str, Any] | None:
        """Read the record of the latest run; None before the first."""
        urls = self.list_records()
        if not urls:
            return None
        return read_record(urls[-1])

    def list_records(self) -> list[str]:
        """List the URLs of the records of all runs, oldest first."""
        folder = self.path("runs")
        # Performance reports lie beside them, and perhaps somebody's notes.
        names = [n for n in files.list_folder(folder) if re.fullmatch(r"[0-9]{1,9}\.json", n)]
        return [files.join_url(folder, name) for name in names]

    def last_pipeline(self) -> dict[str, Any] | None:
        """Read the pipeline of the latest run, as plain values; None before the first."""
        record = self.last_run()
        return None if record is None else record["pipeline"]

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
        return files.join_url(self.plate_url(plate), *Plate.path_of(well), quote_name(field))

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
        plate, well, _ = self.wells[key]
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

    # ------------------------------------------------------------------ what it holds

    def tables(self) -> list[str]:
        """List the tables there are."""
        return sorted(files.list_folder(self.path("tables")))

    def table(self, name: str, *, columns: list[str] | None = None) -> pd.DataFrame:
        """Read a result table whole.

        It is read from its merged files where the stage is complete, otherwise from the parts of
        the units that are done: never from what is half-written.

        Parameters
        ----------
        name
            The stage's name, or the name of another table it makes.
        columns
            Only these columns.

        Raises
        ------
        InputError
            If there is no such table.
        """
        return read_result(self, name, columns=columns)

    def lazy_table(self, name: str, *, columns: list[str] | None = None) -> "dd.DataFrame":
        """Open a result table as a dask dataframe, a partition per plate; see `table`."""
        return open_result(self, name, columns=columns)

    def networks(self) -> list[str]:
        """List the networks there are."""
        names = files.list_folder(self.path("networks"))
        return [name.removesuffix(".graphml") for name in names if name.endswith(".graphml")]

    def network(self, name: str) -> "nx.Graph":
        """Read a network of genes: nodes with ``prize`` and ``terminal``, edges with ``cost``.

        Parameters
        ----------
        name
            The stage's name, or the name of another network it makes.

        Raises
        ------
        InputError
            If there is no such network.
        """
        url = self.network_url(name)
        if not files.exists(url):
            known = ", ".join(self.networks()) or "none yet"
            raise InputError(
                f"{self.url}: no network {name!r}; there are: {known}. Name one of them."
            )
        return read_network(url)

    def crops(self, name: str = "crop") -> "xarray.Dataset":
        """Open the crops that a stage cut; see `i2r.store.crops.open_crops`."""
        from i2r.store.crops import open_crops  # as for embeddings

        return open_crops(self, name)

    def embeddings(self, name: str, *, encoder: str = "") -> "xarray.Dataset":
        """Open the embeddings that a stage made; see `i2r.store.embeddings.open_embeddings`."""
        from i2r.store.embeddings import open_embeddings  # xarray takes half a second

        return open_embeddings(self, name, encoder=encoder)

    def profiles(self, by: "Level" = "well", **options: Any) -> pd.DataFrame:
        """Average features by well, condition or gene; see `i2r.store.well_profiles`.

        Options are those of `make_profiles`: source, aggregate and normalise.
        """
        from i2r.store.well_profiles import make_profiles

        return make_profiles(self, by=by, **options)

    def digest_description(self) -> str:
        """Identify the layout and the source table that are stored; empty where none are."""
        urls = [self.path(f"{name}.parquet") for name in self._given]
        if not all(files.exists(url) for url in urls):
            return ""
        return sha256(b"".join(sha256(files.read_bytes(url)).digest() for url in urls)).hexdigest()

    def save_description(self) -> None:
        """Write ``experiment.json``, the layout and the source table where they changed."""
        save_description(self.url, FORMAT_VERSION, self._given)


def open_experiment(url: str) -> Experiment:
    """Open an existing experiment.

    Raises
    ------
    InputError
        If there is none, or if a newer i2r made it.
    """
    experiment = Experiment(url)
    try:
        version = int(read_json(experiment.path("experiment.json"))["version"])
    except FileNotFoundError as error:
        inside = experiment.path("experiment")  # what 'i2r init' proposes
        hint = f" Did you mean {inside}?" if has_experiment(inside) else ""
        raise InputError(
            f"{experiment.url}: no experiment here (no experiment.json). "
            f"Make one with 'i2r run PIPELINE EXPERIMENT'.{hint}"
        ) from error
    except PermissionError as error:
        raise InputError(
            f"{experiment.url}: can't be read ({error.strerror}), expected an experiment. Ask for "
            "the permission."
        ) from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{experiment.url}: experiment.json is damaged. Restore it.") from error
    if version > FORMAT_VERSION:
        raise InputError(
            f"{experiment.url}: made by a newer i2r (format {version}, this one reads "
            f"{FORMAT_VERSION}). Update i2r."
        )
    return experiment


def has_experiment(url: str) -> bool:
    """Tell whether there is an experiment at a place."""
    return files.exists(files.join_url(files.normalise_url(url), "experiment.json"))


def check_target(url: str) -> None:
    """Refuse to make an experiment where something else already is.

    Raises
    ------
    InputError
        If the place is a file, or holds anything but an experiment.
    """
    url = files.normalise_url(url)
    names = files.list_folder(url)
    # A run that was stopped right after it took its lock leaves nothing else.
    if not files.exists(files.join_url(url, "experiment.json")) and set(names) - {"run.lock"}:
        raise InputError(
            f"{url}: not empty and no i2r experiment (found {', '.join(sorted(names)[:3])}). "
            "Name a new folder."
        )


def quote_name(name: str) -> str:
    """Make a path segment of any name: what file systems dislike is percent-encoded."""
    quoted = quote(name, safe=" ()+,@=")
    # A leading dot hides a file and '..' leads out of the experiment; empty names no file.
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted or "%00"
