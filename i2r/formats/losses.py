"""What an interactome left out or translated, in lines for the user."""

import pandas as pd

from i2r.formats.interactions import MANGLED, NAMELESS

# A published gene embedding has 249 genes: with many more the published widths take hours.
MANY_GENES = 1000


def note_losses(dropped: pd.DataFrame, n_targets: int) -> list[str]:
    """Say in one line each what is missing that a user may have counted on.

    Parameters
    ----------
    dropped
        Everything left out: symbol, reason.
    n_targets
        How many targets there were.
    """
    lost = dropped[dropped["reason"].str.startswith("target: ")]
    named = [
        f"{row.symbol} ({row.reason.removeprefix('target: ')})" for row in lost.head(5).itertuples()
    ]
    twice = dropped.loc[dropped["reason"] == "listed again with a higher cost", "symbol"]
    unknown = dropped.loc[dropped["reason"] == "expression is missing", "symbol"]
    nameless = dropped.loc[dropped["reason"] == NAMELESS, "symbol"]
    mangled = dropped.loc[dropped["reason"] == MANGLED, "symbol"]
    more = f" and {len(lost) - 5} others" if len(lost) > 5 else ""
    notes = [
        (lost, f"{len(lost)} of {n_targets} targets not in the network: {', '.join(named)}{more}"),
        (twice, f"{len(twice)} interactions listed with two costs, such as {_first(twice)}: the "
         "lower one counts"),
        (unknown, f"{len(unknown)} genes lack the expression of a line, such as {_first(unknown)}: "
         "they have no prize"),
        (nameless, f"{len(nameless)} interactions lack a name, such as {_first(nameless)}, and are "
         "left out. A gene that is called NA or nan has to be in quotes"),
        (mangled, f"{len(mangled)} names are dates that a spreadsheet made of symbols, such as "
         f"{_first(mangled)}, and are left out"),
    ]  # fmt: skip
    return [text for rows, text in notes if len(rows)]


def note_translations(translated: pd.DataFrame) -> list[str]:
    """Say in one line how many names were translated, and in another which stayed ambiguous."""
    is_ambiguous = translated["how"] == "ambiguous"
    done, left = translated[~is_ambiguous], translated[is_ambiguous]
    other = done[~done["how"].str.startswith(("identifier", "kept"))]
    shown = ", ".join(
        f"{row.name_} ({row.symbol})"
        for row in left.rename(columns={"name": "name_"}).head(3).itertuples()
    )
    notes = [
        (other, f"{len(other)} names of genes translated to their symbol, such as "
         + ", ".join(f"{n} to {s}" for n, s in other[["name", "symbol"]].head(2).to_numpy())),
        (left, f"{len(left)} names may stand for several genes, or are genes of their own here, "
         f"and stay as they are: {shown}"),
    ]  # fmt: skip
    return [text for rows, text in notes if len(rows)]


def note_size(n_genes: int, sweep: pd.DataFrame, beta: float) -> list[str]:
    """Warn of a network that is much larger than the published one, with a beta that gives less."""
    if n_genes <= MANY_GENES:
        return []
    fewer = sweep[(sweep["genes"] <= MANY_GENES) & (sweep["beta"] < beta)]
    instead = "a smaller 'beta_step', or a lower 'max_cost' or 'hub_quantile', gives fewer"
    if len(fewer):
        row = fewer.iloc[-1]
        instead = (
            f"'beta_last: {row['beta']:g}' gives {row['genes']:.0f} genes and "
            f"{row['targets']:.0f} targets"
        )
    return [
        f"the network has {n_genes:,} genes (published: 249), which makes gene embeddings slow and "
        f"ranks coarse: {instead}"
    ]


def _first(names: "pd.Series[str]") -> str:
    return str(names.iloc[0]) if len(names) else ""
