"""What a layout says against itself: refused by its lines, or noted where it may be meant so."""

import re
import unicodedata
from collections.abc import Hashable, Iterable
from itertools import combinations, pairwise

import pandas as pd

from i2r.store.given_names import (
    fold_spelling,
    is_mangled,
    is_serial_day,
    looks_untreated,
    tell_apart,
)

# A gene of this form is a date too; a perturbation may be a dilution.
_DAY_MONTH = re.compile(r"\d\d?/\d\d?")
_UNIT_COLUMN = re.compile(r"(dose|conc(entration)?)?_?units?|.*(dose|conc).*units?")
# Other columns of units, such as JUMP's 'mmoles_per_liter_unit', are known by their values.
_OTHER_UNITS = re.compile(r"(.*_)?units?(_.*)?")
_CONCENTRATION = re.compile(r"(milli|micro|nano|pico|[fpnumk]?)(molar|mol(/l)?|m|g/m?l|%|x)", re.I)
# How several genes are written that are then taken for one.
_SEVERAL = re.compile(r"[A-Za-z][\w.-]*(?:\s*[,/+&]\s*|\s+)[A-Za-z][\w.-]*(?:[\s,/+&]+[\w.-]+)*")
# Doses of one perturbation that are nearer than this are probably one dose, rounded.
ROUNDING = 0.01


def split_genes(cell: str) -> list[str]:
    """List the genes of a cell that may have several, as targets of a compound: ``A|B``."""
    genes = [gene for part in re.split(r"[|;]", cell) if (gene := part.strip())]
    return list(dict.fromkeys(genes))


def find_contradictions(
    table: pd.DataFrame, *, given_roles: pd.Series, labels: pd.Series, where: str
) -> list[str]:
    """List what can't all be true, one line each, by the lines of the table.

    Parameters
    ----------
    table
        The layout, indexed by line, with text in plate, well, perturbation, gene and numbers in
        dose.
    given_roles
        The roles as the user wrote them, aligned.
    labels
        The condition of each well, aligned.
    where
        What to call the layout in messages.
    """
    wells = table[table["role"] != "empty"]
    treated = wells[wells["role"] != "negative_control"]
    return [
        *_find_mangled(table, where),
        *_find_spellings(wells, "perturbation", where),
        *_find_spellings(treated, "gene", where),
        *_find_roles(wells, given_roles, labels, where),
        *_find_genes(treated, where),
        *_find_units(wells, where),
        *_find_collisions(wells, labels, where),
    ]


def find_oddities(table: pd.DataFrame, *, given_roles: pd.Series, where: str) -> list[str]:
    """List what may be meant so, and may be an error, one line each."""
    treated = table[table["role"].isin(["treated", "positive_control"])]
    # One line for all perturbations of a kind, with the first of them.
    partly, undosed, near = list[str](), list[str](), list[str]()
    for name, rows in treated[_find_uneven(treated)].groupby("perturbation", sort=False):
        has_gene = rows["gene"] != ""
        if has_gene.any() and not has_gene.all():
            partly.append(
                f"{name!r} has the gene {rows['gene'][has_gene].iloc[0]!r} on "
                f"{list_lines(rows.index[has_gene])} and none on "
                f"{list_lines(rows.index[~has_gene])}"
            )
        known = rows["dose"].dropna()
        if 0 < len(known) < len(rows):
            without = rows.index[rows["dose"].isna()]
            undosed.append(f"{name!r} has doses, and none on {list_lines(without)}")
        doses = sorted(map(float, known.unique()))
        close = [(low, high) for low, high in pairwise(doses) if high - low <= ROUNDING * high]
        for low, high in close[:1]:
            near.append(
                f"{name!r} has the doses {low!r} ({list_lines(known.index[known == low])}) and "
                f"{high!r} ({list_lines(known.index[known == high])})"
            )
    named = treated[[looks_untreated(name) for name in treated["perturbation"]]]
    named = named[given_roles[named.index] != ""]
    untreated = [
        f"{row.perturbation!r} (line {row.Index}) has the role {row.role!r}"
        for row in named.itertuples()
    ]
    return [
        f"{where}: {found[0]}{_count_others(found)}{meaning}"
        for found, meaning in (
            (partly, ". Wells without the gene have no part in what goes by genes"),
            (undosed, ""),
            (near, ", which are two conditions. Write one if they are the same, rounded"),
            (untreated, ", though its name is that of untreated wells"),
            (_find_lists(treated), " is taken for one gene. Several are written 'A|B'"),
            (_find_swapped(treated), ". Compare the two columns"),
            (_find_unitless(treated), " has doses without a unit, others have one"),
        )
        if found
    ]


