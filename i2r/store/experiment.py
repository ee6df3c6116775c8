"""An experiment: the folder with everything in it. Locates and opens, never processes."""

import re
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pandas as pd

from i2r.errors import InputError
from i2r.store import files
from i2r.store.catalog import Catalog
from i2r.store.description import describe_experiment
from i2r.store.documents import read_json
from i2r.store.networks import read_network
from i2r.store.plate import Plate
from i2r.store.records import read_record, save_description
from i2r.store.results import open_result, read_result
from i2r.store.tables import encode_table, holds_table

if TYPE_CHECKING:
    import dask.dataframe as dd
    import networkx as nx
    import xarray

    from i2r.store.well_profiles import Level

FORMAT_VERSION = 1


class Experiment(Catalog):
    """A folder or object-store prefix with images, labels, crops, tables and the ledger.

    Parameters
    ----------
    url
        Where it is: a path or any fsspec URL.
    layout, sources
        The layout and the table of image files of an experiment that is only being planned;
        None reads what the experiment holds.
    """

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an Experiment stays on the client; give tasks its URLs instead")

    def __repr__(self) -> str:
        return describe_experiment(self)

    def reopen(self) -> "Experiment":
        """Open it again, with the ledger as it is now."""
        again = Experiment(self.url, layout=self._given["layout"], sources=self._given["sources"])
        made = [name for name in ("layout", "wells", "layout_by_key") if name in vars(self)]
        is_given = self._given["layout"] is not None
        if made and (is_given or again.layout.equals(self.layout)):
            # What was made of the same layout stays, and so does what was planned from it.
            again.__dict__ |= {name: vars(self)[name] for name in made}
        return again

    @cached_property
    def plates(self) -> dict[str, Plate]:
        """The plates by name."""
        return {
            str(name): Plate(str(name), rows, self)
            for name, rows in sorted(self.layout.groupby("plate").indices.items())
        }

    def locate(self, key: str) -> tuple[Plate, str]:
        """Give the plate and the well that a unit key stands for."""
        plate, well, _ = self.wells[key]
        return self.plates[plate], well

    def well_bytes(self, key: str) -> int:
        """Give the size of a well's images in memory: all fields and channels."""
        return self.n_fields(key) * self.locate(key)[0].field_bytes()

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

    # ------------------------------------------------------------------ what it holds

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

    def is_described(self) -> bool:
        """Tell whether the layout and the source table, where given, are those that are stored."""
        for name, digest in self._given_digests.items():
            url = self.path(f"{name}.parquet")
            if not files.exists(url):
                return False
            if sha256(files.read_bytes(url)).digest() != digest:
                # An earlier release may have encoded the same values in another way.
                given = self._given[name]
                if given is None or not holds_table(url, given):
                    return False
        return True

    @cached_property
    def _given_digests(self) -> dict[str, bytes]:
        """Digests of the tables that were given, as they would be stored."""
        return {
            name: sha256(encode_table(given)).digest()
            for name, given in self._given.items()
            if given is not None
        }

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
