"""Expression of cell lines: DepMap's tables, GCT, the Human Protein Atlas, and plain tables."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store.frames import read_columns, read_text, to_numbers
from i2r.store.given_names import is_mangled
from i2r.store.text import is_missing, unquote
from i2r.store.vocabulary import tabulate_translations, translate

# Columns that name the gene of a row, folded; the first that is there counts.
_SYMBOLS = ("symbol", "gene_symbol", "hgnc_symbol", "gene_name", "genesymbol", "pr_gene_symbol")
# Columns of DepMap's tables before the genes.
_LINE_COLUMN = re.compile(
    r"(Unnamed: \d+|.*ID|IsDefault\w*|.*Name|line|lineage\w*|depmap_id|cell_line\w*)", re.IGNORECASE
)
_GCT = ("#1.2", "#1.3")
_DEFAULT = "isdefaultentryformodel"


class Panel(NamedTuple):
    """Expression of cell lines.

    Attributes
    ----------
    lines, genes
        Names; genes are symbols in upper case.
    values : (line, gene) float64
        Expression.
    dropped
        What was left out: symbol, reason.
    other_names
        What else each line is called, such as DepMap's ModelID; aligned, or empty.
    notes
        What to tell the user of how it was read.
    """

    lines: list[str]
    genes: list[str]
    values: npt.NDArray[np.float64]
    dropped: pd.DataFrame
    other_names: Sequence[tuple[str, ...]] = ()
    notes: tuple[str, ...] = ()


class _Raw(NamedTuple):
    """A panel as its file has it: lines by their names, genes, (line, gene) values."""

    lines: Sequence[tuple[str, ...]]
    genes: list[str]
    values: npt.NDArray[np.float64]
    note: str = ""


def read_panel(
    url: str,
    symbols: Mapping[str, str] | None = None,
    *,
    known: Collection[str] = (),
    log: list[pd.DataFrame] | None = None,
) -> Panel:
    """Read the expression of lines.

    Parameters
    ----------
    url
        DepMap's table: lines by genes, of whose names the first word counts (``TP53 (7157)``),
        with one or more columns that name the line before them. Or genes by lines: with a column
        ``symbol``; as GCT (version 1.2 or 1.3); or, where the genes in ``known`` are in the first
        column and not in the header, without one. Or the Human Protein Atlas's list: gene name,
        cell line and nTPM. Of several rows of one symbol the first counts.
    symbols
        From `i2r.store.vocabulary.read_symbols`.
    known
        Symbols of the network, to tell genes from lines.
    log
        Takes the table of names that were translated.

    Raises
    ------
    InputError
        If there are no lines or no genes in it.
    """
    if url.lower().removesuffix(".gz").endswith(".gct"):
        raw = _read_gct(url)
    else:
        raw = _read_table(url, symbols, frozenset(known))
    if log is not None:
        log.append(tabulate_translations(raw.genes, symbols, table="expression"))
    genes, kept, dropped = clean_symbols(raw.genes, symbols)
    values = raw.values[:, kept]
    holes: npt.NDArray[np.bool_] = np.asarray(~np.isfinite(values).all(axis=0))
    dropped += [(genes[i], "expression is missing") for i in np.flatnonzero(holes)]
    if not len(raw.lines) or holes.all():
        raise InputError(
            f"expression {url}: {len(raw.lines)} lines with {len(genes)} genes, none of them "
            "complete. Give lines by genes, or genes by lines with a column 'symbol'."
        )
    return Panel(
        [_name_line(names, row)
         for row, names in enumerate(raw.lines)],
        [name for name, hole in zip(genes, holes, strict=True) if not hole],
        np.ascontiguousarray(values[:, ~holes]),
        pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str),
        raw.lines,
        (raw.note,) if raw.note else (),
    )  # fmt: skip


def _name_line(names: tuple[str, ...], row: int) -> str:
    """Give the name of a line that is not a number, such as the index that pandas wrote."""
    worded = (name for name in names if name and not name.isdecimal())
    return next(worded, next((name for name in names if name), f"row {row + 1}"))


def _read_table(url: str, symbols: Mapping[str, str] | None, known: frozenset[str]) -> _Raw:
    header, table = read_columns(url, keep_marks=True)
    if header[0] in _GCT:
        return _read_gct(url)
    folded = [re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_") for name in header]
    atlas = {"gene_name", "cell_line"} <= set(folded)
    value = next((n for n in ("ntpm", "tpm", "ptpm") if n in folded), "")
    if atlas and value:
        taken = table.iloc[:, [folded.index(n) for n in ("gene_name", "cell_line", value)]]
        return _pivot(taken.set_axis(["gene", "line", "value"], axis=1), value)
    symbol = next((folded.index(name) for name in _SYMBOLS if name in folded), None)
    if symbol is not None:
        names = table.iloc[:, symbol]
        numbers = to_numbers(table.drop(columns=table.columns[symbol]))
        lines = [name for at, name in enumerate(header) if at != symbol]
        filled = ~np.isnan(numbers).all(axis=0)
        # A column of NCBI's numbers beside the symbols is not a line.
        filled &= ~np.array([n.lower() in ("entrez_id", "entrez", "id", "geneid") for n in lines])
        genes = ["" if pd.isna(name) else str(name) for name in names]
        return _Raw([(n,) for n, yes in zip(lines, filled, strict=True) if yes], genes,
                    numbers[:, filled].T)  # fmt: skip
    first_words = [_first_word(name) for name in header]
    rows = ["" if pd.isna(v) else str(v) for v in table.iloc[:, 0]]
    across = sum(translate(name, symbols) in known for name in first_words[1:])
    down = sum(translate(_first_word(name), symbols) in known for name in rows)
    if down > across:
        note = f"expression {url}: genes are in the first column, read as genes by lines"
        return _Raw([(n,) for n in header[1:]], [_first_word(n) for n in rows],
                    to_numbers(table.iloc[:, 1:]).T, note)  # fmt: skip
    n_names = 1
    while n_names < len(header) and _LINE_COLUMN.fullmatch(str(header[n_names])):
        n_names += 1
    if _DEFAULT in folded[:n_names]:
        default = table.iloc[:, folded.index(_DEFAULT)].astype(str).str.lower()
        if default.isin(["yes", "true", "1"]).any():
            table = table[default.isin(["yes", "true", "1"])]
    named = [at for at in range(n_names) if not folded[at].startswith("isdefault")]
    names_of = table.iloc[:, named].astype(object).where(table.iloc[:, named].notna(), "")
    lines_of = [tuple(map(str, row)) for row in names_of.to_numpy().tolist()]
    return _Raw(lines_of, first_words[n_names:], to_numbers(table.iloc[:, n_names:]))


def _first_word(name: str) -> str:
    return str(name).strip().split(" ")[0]


def _pivot(table: pd.DataFrame, value: str) -> _Raw:
    """Make lines by genes of a list of gene, line and value."""
    table = table.dropna(subset=["gene", "line"])
    wide = table.pivot_table(index="line", columns="gene", values="value", aggfunc="max")
    lines = [(str(name),) for name in wide.index]
    return _Raw(lines, [str(name) for name in wide.columns], wide.to_numpy(dtype=np.float64))


def _read_gct(url: str) -> _Raw:
    """Read GCT: two lines of version and size, then genes by samples with descriptions.

    https://clue.io/connectopedia/gct_format (1.3), and its older version 1.2 of the Broad.
    """
    lines = read_text(url).splitlines()
    version = lines[0].strip() if lines else ""
    try:
        sizes = [int(word) for word in lines[1].split()]
        rows = [line.split("\t") for line in lines[2:] if line.strip()]
        header = [cell.strip().strip('"') for cell in rows[0]]
        n_described = sizes[2] + 1 if version == "#1.3" else 2
        n_meta = sizes[3] if version == "#1.3" else 0
        body = rows[1 + n_meta :]
        if version not in _GCT or len(body) != sizes[0]:
            raise ValueError(f"{len(body)} rows after {version!r}, its second line says {sizes[0]}")
        if short := next((n for n, row in enumerate(body, 1) if len(row) != len(header)), 0):
            raise ValueError(f"its row {short} has {len(body[short - 1])} cells of {len(header)}")
        described = [_fold(name) for name in header[:n_described]]
        at = next((described.index(n) for n in _SYMBOLS if n in described), None)
        if at is None:
            # Version 1.2 has the symbol in 'Description', beside an identifier.
            at = (
                1
                if version == "#1.2" and any(row[1].strip() not in ("", "na") for row in body)
                else 0
            )
        genes = [row[at].strip().strip('"') for row in body]
        numbers = to_numbers(pd.DataFrame([row[n_described:] for row in body], dtype=object))
        samples: list[tuple[str, ...]] = [(name,) for name in header[n_described:]]
        for row in rows[1 : 1 + n_meta]:
            cells = [cell.strip().strip('"') for cell in row[n_described:]]
            samples = [(*s, c) for s, c in zip(samples, cells, strict=True)]
        if numbers.shape[1] != len(samples):
            raise ValueError(f"{numbers.shape[1]} columns of numbers for {len(samples)} samples")
    except (ValueError, IndexError) as error:
        raise InputError(
            f"expression {url}: no GCT ({error}), expected '#1.2' or '#1.3', the sizes, and genes "
            "by samples. Export it again."
        ) from error
    return _Raw(samples, genes, numbers.T)


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def clean_symbols(
    names: list[str], symbols: Mapping[str, str] | None = None
) -> tuple[list[str], list[int], list[tuple[str, str]]]:
    """Put symbols in upper case and keep the first of each.

    Parameters
    ----------
    names
        As the table has them; words for 'missing' name nothing, unless they were in quotes there
        (see `i2r.store.text.QUOTED`).
    symbols
        From `i2r.store.vocabulary.read_symbols`.

    Returns
    -------
    symbols, kept
        The symbols, and where each was.
    dropped
        The others, with the reason.
    """
    seen, kept, dropped = dict[str, int](), list[int](), list[tuple[str, str]]()
    for at, given in enumerate(names):
        name = unquote(given.strip())
        symbol = "" if is_missing(given.strip()) or is_mangled(name) else translate(name, symbols)
        if not symbol:
            reason = (
                "a date, not a symbol: a spreadsheet has changed it"
                if is_mangled(name)
                else "no symbol"
            )
            dropped.append((name or f"row {at + 1}", reason))
        elif symbol in seen:
            dropped.append((symbol, "listed before"))
        else:
            seen[symbol] = at
            kept.append(at)
    return list(seen), kept, dropped


def read_line_names(url: str) -> list[tuple[str, ...]]:
    """Read what lines are called from a table such as DepMap's sample_info or Model.

    Returns
    -------
    list of tuple of str
        One per row: all of its cells but empty ones.

    Raises
    ------
    InputError
        If there is no such file, or it is not a table.
    """
    _, table = read_columns(url, as_text=True)
    rows = table.to_numpy(dtype=object).tolist()
    return [tuple(name for cell in row if (name := str(cell).strip())) for row in rows]


def choose_line(
    panel: Panel, line: str, *, url: str, known_names: Sequence[tuple[str, ...]] = ()
) -> int:
    """Find a line by any of its names; spaces, dashes and case do not matter.

    Parameters
    ----------
    known_names
        From `read_line_names`: a row that has the name has the others of that line too, such as
        the identifier that the panel has.

    Raises
    ------
    InputError
        If there is none of that name, or several are.
    """
    wanted = {_plain(line)}
    rows = [{_plain(name) for name in own} for own in known_names]
    counts = Counter(name for row in rows for name in row)
    for row in rows:
        if _plain(line) in row:
            # What other lines have too, such as a tumour's type, is not a name of this one.
            wanted |= {name for name in row if counts[name] == 1}
    names = panel.other_names or [(name,) for name in panel.lines]
    found = [row for row, own in enumerate(names) if wanted & set(map(_plain, own)) - {""}]
    if len(found) > 1:
        raise InputError(
            f"expression {url}: {len(found)} lines are called {line!r}, expected one. Set 'line' "
            f"to one of {', '.join(next(filter(None, names[row]), '') for row in found[:4])}."
        )
    if found:
        return found[0]
    raise InputError(
        f"expression {url}: no line {line!r}, found {', '.join(panel.lines[:4])} and "
        f"{max(0, len(panel.lines) - 4)} others. Set 'line' to one of them"
        + (
            ", or 'line_names' to the table that says what they are called."
            if not known_names
            else f": 'line_names' has {'it' if len(wanted) > 1 else 'no such name'}."
        )
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())
