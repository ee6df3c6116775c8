"""Options of stages that can take a table in place of computing, and their checks."""

from typing import TYPE_CHECKING

from i2r.errors import InputError
from i2r.stages.base import Survey
from i2r.stages.imports import survey_table
from i2r.store.profile_tables import open_profiles

if TYPE_CHECKING:
    from i2r.stages.embed import Embed
    from i2r.stages.features import Features

# Options that say what is imported: `describe_import` stands for them in fingerprints, so that
# those of results that were computed stay as they are.
OF_IMPORT = frozenset(
    {"method", "table", "layout", "layout_names", "layout_roles", "max_distance_um"}
)


def survey_import(stage: "Features | Embed") -> Survey | None:
    """Describe the wells that an import with a layout brings in; None for all else."""
    if stage.method != "import" or not stage.layout:
        return None
    return survey_table(
        name_table(stage), stage.layout, names=stage.layout_names, roles=stage.layout_roles
    )


def name_table(stage: "Features | Embed") -> str:
    """Give the table's place.

    Raises
    ------
    InputError
        If none is named.
    """
    if not stage.table:
        raise InputError(
            f"stage {stage.title!r}: method 'import' needs 'table'. Name a file or folder."
        )
    return stage.table


def list_misplaced(stage: "Features | Embed") -> list[str]:
    """List the options of an import that are given to a stage that computes."""
    return [
        f"stage {stage.title!r}: {name!r} belongs to the method 'import'. Set it, or leave it out."
        for name in ("table", "layout")
        if getattr(stage, name)
    ]


def list_unreadable(stage: "Features | Embed") -> list[str]:
    """Say why the table can't be read, if so."""
    try:
        open_profiles(name_table(stage))
    except InputError as error:
        return [f"stage {stage.title!r}: {error}"]
    return []


def describe_import(stage: "Features | Embed") -> object:
    """Give the table's size and time, and how its rows are joined to nuclei."""
    joined = [] if stage.layout else [stage.max_distance_um]
    return ["import", open_profiles(name_table(stage)).stamp, joined]
