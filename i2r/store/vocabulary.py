"""What genes are called: one vocabulary of symbols for every table that names genes."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from i2r.errors import InputError
from i2r.store import tables
from i2r.store.frames import read_columns
from i2r.store.given_names import is_mangled

# Ensembl's, of any species: 9606.ENSP00000269305, ENSG00000141510.18, ENSMUSG00000059552.
_ENSEMBL = re.compile(r"(?:\d+\.)?(ENS[A-Z]{0,4}[GTP]\d+)(?:\.\d+)?")
# NCBI's number, HGNC's, UniProt's accession and entry name, RefSeq's.
_OTHER_IDENTIFIER = re.compile(
    r"\d+|HGNC:\d+|[OPQ]\d[A-Z\d]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z\d]{2}\d){1,2}|\w{1,10}_[A-Z]{5}|"
    r"[NX][MPR]_\d+(?:\.\d+)?"
)

# Columns by the names that HGNC, BioMart, NCBI, STRING and OmniPath give them, in lower case with
# '_' for everything else; the first that is there counts.
_SYMBOLS = (
    "symbol", "approved_symbol", "hgnc_symbol", "gene_name", "external_gene_name",
    "preferred_name", "gene_symbol", "genesymbol", "official_symbol",
)  # fmt: skip
_PREVIOUS = ("prev_symbol", "previous_symbols", "previous_symbol", "prev_symbols")
_ALIASES = (
    "alias_symbol", "alias_symbols", "synonyms", "gene_synonym", "aliases", "alias", "synonym",
)  # fmt: skip
_IDENTIFIERS = (
    "hgnc_id", "entrez_id", "ncbi_gene_id", "ncbi_gene_id_supplied_by_ncbi", "geneid", "gene_id",
    "ncbi_gene_formerly_entrezgene_id", "entrezgene_id", "entrezgene", "entrez_gene_id",
    "ensembl_gene_id", "ensembl_id_supplied_by_ensembl", "ensembl_id", "gene_stable_id",
    "gene_stable_id_version", "transcript_stable_id", "transcript_stable_id_version",
    "protein_stable_id", "protein_stable_id_version", "ensembl_transcript_id",
    "ensembl_peptide_id", "uniprot_ids", "uniprot_id", "uniprot_id_supplied_by_uniprot",
    "uniprotkb_swiss_prot_id", "string_protein_id", "refseq_accession", "refseq_ids", "dbxrefs",
)  # fmt: skip
# How STRING's table of aliases says that one is the gene's symbol.
_STRING_SOURCES = ("Ensembl_HGNC_symbol", "Ensembl_HGNC", "BioMart_HUGO", "Ensembl_gene_name")


class Vocabulary(Mapping[str, str]):
    """Names of genes and the symbol that each stands for, all in upper case.

    Attributes
    ----------
    approved : frozenset of str
        The symbols: a name that is one is never translated, whoever has it as an alias.
    kinds : dict
        By name, what it is: identifier, previous symbol, alias, name.
    ambiguous : dict
        By name, the symbols that it may stand for: such a name is not translated, nor is one that
        is a symbol itself.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        approved: Collection[str] = (),
        kinds: Mapping[str, str] | None = None,
        ambiguous: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._names = dict(names)
        self.approved = frozenset(approved)
        self.kinds, self.ambiguous = dict(kinds or {}), dict(ambiguous or {})

    def __getitem__(self, name: str) -> str:
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keep_apart(self, names: Iterable[str]) -> "Vocabulary":
        """Make one that doesn't join two genes of a network.

        Where a network has a name, and the symbol that this is an alias of, both are genes of
        their own for whoever made it. Identifiers, and symbols that were withdrawn, still join.

        Parameters
        ----------
        names
            The names of the network, in upper case, before they are translated.
        """
        own = set(names)
        apart = {
            name: (name, self._names[name])
            for name in own & set(self._names)
            if self._names[name] in own
            and self.kinds.get(name, "name") in ("alias", "name")
            and not is_identifier(name)
        }
        if not apart:
            return self
        kept = {name: symbol for name, symbol in self._names.items() if name not in apart}
        return Vocabulary(
            kept, approved=self.approved, kinds=self.kinds, ambiguous={**self.ambiguous, **apart}
        )


