"""The report's figures and tables as files: for talks, papers, and other programs."""

import csv
import io
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from html import unescape
from html.parser import HTMLParser
from typing import NamedTuple

import pandas as pd

from i2r.report.html import describe, read_text

_SVG = re.compile(r"<svg\b(?P<head>[^>]*)>(?P<body>.*?)</svg>", re.S)
_PICTURE = re.compile(r'<img\b[^>]*?src="data:image/png;base64,(?P<data>[^"]+)"[^>]*>', re.S)
_NAME = re.compile(r'(?:aria-label|alt)="([^"]*)"')
_TABLE = re.compile(
    r'(<table class="sortable">.*?</table>)(?:\s*</div>\s*<figcaption>(?P<caption>[^<]*))?', re.S
)
# The rules of the style sheet that reach into drawings.
_RULES = re.compile(r"^(?:text|\.[\w-]+|svg)[^{]*\{[^}]*\}", re.M)
# As long as file systems and people take easily, without the number in front.
_LONGEST = 60


class File(NamedTuple):
    """A file of the folder ``report``: its path there, and what is in it."""

    path: str
    data: bytes


def list_files(
    sections: Sequence[tuple[str, str, str]],
    tables: Sequence[tuple[str, str, pd.DataFrame]] = (),
) -> Iterator[File]:
    """Take the figures and tables out of the sections of a page.

    Parameters
    ----------
    sections
        Anchor, title and HTML of each.
    tables
        Anchor, name and rows of more tables, which the page does not show.

    Yields
    ------
    File
        ``SECTION/01-what-it-shows.svg`` for drawings, ``.png`` for pictures and ``.csv`` for
        tables, which hold numbers as they are, not as they are written for people. Drawings of
        the page are told apart by their order, so a name can change when a section does. Tables
        behind figures are ``SECTION/NAME.csv``.
    """
    for anchor, name, frame in tables:
        yield File(f"{anchor}/{_plain(name)}.csv", frame.to_csv(index=False).encode())
    style = "\n".join(_RULES.findall(read_text("style.css")))
    for anchor, _, body in sections:
        found = sorted(
            [(match.start(), "svg", match) for match in _SVG.finditer(body)]
            + [(match.start(), "png", match) for match in _PICTURE.finditer(body)]
            + [(match.start(), "csv", match) for match in _TABLE.finditer(body)],
            key=lambda item: item[0],
        )
        for number, (_, kind, match) in enumerate(found, start=1):
            if kind == "svg":
                data = _write_drawing(match["head"], match["body"], style)
            elif kind == "png":
                data = b64decode(match["data"])
            else:
                data = _write_table(match[1])
            words = _name(match, kind)
            yield File(f"{anchor}/{number:02d}-{_plain(words)}.{kind}", data)


def _name(match: re.Match[str], kind: str) -> str:
    """Say what a figure or table shows: its description, or how its caption begins."""
    if kind == "csv":
        return describe(unescape(match["caption"] or "table"))
    described = _NAME.search(match[0].partition(">")[0])
    return described[1] if described else "figure"


def _plain(words: str) -> str:
    """Make a name of words: small letters, digits, and a dash for everything else."""
    plain = re.sub(r"[^a-z0-9]+", "-", re.sub(r"&[#\w]+;", " ", words.lower())).strip("-")
    return plain[:_LONGEST].rstrip("-") or "figure"


def _write_drawing(head: str, body: str, style: str) -> bytes:
    """Make a drawing that stands alone: its namespace, its style, and a white ground."""
    font = "font-family: system-ui, sans-serif"
    ground = '<rect x="-1%" y="-1%" width="102%" height="102%" fill="#fff"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg"{head}>'
        f"<style>text {{ {font}; fill: #1d2430 }}\n{style}</style>{ground}{body}</svg>\n"
    ).encode()


def _write_table(text: str) -> bytes:
    """Write a table of the page as CSV."""
    reader = _TableReader()
    reader.feed(text)
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(reader.rows)
    return buffer.getvalue().encode()


class _TableReader(HTMLParser):
    """Collects the cells of a table; a number's own value counts, not how it is written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell, self._value = [], dict(attrs).get("data-value")

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            written = "".join(self._cell).strip()
            value = written if self._value is None else self._value
            self.rows[-1].append("" if value in ("nan", "None") else value)
            self._cell = None
