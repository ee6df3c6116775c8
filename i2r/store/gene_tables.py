"""What users have per gene: vectors (embeddings, signatures, features), labels and gene sets.

Symbols are compared in upper case throughout.
"""

import csv
import io
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.store import files, tables, text
from i2r.store.gctx import read_signatures

# How far a header that begins with a quote may go on in the next lines, in bytes.
_QUOTED = 2**16
# What pandas calls a first column without a name.
UNNAMED = "Unnamed: 0"
# Columns of our own tables that are no numbers of a vector.
NOT_VALUES = ("gene", "held_out", "perturbation", "condition", "n_nuclei", "n_wells", "role")


class GeneVectors(NamedTuple):
    """One vector per gene.

    Attributes
    ----------
    genes : list of str
        Symbols in upper case, sorted, each once.
    values : (n, d) float64
        Finite; the mean where a gene had several rows.
    names : list of str
        Names of the columns.
    """

    genes: list[str]
    values: npt.NDArray[np.float64]
    names: list[str]

    def take(self, genes: list[str]) -> npt.NDArray[np.float64]:
        """Give the vectors of some genes, all of which are there, in their order."""
        place = {gene: row for row, gene in enumerate(self.genes)}
        return self.values[[place[gene] for gene in genes]]


def read_vectors(url: str) -> GeneVectors:
    """Read vectors of genes from a CSV, TSV, Parquet or GCTX file.

    Parameters
    ----------
    url
        A table with the column ``gene`` and columns of numbers, or with genes in a first column
        without a name, as pandas and R write an index; or signatures of the Connectivity Map, see
        `i2r.store.gctx.read_signatures`.

    Raises
    ------
    InputError
        If there is no such file, no column ``gene``, a column that is neither numbers nor one of
        i2r's own descriptions, no row, or a value that is missing.
    """
    if url.lower().endswith(".gctx"):
        return GeneVectors(*read_signatures(url))
    return gather_vectors(read_frame(url), where=url)