class _Listed(NamedTuple):
    """A name of a gene as a table lists it."""

    name: str
    symbol: str
    kind: str


def read_symbols(url: str) -> Vocabulary:
    """Read what genes are called, from the tables of nomenclature as they are downloaded.

    Parameters
    ----------
    url
        HGNC's complete set, or its custom download; a table of BioMart's, with 'Gene name' or
        'HGNC symbol' and identifiers; NCBI's gene_info; STRING's protein.info or protein.aliases;
        or a table whose first two columns are name and symbol. Text, packed or not.

    Returns
    -------
    Vocabulary
        Names of several symbols are ambiguous; rows that lack a name or a symbol say nothing.

    Raises
    ------
    InputError
        If it has fewer than two columns, or names nothing.
    """
    header, table = read_columns(url, as_text=True)
    if len(header) < 2:
        raise InputError(f"symbols {url}: one column, expected name and symbol. Add the other.")
    table.columns = pd.Index([_fold(name) for name in header])
    table = table.loc[:, ~table.columns.duplicated()]
    listed = list(_list_names(table, header, url))
    if not listed:
        raise InputError(
            f"symbols {url}: no row with a name and a symbol, found the columns "
            f"{', '.join(map(repr, header[:6]))}. Give name and symbol."
        )
    return _gather(listed)


def write_vocabulary(url: str, vocabulary: Vocabulary) -> None:
    """Write a vocabulary as a table, for the stages that come after."""
    tables.write_table(url, list_vocabulary(vocabulary))


def list_vocabulary(vocabulary: Vocabulary) -> pd.DataFrame:
    """Give a vocabulary as a table: name, symbol, kind."""
    rows = [
        (name, symbol, vocabulary.kinds.get(name, "name")) for name, symbol in vocabulary.items()
    ]
    rows += [(name, "|".join(many), "ambiguous") for name, many in vocabulary.ambiguous.items()]
    rows += [(symbol, symbol, "approved") for symbol in sorted(vocabulary.approved)]
    return pd.DataFrame(rows, columns=["name", "symbol", "kind"], dtype=str)


def read_vocabulary(url: str) -> Vocabulary | None:
    """Read a vocabulary that `write_vocabulary` wrote; None where there is none, or no name."""
    try:
        table = tables.read_table(url)
    except FileNotFoundError:
        return None
    if not len(table):
        return None
    names, kinds, ambiguous, approved = {}, {}, {}, set()
    for name, symbol, kind in table[["name", "symbol", "kind"]].itertuples(index=False, name=None):
        if kind == "approved":
            approved.add(name)
        elif kind == "ambiguous":
            ambiguous[name] = tuple(symbol.split("|"))
        else:
            names[name], kinds[name] = symbol, kind
    return Vocabulary(names, approved=approved, kinds=kinds, ambiguous=ambiguous)


def translate(name: str, symbols: Mapping[str, str] | None) -> str:
    """Give a name's symbol in upper case; names that are not listed stay as they are.

    Approved symbols stay whatever they are an alias of. Ensembl identifiers of genes, transcripts
    and proteins that are not listed have none; their version (``.12``) and STRING's number of the
    species before them do not matter.
    """
    name = name.strip().upper()
    if not symbols:
        return name
    if isinstance(symbols, Vocabulary) and name in symbols.approved:
        return name
    identifier = _ENSEMBL.fullmatch(name)
    return symbols.get(name, symbols.get(identifier[1], "") if identifier else name)