def _find_lists(table: pd.DataFrame) -> list[str]:
    """Find genes that are probably several, separated by other marks than '|' and ';'."""
    genes = table["gene"].drop_duplicates()
    return [f"gene {g!r} on line {line}" for line, g in genes.items() if _SEVERAL.fullmatch(g)]


def _find_swapped(table: pd.DataFrame) -> list[str]:
    """Find perturbations whose name is another one's gene, and not their own."""
    rows = table[table["gene"] != ""].drop_duplicates(["perturbation", "gene"])
    own = {row.Index: {g.upper() for g in split_genes(row.gene)} for row in rows.itertuples()}
    every = set[str]().union(*own.values())
    return [
        f"{row.perturbation!r} has the gene {row.gene!r} (line {row.Index}), and is a gene itself"
        for row in rows.itertuples()
        if row.perturbation.upper() in every - own[row.Index]
    ]


def _find_unitless(table: pd.DataFrame) -> list[str]:
    """Find columns of units that are empty beside some doses."""
    rows = table[table["dose"].fillna(0) != 0]
    return [
        f"column {column!r} on {list_lines(rows.index[rows[column] == ''])}"
        for column in _find_unit_columns(table)
        if (rows[column] == "").any() and (rows[column] != "").any()
    ]


def _find_uneven(table: pd.DataFrame) -> "pd.Series[bool]":
    """Mark rows of perturbations with a gene or a dose on some rows only, or doses nearly alike."""
    by = table["perturbation"]
    said = pd.DataFrame({"gene": table["gene"] != "", "dose": table["dose"].notna()})
    uneven = (said.groupby(by).transform("nunique") > 1).any(axis=1)
    doses = table[["perturbation", "dose"]].dropna().drop_duplicates()
    doses = doses.sort_values(["perturbation", "dose"])
    step = doses.groupby("perturbation")["dose"].diff()
    return uneven | by.isin(doses["perturbation"][step <= ROUNDING * doses["dose"]])


def _count_others(found: list[str]) -> str:
    return f" ({len(found) - 1} others alike)" if len(found) > 1 else ""


def _find_mangled(table: pd.DataFrame, where: str) -> list[str]:
    """Find names that a spreadsheet has turned into dates and numbers."""
    problems = []
    for column in ("gene", "perturbation"):
        names = table[column][table[column] != ""]
        numeric = names.map(str.isdecimal)
        # Where most are numbers, they are NCBI's gene identifiers or a library's.
        serials = column == "gene" and numeric.mean() <= 0.5 if len(names) else False
        # A guide of JUN's may be called JUN-1.
        own = table["gene"][names.index] if column == "perturbation" else names.map(lambda _: "")
        bad = [
            (line, name)
            for (line, name), gene in zip(names.items(), own, strict=True)
            if (is_mangled(name) and not (gene and name.upper().startswith(gene.upper())))
            or (serials and is_serial_day(name))
            or (column == "gene" and _DAY_MONTH.fullmatch(name))
        ]
        if bad:
            problems.append(
                f"{where}: {column} {bad[0][1]!r} on {list_lines(line for line, _ in bad)} is a "
                "date or number that a spreadsheet made of a name, expected the name. Write the "
                "current symbols (SEPTIN2, MARCHF1), with the column formatted as text."
            )
    return problems


def _find_spellings(table: pd.DataFrame, column: str, where: str) -> list[str]:
    """Find names that differ in nothing but case, spaces or the way a letter is encoded."""
    names = table[column][table[column] != ""]
    known = pd.Series(names.unique(), dtype=object)
    folded = known.map(fold_spelling)
    known = known[folded.duplicated(keep=False)]
    names = names[names.isin(known)]
    return [
        f"{where}: {column} is written {first!r} on {list_lines(names.index[names == first])} and "
        f"{second!r} on {list_lines(names.index[names == second])}{tell_apart(first, second)}. "
        "Write one name in one way, or give two more different names."
        for _, same in names.groupby(names.map(fold_spelling), sort=False)
        for first, second in combinations(same.unique()[:2], 2)
    ]


