"""Interactions of proteins as a network: symbols, edges and costs, and what was left out."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.formats.interaction_tables import read_pairs
from i2r.store.frames import to_numbers
from i2r.store.given_names import is_mangled
from i2r.store.vocabulary import Vocabulary, tabulate_translations, translate

# Why something is left out.
NAMELESS = "a name is missing"
MANGLED = "a date, not a symbol: a spreadsheet has changed it"


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
    symbols
        What names were translated by: the vocabulary, without aliases that would join two genes of
        this network.
    """

    genes: list[str]
    edges: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    dropped: pd.DataFrame
    n_rows: int
    symbols: Mapping[str, str] | None = None


def read_interactions(
    url: str,
    symbols: Mapping[str, str] | None = None,
    *,
    score_column: str = "",
    unscored_cost: float | None = None,
    log: list[pd.DataFrame] | None = None,
) -> Interactions:
    """Read interactions in any of the formats of `i2r.formats.interaction_tables`.

    Parameters
    ----------
    url
        The table.
    symbols
        From `i2r.store.vocabulary.read_symbols`. Interactions of a protein without a symbol are
        left out, as are rows that lack a name and names that a spreadsheet made dates of.
    score_column, unscored_cost
        See `i2r.formats.interaction_tables.read_pairs`.
    log
        Takes the table of names that were translated.

    Raises
    ------
    InputError
        If it is none of these, no interaction is left, or a cost is negative or no number.
    """
    table = read_pairs(
        url, score_column=score_column, unscored_cost=unscored_cost, symbols=symbols or ()
    )
    other = table.attrs.get("left_out", [])
    n_rows = len(table)
    nameless = table[["first", "second"]].isin([""]).any(axis=1)
    dropped = [*other, *((f"line {line}", NAMELESS) for line in table.index[nameless])]
    table = table[~nameless]
    if not len(table):
        raise InputError(f"interactions {url}: no row with two names. Give protein1 and protein2.")
    numbers = to_numbers(table[["cost"]])[:, 0]
    bad = ~(numbers >= 0) | ~np.isfinite(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        first, second = table["first"].iloc[row], table["second"].iloc[row]
        raise InputError(
            f"interactions {url} line {table.index[row]}: {first} - {second} has the cost "
            f"{table['cost'].iloc[row]}, expected 0 or more. Correct it, or drop the row."
        )
    codes, given = pd.factorize(pd.concat([table["first"], table["second"]], ignore_index=True))
    # A name is translated once, however many interactions it has: STRING lists millions.
    given = [str(name).strip().upper() for name in given]
    if isinstance(symbols, Vocabulary):
        symbols = symbols.keep_apart(given)
    mangled = {name for name in given if is_mangled(name)}
    names = ["" if name in mangled else translate(name, symbols) for name in given]
    if log is not None:
        log.append(tabulate_translations(given, symbols, table="interactions"))
    genes, symbol_of = np.unique(np.array(names, dtype=str), return_inverse=True)
    pairs = np.sort(symbol_of[codes].reshape(2, -1).T, axis=1)
    unnamed = sorted(name for name, at in zip(given, symbol_of, strict=True) if not genes[at])
    dropped += [(name, MANGLED if name in mangled else "no symbol") for name in unnamed]
    known = (genes != "")[pairs].all(axis=1)
    if unnamed and not known.any():
        raise InputError(
            f"interactions {url}: no interaction of two proteins with a symbol ({unnamed[0]} and "
            f"{len(unnamed) - 1} others have none). Take 'symbols' that list its names."
        )
    loops = known & (pairs[:, 0] == pairs[:, 1])
    dropped += [(str(genes[at]), "interacts with itself") for at in pairs[loops, 0]]
    pairs, costs = pairs[known & ~loops], numbers[known & ~loops]
    if not len(pairs):
        raise InputError(
            f"interactions {url}: every protein interacts with itself alone ({int(loops.sum())} "
            "rows), expected interactions of two. Look at the columns of names."
        )
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
        n_rows,
        symbols,
    )
