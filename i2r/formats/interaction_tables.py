"""Tables of interactions as STRING, HIPPIE, BioGRID, OmniPath, HuRI and Reactome have them."""

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.store.frames import read_columns, read_text, to_numbers
from i2r.store.text import is_missing, unquote
from i2r.store.vocabulary import is_identifier

# Columns of the two proteins, in lower case without '#'; the first pair that is there counts.
_ENDS = (
    ("protein1", "protein2"),
    ("gene1", "gene2"),
    ("source_genesymbol", "target_genesymbol"),
    ("official symbol interactor a", "official symbol interactor b"),
    ("official_symbol_a", "official_symbol_b"),
    ("gene name interactor a", "gene name interactor b"),
    ("symbol_a", "symbol_b"),
    ("gene_a", "gene_b"),
    ("source", "target"),
    ("node1", "node2"),
)
_ORGANISMS = ("organism id interactor a", "organism id interactor b")
# Of its thousandths STRING lists none below 150: scores up to this are of another scale.
_PERCENT = 100


def read_pairs(  # noqa: PLR0911
    url: str,
    *,
    score_column: str = "",
    unscored_cost: float | None = None,
    symbols: Collection[str] = (),
) -> pd.DataFrame:
    """Read two names and a cost per row.

    Parameters
    ----------
    url
        A table with a header that names the two proteins (protein1 and protein2, gene1 and gene2,
        source and target, node1 and node2, OmniPath's source_genesymbol and target_genesymbol,
        BioGRID's Official Symbol Interactor A and B), and ``cost`` (0 or more) or a confidence:
        STRING's ``combined_score`` (0 to 1,000, or 0 to 1), Reactome's ``Score`` or ``confidence``
        (0 to 1). Or a table without a header: HIPPIE's six columns, HuRI's two, or a network in
        Cytoscape's SIF.
    score_column
        The column of confidences (0 to 1, or 0 to 1,000), where it has another name.
    unscored_cost
        The cost of every interaction where the table has no confidence.
    symbols
        Names that are known: of HIPPIE's two names for a protein, UniProt's or NCBI's, those that
        more of them are in are taken.

    Returns
    -------
    DataFrame
        first, second (text; empty where it is missing) and cost, indexed by line; ``left_out`` of
        its ``attrs`` says what was left out and why.

    Raises
    ------
    InputError
        If the columns can't be told, there is no confidence, or it is of another scale.
    """
    if url.lower().removesuffix(".gz").endswith(".sif"):
        return _add_costs(_read_sif(url), None, url, unscored_cost)
    names, table = read_columns(url, keep_marks=True)
    if _is_headerless(names):
        rows = pd.concat([pd.DataFrame([names], columns=table.columns), table], ignore_index=True)
        if len(names) == 6:
            pairs = _take(rows, 0, 2, first_line=1)
            if symbols and _count_known(pairs, symbols) < _count_known(
                by_number := _take(rows, 1, 3, first_line=1), symbols
            ):
                pairs = by_number
            return _add_costs(pairs, 1 - to_numbers(rows.iloc[:, [4]])[:, 0], url, None)
        return _add_costs(_take(rows, 0, 1, first_line=1), None, url, unscored_cost)
    folded = [str(name).strip().lower().lstrip("#") for name in names]
    columns = {name: n for n, name in reversed([*enumerate(folded)])}
    ends = next(((columns[a], columns[b]) for a, b in _ENDS if {a, b} <= set(columns)), None)
    if ends is None:
        raise InputError(
            f"interactions {url}: found the columns {', '.join(map(repr, list(columns)[:6]))}, "
            "expected protein1, protein2 and cost (or combined_score). Name them so, or add a "
            "header where the first line is an interaction."
        )
    pairs = _take(table, *ends)
    if set(_ORGANISMS) <= set(columns):
        first, second = (table.iloc[:, columns[name]] for name in _ORGANISMS)
        pairs = _keep_organism(pairs, first, second, url)
        table = table.loc[pairs.index - 2]
    if score_column:
        at = columns.get(score_column.strip().lower().lstrip("#"))
        if at is None:
            raise InputError(
                f"interactions {url}: no column {score_column!r}, found "
                f"{', '.join(map(repr, table.columns[:8]))}. Correct 'score_column'."
            )
        return _add_scores(pairs, table.iloc[:, at], score_column, url)
    used = (
        "cost",
        "combined_score",
        "confidence",
        "confidence_score",
        *map(folded.__getitem__, ends),
    )
    if twice := next((name for name in used if folded.count(name) > 1), ""):
        raise InputError(
            f"interactions {url}: the column {twice!r} is there twice, expected once. Rename one."
        )
    if "cost" in columns:
        return pairs.assign(cost=table.iloc[:, columns["cost"]].to_numpy())
    known = ["combined_score", "confidence", "confidence_score", "confidence value"]
    known += ["score"] if {"annotation", "direction"} <= set(columns) else []
    name = next((name for name in known if name in columns), "")
    if not name:
        near = [n for n in columns if re.search(r"score|weight|conf|mi_", n)]
        numeric = [n for n in near if np.isfinite(to_numbers(table.iloc[:, [columns[n]]])).any()]
        return _add_costs(pairs, None, url, unscored_cost, near=numeric)
    return _add_scores(pairs, table.iloc[:, columns[name]], name, url)


