"""Tables that an interactome is made from: interactions, and the expression of cell lines."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store.gene_tables import read_columns, read_frame, to_numbers

# Header of the interactions' files: the two proteins, and confidence or cost.
_ENDS = (
    ("protein1", "protein2"),
    ("gene1", "gene2"),
    ("source", "target"),
    ("node1", "node2"),
)
# Ensembl's, of any species: 9606.ENSP00000269305, ENSG00000141510.18, ENSMUSG00000059552.
_IDENTIFIER = re.compile(r"(?:\d+\.)?(ENS[A-Z]{0,4}[GTP]\d+)(?:\.\d+)?")


class Interactions(NamedTuple):
    """Interactions of proteins.

    Attributes
    ----------
    genes
        Symbols in upper case, sorted.
    edges : (m, 2) int64
        Numbers of genes, the smaller first, sorted; no self-loops, every pair once.
    costs : (m,) float64
        1 less the confidence; the lowest of a pair's.
    dropped
        One row for what was left out: symbol, reason. A pair that is listed again with the cost it
        has is not.
    n_rows
        Rows of the file.
    """

    genes: list[str]
    edges: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    dropped: pd.DataFrame
    n_rows: int


def read_interactions(url: str, symbols: Mapping[str, str] | None = None) -> Interactions:
    """Read interactions: a table with costs, STRING's, or HIPPIE's.

    Parameters
    ----------
    url
        A table with a header: two columns of symbols (protein1, protein2; or gene1, gene2; or
        source, target) and ``cost`` (0 or more), or ``combined_score`` (0 to 1,000, as STRING
        has it). Or HIPPIE's table without a header: six columns, the first, third and fifth
        being the proteins and the confidence (0 to 1).
    symbols
        From `read_symbols`. Interactions of a protein without a symbol are left out.

    Raises
    ------
    InputError
        If it is none of these, no interaction is left, or a cost is negative or no number.
    """
    table = _name_columns(*read_columns(url), url)
    nameless = table[["first", "second"]].isna().any(axis=1).to_numpy()
    if nameless.any():
        row = int(np.argmax(nameless))
        raise InputError(
            f"interactions {url} row {row + 2}: a name is missing, expected two. Add it, or drop "
            f"the row ({int(nameless.sum())} such rows)."
        )
    numbers = to_numbers(table[["cost"]])[:, 0]
    bad = ~(numbers >= 0) | ~np.isfinite(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        first, second = table["first"].iloc[row], table["second"].iloc[row]
        raise InputError(
            f"interactions {url} row {row + 2}: {first} - {second} has the cost "
            f"{table['cost'].iloc[row]}, expected 0 or more. Correct it, or drop the row."
        )
    codes, given = pd.factorize(pd.concat([table["first"], table["second"]], ignore_index=True))
    # A name is translated once, however many interactions it has: STRING lists millions.
    given = [str(name).strip().upper() for name in given]
    genes, symbol_of = np.unique(
        np.array([translate(name, symbols) for name in given], dtype=str), return_inverse=True
    )
    pairs = np.sort(symbol_of[codes].reshape(2, -1).T, axis=1)
    unnamed = sorted(name for name, at in zip(given, symbol_of, strict=True) if not genes[at])
    dropped = [(name, "no symbol") for name in dict.fromkeys(unnamed)]
    known = (genes != "")[pairs].all(axis=1)
    if dropped and not known.any():
        raise InputError(
            f"interactions {url}: no interaction of two proteins with a symbol ({unnamed[0]} and "
            f"{len(dropped) - 1} others have none). Take 'symbols' that list its names."
        )
    loops = known & (pairs[:, 0] == pairs[:, 1])
    dropped += [(str(genes[at]), "interacts with itself") for at in pairs[loops, 0]]
    pairs, costs = pairs[known & ~loops], numbers[known & ~loops]
    order = np.lexsort((costs, pairs[:, 1], pairs[:, 0]))
    pairs, costs = pairs[order], costs[order]
    again = np.zeros(len(pairs), dtype=bool)
    again[1:] = (pairs[1:] == pairs[:-1]).all(axis=1)
    # The same pair with the same cost loses nothing: STRING has every one in both directions.
    dearer = np.flatnonzero(again[1:] & (costs[1:] > costs[:-1])) + 1
    dropped += [
        (f"{genes[first]} - {genes[second]}", "listed again with a higher cost")
        for first, second in pairs[dearer]
    ]
    linked, pairs = np.unique(pairs[~again], return_inverse=True)
    return Interactions(
        [str(name) for name in genes[linked]],
        pairs.reshape(-1, 2).astype(np.int64),
        costs[~again],
        pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str),
        len(table),
    )


def _name_columns(names: list[str], table: pd.DataFrame, url: str) -> pd.DataFrame:
    """Find the two proteins and the cost."""
    columns = {str(name).strip().lower().lstrip("#"): name for name in table.columns}
    for first, second in _ENDS:
        if first in columns and second in columns:
            ends = {"first": table[columns[first]], "second": table[columns[second]]}
            if "cost" in columns:
                return pd.DataFrame({**ends, "cost": table[columns["cost"]]})
            if "combined_score" in columns:
                score = pd.to_numeric(table[columns["combined_score"]], errors="coerce")
                # STRING's files have thousandths, its website's export has parts of 1.
                return pd.DataFrame({**ends, "cost": 1 - score / (1 if score.max() <= 1 else 1000)})
    if len(names) == 6 and _is_share(names[4]):
        rows = pd.concat([pd.DataFrame([names], columns=table.columns), table], ignore_index=True)
        ends = {"first": rows.iloc[:, 0], "second": rows.iloc[:, 2]}
        confidence = pd.to_numeric(rows.iloc[:, 4], errors="coerce")
        return pd.DataFrame({**ends, "cost": 1 - confidence})
    raise InputError(
        f"interactions {url}: found the columns {', '.join(map(repr, list(columns)[:6]))}, "
        "expected protein1, protein2 and cost (or combined_score). Name them so."
    )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


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
    """

    lines: list[str]
    genes: list[str]
    values: npt.NDArray[np.float64]
    dropped: pd.DataFrame


