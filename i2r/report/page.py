"""The page: sections found by path, drawn one after another, put into one file."""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import ModuleType
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from i2r.extensions import find_points
from i2r.report import html
from i2r.report.source import ReportSource
from i2r.store import files


class Page(NamedTuple):
    """The finished report.

    Attributes
    ----------
    content
        The file.
    problems
        Sections that could not be drawn, and why.
    sections
        Anchor, title and HTML of each section.
    tables
        Anchor, name and rows of what figures show and no table of the page has.
    """

    content: str
    problems: dict[str, Exception]
    sections: Sequence[tuple[str, str, str]] = ()
    tables: Sequence[tuple[str, str, pd.DataFrame]] = ()


def find_sections() -> list[ModuleType]:
    """Import i2r's sections and those of other packages, in the order in which they are shown."""
    package = importlib.import_module("i2r.report.sections")
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    modules += [point.load() for point in find_points("i2r.sections")]
    return sorted(modules, key=lambda module: (module.ORDER, module.__name__))


def make_page(source: ReportSource, *, heading: str = "", now: datetime | None = None) -> Page:
    """Draw the whole report.

    A section that fails leaves a note in its place: the others are worth having.

    Parameters
    ----------
    source
        The experiment.
    heading
        Title of the report; default: the experiment's name.
    now
        Time to put on it.
    """
    problems: dict[str, Exception] = {}
    behind: list[tuple[str, str, pd.DataFrame]] = []
    sections = list(_draw_sections(source, problems, behind))
    content = html.page(
        sections,
        made_by="i2r report",
        heading=heading or source.experiment.url.rpartition("/")[2],
        source=files.without_secrets(source.experiment.url),
        description=source.description,
        now=now,
    )
    return Page(content, problems, sections, behind)


def _draw_sections(
    source: ReportSource,
    problems: dict[str, Exception],
    behind: list[tuple[str, str, pd.DataFrame]],
) -> Iterator[tuple[str, str, Markup]]:
    """Draw one section after another: anchor, title and HTML of those that have something."""
    for module in find_sections():
        name = module.__name__.rpartition(".")[2]
        try:
            body = module.draw(source)
            if body is not None and hasattr(module, "list_tables"):
                behind += [(name, words, table) for words, table in module.list_tables(source)]
        except Exception as error:  # whatever it is, the other sections stay
            problems[name] = error
            body = html.fill(
                '<p class="warning">This section could not be drawn: {{ kind }}: {{ error }}</p>',
                kind=type(error).__name__, error=str(error),
            )  # fmt: skip
        if body is not None:
            yield name, module.TITLE, Markup(body)