def gather_vectors(table: pd.DataFrame, *, where: str) -> GeneVectors:
    """Make vectors of a table; see `read_vectors`."""
    table = name_genes(table)
    if "gene" not in table:
        raise InputError(
            f"{where}: no column 'gene', found {', '.join(map(str, table.columns[:5]))}. Name the "
            "column with gene symbols 'gene'."
        )
    columns = [name for name in table.columns if str(name) not in NOT_VALUES]
    wrong = [n for n in columns if not pd.api.types.is_numeric_dtype(table[n])]
    if wrong or not columns:
        what = f"column {wrong[0]!r} is no number" if wrong else "no column of numbers"
        raise InputError(f"{where}: {what}, expected 'gene' and numbers. Leave other columns out.")
    symbols = table["gene"].astype("string").str.strip().str.upper()
    named = symbols.notna() & (symbols != "")
    table, symbols = table[named], symbols[named].astype(str)
    if not len(table):
        raise InputError(f"{where}: no row with a gene. Give one row per gene.")
    values = table[columns].to_numpy(dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(
            f"{where}: gene {symbols.iloc[row]!r} has no finite value in {columns[column]!r} "
            f"({int(bad.sum())} such values in all). Fill them or leave the gene out."
        )
    means = pd.DataFrame(values).groupby(symbols.to_numpy(), sort=True).mean()
    return GeneVectors(
        [str(g) for g in means.index], means.to_numpy(dtype=float), [str(c) for c in columns]
    )


def name_genes(table: pd.DataFrame) -> pd.DataFrame:
    """Name a first column of text without a name 'gene': an index of pandas or R.

    Not where there is a column of that name: which of the two is meant can't be told.
    """
    first = table.columns[0] if len(table.columns) else ""
    is_index = str(first) == UNNAMED and not pd.api.types.is_numeric_dtype(table[first])
    return table.rename(columns={first: "gene"}) if is_index and "gene" not in table else table


def read_labels(url: str) -> dict[str, str]:
    """Read the label of genes from a table with the columns ``gene`` and ``label``.

    Rows without a gene or a label say nothing: such a gene is one whose label is not known.

    Raises
    ------
    InputError
        If there is no such file, a column is missing, or a gene has two labels.
    """
    table = read_frame(url)
    missing = [name for name in ("gene", "label") if name not in table]
    if missing:
        raise InputError(
            f"{url}: no column {missing[0]!r}, expected 'gene' and 'label'. Name them."
        )
    found: dict[str, str] = {}
    genes, labels = (["" if pd.isna(v) else str(v) for v in table[n]] for n in ("gene", "label"))
    for gene, label in zip(genes, labels, strict=True):
        symbol = gene.strip().upper()
        if not symbol or not label.strip():
            continue
        if found.setdefault(symbol, label) != label:
            raise InputError(
                f"{url}: gene {symbol!r} has the labels {found[symbol]!r} and {label!r}, expected "
                "one. Keep one row per gene."
            )
    return found


def read_gene_sets(url: str) -> dict[str, frozenset[str]]:
    """Read gene sets from a GMT file: name, description, genes, separated by tabs.

    Line ends of any system are read, empty lines and fields ignored; a gene's weight after a comma
    (as Enrichr writes it) is dropped.

    Raises
    ------
    InputError
        If there is no such file, a line has fewer than three fields, or a name comes twice.
    """
    found: dict[str, frozenset[str]] = {}
    for number, line in enumerate(read_text(url).splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = frozenset(g.partition(",")[0].strip().upper() for g in rest[1:]) - {""}
        if not genes or not name:
            raise InputError(
                f"{url} line {number}: {len(rest) + 1} field(s), expected name, description and "
                "genes, separated by tabs. Export it as GMT."
            )
        if name in found:
            raise InputError(f"{url} line {number}: gene set {name!r} comes twice. Rename one.")
        found[name] = genes
    if not found:
        raise InputError(f"{url}: no gene set in it. Give a GMT file.")
    return found


def read_frame(url: str) -> pd.DataFrame:
    """Read a table from Parquet, or from text with tabs, commas or spaces between columns.

    Row names as R writes them, without a name in the header, are a first column of their own.

    Raises
    ------
    InputError
        If there is no such file, or it is no table.
    """
    if url.endswith(".parquet"):
        try:
            return tables.read_table(url)
        except InputError:
            raise
        except Exception as error:  # a damaged file may end anywhere in Arrow's reader
            detail = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise InputError(f"{url}: no readable Parquet file ({detail}). Check it.") from error
    return read_columns(url)[1]


def read_columns(
    url: str, *, as_text: bool = False, keep_marks: bool = False
) -> tuple[list[str], pd.DataFrame]:
    """Read a table as `read_frame` does, and the names of its columns as they are in the file.

    The columns of the table itself are numbered where two have one name (``TP53``, ``TP53.1``),
    so that a second measurement of a gene would pass for another gene.

    Parameters
    ----------
    url
        The file.
    as_text
        Keep cells as they are written, for names: 007 stays 007. Missing ones are empty.
    keep_marks
        Keep `i2r.store.text.QUOTED` before words for 'missing' that were in quotes.
    """
    if url.endswith(".parquet"):
        table = read_frame(url)
        table = table.astype("string").fillna("").astype(object) if as_text else table
        return [str(name) for name in table.columns], table
    names, table = _parse_table(_read_bytes(url), url, as_text=as_text)
    if keep_marks:
        return names, table
    for column in table.select_dtypes(include=["object", "string"]).columns:
        marked = table[column].astype("string").str.startswith(text.QUOTED).fillna(False)
        if marked.any():
            table[column] = table[column].where(~marked, table[column].str[1:])
    return names, table


def _parse_table(data: bytes, url: str, *, as_text: bool) -> tuple[list[str], pd.DataFrame]:
    """Parse a table with one separator: tabs, semicolons, commas, or spaces, as in STRING's files.

    Bytes, not text: a stream of text takes four bytes per character, of files of a gigabyte.
    """
    data = _to_utf8(data, url)
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    header = min(ends, default=len(data))
    try:
        first = data[:header].decode("utf-8-sig")
    except UnicodeDecodeError:
        data = text.decode_text(data, url)[0].encode()
        return _parse_table(data, url, as_text=as_text)
    separator = text.find_separator(first)
    data = text.mark_quoted_bytes(data, separator)
    options: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig"}
    if separator in (";", "\t"):
        sample = data[header : header + _QUOTED].decode("utf-8", "replace")
        cells = (cell for line in sample.splitlines()[1:-1] for cell in line.split(separator))
        if text.uses_decimal_comma(cells):
            options["decimal"] = ","
    try:
        # A name in quotes may hold a line break.
        names = pd.read_csv(
            io.BytesIO(data[: header + _QUOTED]), header=None, nrows=1, dtype=str,
            keep_default_na=False, encoding_errors="replace", **options,
        ).iloc[0].tolist()  # fmt: skip
        if as_text:
            options |= {"dtype": str, "keep_default_na": False}
        table = pd.read_csv(io.BytesIO(data), **options)
        if separator == "\t" and b'"' in data and len(table) < _count_lines(data) - 1:
            # Descriptions of proteins have quotes that are never closed: they swallow lines.
            table = pd.read_csv(io.BytesIO(data), quoting=csv.QUOTE_NONE, **options)
    except UnicodeDecodeError:
        data = text.decode_text(data, url)[0].encode()
        return _parse_table(data, url, as_text=as_text)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{url}: no table ({error}). Export it as CSV.") from error
    is_named = isinstance(table.index, pd.RangeIndex)
    # R writes row names without a name for their column; more than one such column it does not.
    if table.index.nlevels > 1 or (not is_named and UNNAMED in table):
        raise InputError(
            f"{url}: rows have more fields than the first line has names, expected as many. Name "
            "every column."
        )
    if not is_named:
        names, table = ["", *names], table.rename_axis(UNNAMED).reset_index()
    return names, table


def _count_lines(data: bytes) -> int:
    """Count lines that are not empty."""
    return sum(1 for line in io.BytesIO(data) if line.strip())


def _to_utf8(data: bytes, url: str) -> bytes:
    """Turn a workbook, or text in UTF-16 or UTF-32, into CSV in UTF-8; leave the rest."""
    if text.is_workbook(data):
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerows(cells for _, cells in text.read_workbook(data, url))
        return written.getvalue().encode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or text.name_format(data):
        return text.decode_text(data, url)[0].encode()
    return data


def to_numbers(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Give the values of a table as float64; NaN for what is no number."""
    try:
        return table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    except OverflowError:  # a whole number of more than 300 digits
        return table.map(_to_number).to_numpy(dtype=np.float64)


def _to_number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def read_text(url: str) -> str:
    """Read a text file, packed or not.

    Raises
    ------
    InputError
        If there is no such file, or it is no text.
    """
    return text.decode_text(_read_bytes(url), url)[0].removeprefix("\ufeff")


def _read_bytes(url: str) -> bytes:
    try:
        return files.unpack(files.read_bytes(url), url)
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file. Give the path of one.") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{url}: a folder, expected a file. Give the path of one in it."
        ) from error


def digest_files(*urls: str) -> list[str]:
    """Hash the content of files given by the user, for fingerprints; '' and lost ones stay."""
    return [
        sha256(files.read_bytes(url)).hexdigest()[:32] if url and files.exists(url) else url
        for url in urls
    ]
