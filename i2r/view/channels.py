"""Which channels a change is seen in: those whose features moved most."""

import re
from collections.abc import Iterable, Sequence

from i2r.report.screens import ScreenResult, list_screens
from i2r.report.source import ReportSource


def order_channels(
    source: ReportSource, features: Iterable[str], *, chosen: Sequence[str] = ()
) -> list[str]:
    """Order all channels by when the first feature names them.

    Parameters
    ----------
    source
        The experiment.
    features
        Names of features, the one that moved most first. A feature that names no channel, such as
        an area, is one of the channel that was segmented.
    chosen
        Channels that follow those of the features, before all others: what a screen looked at.
    """
    names = source.channels
    segmented = [str(s.options.get("channel", "")) for s in source.stages_of("segment")][:1]
    found: list[str] = []
    for feature in features:
        found += find_channels(feature, names) or segmented
    return [name for name in dict.fromkeys([*found, *chosen, *names]) if name in names]


def find_channels(feature: str, names: Sequence[str]) -> list[str]:
    """Find the channels that a feature's name holds as whole words, the first of them first.

    ``mean_GFP`` and ``Nuclei_Correlation_K_DNA_GFP`` name channels, ``area_um2`` names none. Of two
    channels at one place, such as ``ER`` and ``ER_2``, the longer one counts.
    """
    longest = sorted(filter(None, names), key=len, reverse=True)
    if not longest:
        return []
    either = "|".join(map(re.escape, longest))
    return list(dict.fromkeys(re.findall(rf"(?<![^\W_])(?:{either})(?![^\W_])", feature)))


def suggest_channel(source: ReportSource, condition: str, screen: str = "") -> str:
    """Name the channel in which a condition moved most; the first one where nobody knows.

    Parameters
    ----------
    source
        The experiment.
    condition
        As the tables name it; one that no screen tested has the channel of the screen's best.
    screen
        Name of the screen; default: the first complete one.
    """
    for found in list_screens(source):
        if screen in ("", found.stage.title):
            features = list_moved_features(source, found, condition)
            ordered = order_channels(source, features, chosen=list_looked_at(found))
            return ordered[0] if ordered else ""
    return next(iter(source.channels), "")


def list_moved_features(source: ReportSource, screen: ScreenResult, condition: str) -> list[str]:
    """List the features that moved most by a screen's own table; none where it has no table."""
    title = screen.stage.title
    table = source.reduced_table(title, f"{title}-features")
    if table is None or table.empty:
        return []
    tested = table["condition"].astype(str)
    if not (tested == condition).any():
        best = screen.conditions["condition"].astype(str)
        best = best[best.isin(tested)]
        condition = str(best.iloc[0]) if len(best) else condition
    own = table[tested == condition].sort_values("place")
    return own["feature"].astype(str).tolist()


def list_looked_at(screen: ScreenResult) -> list[str]:
    """List the channels that a screen was told to look at."""
    chosen = screen.stage.options.get("channels")
    return [str(name) for name in chosen] if isinstance(chosen, list | tuple) else []
