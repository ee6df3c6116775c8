"""The method 'import' of several stages: a table that another program made."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from i2r.errors import InputError
from i2r.formats.profile_tables import open_profiles
from i2r.stages.base import Stage, Survey
from i2r.stages.imports import split_table, survey_table
from i2r.store.experiment import Experiment


class Importing(Stage):
    """What the method 'import' adds to a stage."""

    table: str | None = Field(
        None,
        description="Table: CSV, TSV, Parquet or h5ad, or a folder of them; "
        "or DeepProfiler's folder of .npz",
        json_schema_extra={"path": True},
    )
    layout: str | None = Field(
        None,
        description="Layout for an import without images: CSV table of every well, as for "
        "'convert'",
        json_schema_extra={"path": True},
    )
    layout_names: dict[str, str] = Field(
        {}, description="For a layout with columns of its own: its columns by i2r's names"
    )
    layout_roles: dict[str, str] = Field(
        {}, description="Roles by the values of the layout's column role; * stands for all others"
    )
    max_distance_um: float = Field(
        3.0, gt=0, description="Largest distance of an imported centroid from its nucleus"
    )

    # `external_files` stands for them in fingerprints, so that those of results that were computed
    # stay as they are.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"method", "table", "layout", "layout_names", "layout_roles", "max_distance_um"}
    )

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """Nuclei to join its rows to, or nothing where it names a layout."""
        return {} if self.layout else {"convert": True, "quality": False, "segment": True}

    def survey(self) -> Survey | None:
        """Describe the wells that an import with a layout brings in."""
        if not self.layout:
            return None
        return survey_table(
            self.name_table(), self.layout, names=self.layout_names, roles=self.layout_roles
        )

    def begin(self, experiment: Experiment, keys: Sequence[str]) -> None:
        """Read an imported table once, and put the rows of each well where its unit finds them."""
        split_table(experiment, self.title, open_profiles(self.name_table()), keys)

    def name_table(self) -> str:
        """Give the table's place.

        Raises
        ------
        InputError
            If none is named.
        """
        if not self.table:
            raise InputError(
                f"stage {self.title!r}: method 'import' needs 'table'. Name a file or folder."
            )
        return self.table

    def list_unreadable(self) -> list[str]:
        """Say why the table can't be read, if so."""
        try:
            open_profiles(self.name_table())
        except InputError as error:
            return [f"stage {self.title!r}: {error}"]
        return []

    def external_files(self, experiment: Experiment) -> object:
        """Give the table's size and time, and how its rows are joined to nuclei."""
        joined = [] if self.layout else [self.max_distance_um]
        return ["import", open_profiles(self.name_table()).stamp, joined]