def _find_roles(table: pd.DataFrame, given: pd.Series, labels: pd.Series, where: str) -> list[str]:
    """Find wells of one condition with two roles, and untreated wells without one."""
    problems = []
    given = given[table.index]
    untreated = {n for n in {*table["perturbation"], *table["gene"]} if looks_untreated(n)}
    nameless = table[table["perturbation"].isin(untreated) | table["gene"].isin(untreated)]
    lost = nameless.index[given[nameless.index] == ""]
    has_roles = bool((given != "").any())
    if len(lost) and has_roles:
        name, gene = table["perturbation"][lost[0]], table["gene"][lost[0]]
        of_gene = "" if name in untreated else f" (gene {gene!r})"
        problems.append(
            f"{where}: {name!r}{of_gene} has no role on {list_lines(lost)}, and a well without "
            "one counts as treated. Write negative_control, treated or empty."
        )
    by = labels[table.index]
    several = table.groupby(by)["role"].transform("nunique") > 1
    for label, rows in table[several].groupby(by[several], sort=False):
        if lost.isin(rows.index).any():
            continue
        said = {
            role: f"{role!r}{'' if (given[own.index] != '').any() else ' (no role)'} on "
            f"{list_lines(own.index)}"
            for role, own in rows.groupby("role", sort=False)
        }
        problems.append(f"{where}: {label!r} is {' and '.join(said.values())}. Give it one role.")
    return problems


def _find_genes(table: pd.DataFrame, where: str) -> list[str]:
    """Find perturbations with two genes."""
    genes = table[table["gene"] != ""]
    folds = {g: "|".join(sorted(map(str.upper, split_genes(g)))) for g in genes["gene"].unique()}
    genes = genes.assign(fold=genes["gene"].map(folds))
    genes = genes[genes.groupby("perturbation")["fold"].transform("nunique") > 1]
    return [
        f"{where}: {name!r} has "
        + " and ".join(
            f"the gene {own['gene'].iloc[0]!r} on {list_lines(own.index)}"
            for _, own in rows.groupby("fold", sort=False)
        )
        + ", expected one. Correct the gene, or name the perturbations apart. Several targets of "
        "one compound: 'A|B'."
        for name, rows in genes.groupby("perturbation", sort=False)
    ]


def _find_units(table: pd.DataFrame, where: str) -> list[str]:
    """Find doses in several units, which would be compared as if they were one."""
    problems = []
    for column in _find_unit_columns(table):
        rows = table[table["dose"].fillna(0) != 0]
        units = rows[column].map(lambda unit: unicodedata.normalize("NFKC", unit).replace("μ", "u"))
        units = units[units != ""]
        if len(units.unique()) > 1:
            first, second = units.unique()[:2]
            problems.append(
                f"{where}: column {column!r} is {first!r} on "
                f"{list_lines(units.index[units == first])} and {second!r} on "
                f"{list_lines(units.index[units == second])}, expected one unit. Convert the doses "
                "to one."
            )
    return problems


def _find_unit_columns(table: pd.DataFrame) -> list[str]:
    """List the columns that give the unit of the dose, by their names and values."""
    found = []
    for column in table.columns:
        folded = re.sub(r"[^a-z]+", "_", str(column).lower()).strip("_")
        values = {value for value in table[column].unique() if value} if folded else set()
        if _UNIT_COLUMN.fullmatch(folded) or (
            _OTHER_UNITS.fullmatch(folded)
            and values
            and all(
                _CONCENTRATION.fullmatch(str(v).replace("µ", "u").replace("μ", "u")) for v in values
            )
        ):
            found.append(column)
    return found


def _find_collisions(table: pd.DataFrame, labels: pd.Series, where: str) -> list[str]:
    """Find perturbations whose name is that of another one's dose."""
    problems = []
    by = labels[table.index]
    several = table.groupby(by)["perturbation"].transform("nunique") > 1
    for label, rows in table[several].groupby(by[several], sort=False):
        # One of them is the label itself, the other one has this dose.
        same = rows["perturbation"] == label
        problems.append(
            f"{where}: {label!r} names a perturbation ({list_lines(rows.index[same])}) and a "
            f"dose of {rows['perturbation'][~same].iloc[0]!r} "
            f"({list_lines(rows.index[~same])}). Rename one of them."
        )
    return problems


def list_lines(lines: Iterable[Hashable]) -> str:
    """List lines: the first three, and how many more there are."""
    every = list(map(str, lines))
    if len(every) == 1:
        return f"line {every[0]}"
    if len(every) > 3:
        return f"lines {', '.join(every[:3])} and {len(every) - 3} more"
    return f"lines {', '.join(every[:-1])} and {every[-1]}"