def _count_known(pairs: pd.DataFrame, symbols: Collection[str]) -> int:
    names = {*pairs["first"], *pairs["second"]}
    return sum(name.upper() in symbols for name in names)


def _keep_organism(
    pairs: pd.DataFrame, first: pd.Series, second: pd.Series, url: str
) -> pd.DataFrame:
    """Keep interactions within the organism that most are of."""
    same = (first == second).to_numpy()
    if not same.any():
        raise InputError(
            f"interactions {url}: {len(pairs)} interactions, all of two organisms, expected of "
            "one. Export those of your organism."
        )
    kept = same & (first == first[same].mode().iloc[0]).to_numpy()
    left_out = (
        [(f"{int((~kept).sum())} interactions", "of another organism")] if not kept.all() else []
    )
    pairs = pairs[kept]
    pairs.attrs["left_out"] = left_out
    return pairs


def _add_scores(pairs: pd.DataFrame, column: pd.Series, name: str, url: str) -> pd.DataFrame:
    """Add 1 less the confidence as the cost; where there are two names, there has to be one."""
    values = _scale(column, name, url)
    bad = ~np.isfinite(values) & ~pairs[["first", "second"]].isin([""]).any(axis=1).to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        found = "empty" if pd.isna(column.iloc[row]) else repr(column.iloc[row])
        raise InputError(
            f"interactions {url} line {pairs.index[row]}: {name} is {found} "
            f"({int(bad.sum())} such rows in all), expected a number. Fill it in, or drop the row."
        )
    return pairs.assign(cost=1 - values)


def _is_headerless(names: list[str]) -> bool:
    """Tell whether the first line is an interaction: HIPPIE's, or two identifiers, as HuRI's."""
    if len(names) == 6:
        return _is_share(names[4])
    return len(names) == 2 and all(is_identifier(name.strip().upper()) for name in names)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _take(table: pd.DataFrame, first: int, second: int, *, first_line: int = 2) -> pd.DataFrame:
    """Take the two columns of names as text; empty where one is missing."""
    taken = {}
    for name, at in (("first", first), ("second", second)):
        # A name is written once, however many interactions it has: STRING lists millions.
        codes, known = pd.factorize(table.iloc[:, at])
        written = np.array([*map(_write_name, known), ""], dtype=object)
        taken[name] = written[codes]
    return pd.DataFrame(taken, index=table.index + first_line)


def _write_name(value: object) -> str:
    """Write a name as the file has it: an identifier beside missing ones was made 7157.0."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    text = text.strip()
    return "" if is_missing(text) or text == "-" else unquote(text)


def _scale(column: "pd.Series[float]", name: str, url: str) -> np.ndarray:
    """Bring confidences to 0 to 1."""
    values = to_numbers(pd.DataFrame({name: column}))[:, 0]
    known = values[np.isfinite(values)]
    top = float(known.max()) if len(known) else 0.0
    if top <= 1 and not (known < 0).any():
        return values
    if not _PERCENT < top <= 1000 or (known < 0).any():
        raise InputError(
            f"interactions {url}: {name} is {known.min():g} to {top:g}, expected 0 to 1, or 0 to "
            "1000 as STRING has it. Divide it, or give 'cost'."
        )
    return values / 1000


def _add_costs(
    pairs: pd.DataFrame,
    costs: np.ndarray | None,
    url: str,
    unscored_cost: float | None,
    *,
    near: list[str] | None = None,
) -> pd.DataFrame:
    """Add costs, or the one that the user gives to interactions without a confidence."""
    if costs is None and unscored_cost is None:
        hint = f" ({', '.join(map(repr, near))} may be one: 'score_column')" if near else ""
        raise InputError(
            f"interactions {url}: no cost and no confidence{hint}, expected one per row. Set "
            "'unscored_cost', for example to 0.5, to take all alike."
        )
    return pairs.assign(cost=unscored_cost if costs is None else costs)


def _read_sif(url: str) -> pd.DataFrame:
    """Read Cytoscape's simple format: node, relation, nodes, separated by tabs or spaces."""
    rows, lines = list[tuple[str, str]](), list[int]()
    for number, line in enumerate(read_text(url).splitlines(), start=1):
        cells = line.split("\t") if "\t" in line else line.split()
        cells = [cell.strip() for cell in cells if cell.strip()]
        rows += [(cells[0], other) for other in cells[2:]]
        lines += [number] * (len(rows) - len(lines))
    if not rows:
        raise InputError(f"interactions {url}: no line with two nodes and a relation. Export SIF.")
    return pd.DataFrame(rows, index=lines, columns=["first", "second"], dtype=object)