def tabulate_translations(
    names: Iterable[str], symbols: Mapping[str, str] | None, *, table: str
) -> pd.DataFrame:
    """List the names that were translated or stayed ambiguous: table, name, symbol, how."""
    rows = []
    if symbols:
        kinds = getattr(symbols, "kinds", {})
        ambiguous = getattr(symbols, "ambiguous", {})
        for name in dict.fromkeys(name.strip().upper() for name in names):
            symbol = translate(name, symbols)
            if symbol and symbol != name:
                rows.append((table, name, symbol, kinds.get(name, "identifier")))
            elif name in ambiguous:
                is_symbol = name in getattr(symbols, "approved", ())
                how = "kept: a symbol, and a name of others" if is_symbol else "ambiguous"
                rows.append((table, name, "|".join(ambiguous[name]), how))
    return pd.DataFrame(rows, columns=["table", "name", "symbol", "how"], dtype=str)


def is_identifier(name: str) -> bool:
    """Tell whether a name is an identifier of Ensembl, NCBI, HGNC, UniProt or RefSeq."""
    return bool(_ENSEMBL.fullmatch(name) or _OTHER_IDENTIFIER.fullmatch(name))


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _list_names(table: pd.DataFrame, header: list[str], url: str) -> Iterator[_Listed]:
    """List every name of a table with its symbol."""
    if {"string_protein_id", "alias", "source"} <= set(table.columns):
        yield from _list_string_aliases(table, url)
        return
    symbol = next((name for name in _SYMBOLS if name in table), "")
    known = [c for c in table.columns if c in (*_PREVIOUS, *_ALIASES, *_IDENTIFIERS)]
    if symbol and known:
        if "status" in table:
            table = table[table["status"].isin(["Approved", ""])]
        table = table[~table[symbol].str.contains("~", regex=False)]
        for column in known:
            kind = (
                "previous symbol" if column in _PREVIOUS
                else "alias" if column in _ALIASES else "identifier"
            )  # fmt: skip
            for cell, own in zip(table[column], table[symbol], strict=True):
                for name in re.split(r"[|,]", cell):
                    yield _Listed(name.strip().removeprefix("Ensembl:"), own.strip(), kind)
        yield from (_Listed(own.strip(), own.strip(), "approved") for own in table[symbol])
        return
    rows = table.iloc[:, :2].to_numpy().tolist()
    if any(is_identifier(cell.strip().upper()) for cell in header[:2]):
        rows.insert(0, header[:2])  # no header: the first line names a gene
    rows = [(a.strip(), b.strip()) for a, b in rows if a.strip() and b.strip()]
    ids = [sum(is_identifier(row[at].upper()) for row in rows) for at in (0, 1)]
    if rows and ids[1] > 0.9 * len(rows) and ids[0] < 0.1 * len(rows):
        rows = [(name, own) for own, name in rows]  # symbol first
    yield from (_Listed(name, own, "name") for name, own in rows)


def _list_string_aliases(table: pd.DataFrame, url: str) -> Iterator[_Listed]:
    """List STRING's proteins with the alias that is the gene's symbol."""
    source = next((s for s in _STRING_SOURCES if (table["source"] == s).any()), "")
    if not source:
        raise InputError(
            f"symbols {url}: no alias is the gene's symbol (source {_STRING_SOURCES[0]!r}). Take "
            "STRING's protein.info."
        )
    rows = table[table["source"] == source]
    for name, own in zip(rows["string_protein_id"], rows["alias"], strict=True):
        yield _Listed(name.strip(), own.strip(), "identifier")


def _gather(listed: Iterable[_Listed]) -> Vocabulary:
    """Join what is listed of each name; of several symbols none is taken."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    approved = set[str]()
    for row in listed:
        name, symbol = row.name.upper(), row.symbol.upper()
        if not name or not symbol or is_mangled(symbol):
            continue
        approved.add(symbol)
        identifier = _ENSEMBL.fullmatch(name)
        for own in {name, identifier[1] if identifier else name} - {symbol}:
            found[own].setdefault(symbol, row.kind)
    names, kinds, ambiguous = {}, {}, {}
    for name, by_symbol in found.items():
        is_symbol = name in approved
        if len(by_symbol) == 1 and not is_symbol:
            (names[name],) = by_symbol
            (kinds[name],) = by_symbol.values()
        else:
            ambiguous[name] = tuple(sorted(by_symbol))
    return Vocabulary(names, approved=approved, kinds=kinds, ambiguous=ambiguous)
