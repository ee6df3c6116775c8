"""An experiment in a few lines, for people: what is in it, without reading any of it."""

from collections.abc import Iterator

from i2r.errors import InputError
from i2r.store import files
from i2r.store.catalog import Catalog

_SHOWN = 8


def describe_experiment(experiment: Catalog) -> str:
    """Say what an experiment holds: only its layout is read, folders are listed."""
    lines = [f"Experiment {files.without_secrets(experiment.url)}"]
    for name, value in _find_contents(experiment):
        lines.append(f"  {name:<11}{value}")
    return "\n".join(lines)


def _find_contents(experiment: Catalog) -> Iterator[tuple[str, str]]:
    try:
        layout = experiment.layout
    except InputError:
        yield "layout", "none yet"
        return
    if len(layout):
        plates = list(experiment.channels)
        fields = int(layout["n_fields"].sum()) if "n_fields" in layout else 0
        yield "plates", _shorten(plates)
        yield (
            "wells",
            f"{len(layout)}, {fields} fields, "
            + ", ".join(
                f"{number} {role}" for role, number in layout["role"].value_counts().items()
            ),
        )
        channels = [c for names in experiment.channels.values() for c in names]
        yield "channels", _shorten(list(dict.fromkeys(channels)))
    for name, found in (
        ("tables", experiment.tables()),
        ("crops", files.list_folder(experiment.path("nuclei"))),
        ("embeddings", files.list_folder(experiment.path("embeddings"))),
        ("networks", experiment.networks()),
    ):
        if found:
            yield name, _shorten(found)


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