def read_panel(url: str, symbols: Mapping[str, str] | None = None) -> Panel:
    """Read the expression of lines: DepMap's table (lines by genes), or one of genes by lines.

    Parameters
    ----------
    url
        A table. With a column ``symbol`` the rows are genes, and all columns of numbers are
        lines. Otherwise the first column names the line, and the others are genes, of whose
        names the first word counts (``TP53 (7157)``). Symbols are put in upper case; of several
        of one symbol the first counts.
    symbols
        From `read_symbols`.

    Raises
    ------
    InputError
        If there are no lines or no genes in it.
    """
    header, table = read_columns(url)
    if "symbol" in table.columns:
        names = table["symbol"].astype(object).where(table["symbol"].notna(), "")
        table = table.drop(columns="symbol")
        numbers = to_numbers(table)
        filled = ~np.isnan(numbers).all(axis=0)
        lines, values = [str(name) for name in table.columns[filled]], numbers[:, filled].T
    else:
        names = pd.Series(header[1:], dtype=object)
        lines, values = table.iloc[:, 0].astype(str).tolist(), to_numbers(table.iloc[:, 1:])
    genes, kept, dropped = clean_symbols(
        [str(name).strip().split(" ")[0] for name in names], symbols
    )
    holes: npt.NDArray[np.bool_] = np.asarray(np.isnan(values[:, kept]).any(axis=0))
    dropped += [(genes[i], "expression is missing") for i in np.flatnonzero(holes)]
    if not len(lines) or holes.all():
        raise InputError(
            f"expression {url}: {len(lines)} lines with {len(genes)} genes, none of them complete. "
            "Give lines by genes, or genes by lines with a column 'symbol'."
        )
    genes = [name for name, hole in zip(genes, holes, strict=True) if not hole]
    return Panel(
        lines,
        genes,
        np.ascontiguousarray(values[:, kept][:, ~holes]),
        pd.DataFrame(dropped, columns=["symbol", "reason"], dtype=str),
    )


def read_symbols(url: str) -> dict[str, str]:
    """Read which symbol a name stands for: Ensembl identifiers, aliases; the first row counts.

    Parameters
    ----------
    url
        A table with a header whose first two columns are name and symbol, such as STRING's
        protein.info. Rows that lack one of the two say nothing.

    Raises
    ------
    InputError
        If it has fewer than two columns.
    """
    table = read_frame(url).iloc[:, :2].dropna()
    if table.shape[1] < 2:
        raise InputError(f"symbols {url}: one column, expected name and symbol. Add the other.")
    found: dict[str, str] = {}
    for name, symbol in zip(
        table.iloc[:, 0].astype(str), table.iloc[:, 1].astype(str), strict=True
    ):
        found.setdefault(name.strip().upper(), symbol.strip().upper())
    return found


def translate(name: str, symbols: Mapping[str, str] | None) -> str:
    """Give a name's symbol in upper case; names that are not listed stay as they are.

    Ensembl identifiers of genes, transcripts and proteins that are not listed have none; their
    version (``.12``) and STRING's number of the species before them do not matter.
    """
    name = name.strip().upper()
    if not symbols:
        return name
    identifier = _IDENTIFIER.fullmatch(name)
    return symbols.get(name, symbols.get(identifier[1], "") if identifier else name)


def clean_symbols(
    names: list[str], symbols: Mapping[str, str] | None = None
) -> tuple[list[str], list[int], list[tuple[str, str]]]:
    """Put symbols in upper case and keep the first of each.

    Returns
    -------
    symbols, kept
        The symbols, and where each was.
    dropped
        The others, with the reason.
    """
    seen, kept, dropped = dict[str, int](), list[int](), list[tuple[str, str]]()
    for at, name in enumerate(names):
        symbol = translate(name, symbols)
        if not symbol or symbol == "NAN":
            dropped.append((name.strip() or f"row {at + 1}", "no symbol"))
        elif symbol in seen:
            dropped.append((symbol, "listed before"))
        else:
            seen[symbol] = at
            kept.append(at)
    return list(seen), kept, dropped


def choose_line(panel: Panel, line: str, *, url: str) -> int:
    """Find a line by name; spaces, dashes and case do not matter.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    wanted = _plain(line)
    for number, name in enumerate(panel.lines):
        if _plain(name) == wanted:
            return number
    raise InputError(
        f"expression {url}: no line {line!r}, found {', '.join(panel.lines[:4])} and "
        f"{max(0, len(panel.lines) - 4)} others. Set 'line' to one of them."
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())
