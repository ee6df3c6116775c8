"""HTML made from templates: every value is escaped, numbers are written for people."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.errors import count_words

MISSING = "\N{EN DASH}"
# Letters that a column of text has room for before its words are broken into lines.
MIN_WIDTH = 24
ROLE_NAMES = {
    "treated": "treated",
    "positive_control": "positive control",
    "negative_control": "negative control",
    "control_draw": "control draw",
    "empty": "empty",
}


def render(name: str, **values: Any) -> Markup:
    """Fill a template of ``i2r/report/templates``.

    Raises
    ------
    jinja2.UndefinedError
        If the template names a value that was not given.
    """
    return Markup(_environment().get_template(name).render(**values))


def fill(text: str, **values: Any) -> Markup:
    """Fill a template given as text; see `render`."""
    return Markup(_environment().from_string(text).render(**values))


def page(
    sections: Sequence[tuple[str, str, Markup]],
    *,
    made_by: str,
    heading: str,
    source: str,
    description: str = "",
    now: datetime | None = None,
) -> str:
    """Make one self-contained page.

    Parameters
    ----------
    sections
        Anchor, title and HTML of each.
    made_by
        The command that makes the page.
    heading
        Its title.
    source
        What it is about: a URL or folder.
    description
        A line below the title.
    now
        Time to put on it.
    """
    script = read_text("script.js")
    return str(
        render(
            "page.html",
            made_by=made_by,
            heading=heading,
            description=description,
            url=source,
            made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
            sections=sections,
            style=Markup(read_text("style.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def table(
    frame: pd.DataFrame,
    caption: str,
    *,
    bars: Collection[str] = (),
    whole: float | None = None,
    scores: Collection[str] = (),
) -> Markup:
    """Make a table that readers can sort by clicking on a heading.

    Parameters
    ----------
    frame
        Column names are the headings; the index is not shown. Numbers are written with
        `number`, missing values as a dash.
    caption
        What the rows are, and the units of the columns.
    bars
        Numeric columns with a bar behind each value.
    whole
        The value of a full bar; default: the largest of the column.
    scores
        Numeric columns that are written with `score`.
    """
    numeric = [bool(pd.api.types.is_numeric_dtype(frame[name])) for name in frame]
    full = {name: float(frame[name].max()) if whole is None else whole for name in bars}
    widths = [
        0 if is_number else min(MIN_WIDTH, _longest(frame[name]))
        for name, is_number in zip(frame.columns, numeric, strict=True)
    ]
    write = {name: score if name in scores else number for name in frame}
    rows = [
        [
            (write[name](value), value, _share(value, full.get(name)))
            if is_number
            else (value, "", None)
            for name, value, is_number in zip(frame.columns, row, numeric, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]  # fmt: skip
    return render(
        "table.html", headings=list(zip(frame.columns, numeric, widths, strict=True)), rows=rows,
        caption=caption, label=describe(caption),
    )  # fmt: skip


def describe(caption: str) -> str:
    """Say what a table is: how its caption begins."""
    return re.split("[.:;?(]", caption, maxsplit=1)[0].strip()


def _longest(cells: pd.Series) -> int:
    """Count the letters of a column's longest text."""
    return max((len(str(cell)) for cell in cells), default=0)


def _share(value: Any, full: float | None) -> float | None:
    """Give a value's part of a full bar in percent; None for columns without bars."""
    if full is None or not full > 0 or not value > 0:
        return None
    return round(100 * float(value) / full, 1)


def number(value: float | int | None, digits: int = 3) -> str:
    """Write a number: whole ones in full with separators, others to three significant digits."""
    if value is None or not np.isfinite(value):
        return MISSING
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def score(value: float) -> str:
    """Write a score, always with three decimals."""
    return f"{value:.3f}" if np.isfinite(value) else MISSING


def percent(share: float, digits: int = 0) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f} %" if np.isfinite(share) else MISSING


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Write a file into the page itself."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def read_text(name: str) -> str:
    """Read a style sheet or script that goes into the page."""
    return (resources.files("i2r.report") / "templates" / name).read_text(encoding="utf-8")


def script_hash(text: str) -> str:
    """Give the digest by which the page's policy allows this script and no other."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_load), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, score=score, plural=count_words)
    environment.globals["role_names"] = ROLE_NAMES
    return environment


def _load(name: str) -> tuple[str, None, None]:
    return read_text(name), None, None
