"""What the user sees while a pipeline runs: one line per stage."""

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from i2r.pipeline.units import UnitGraph
from i2r.pipeline.work import Outcome

Style = Literal["auto", "rich", "notebook", "plain", "json", "none"]
PLAIN_EVERY_S = 15.0
# A redraw counts all units, so it must not follow every one that ends.
REDRAW_S = 0.25
# Characters.
BAR_WIDTH = 16
# Rates are those of the last minute.
RATE_OVER_S = 60.0
# Units that end within so long are counted together: thousands a second may.
RATE_STEP_S = 0.1


class Progress:
    """Counts units, fields and nuclei per stage, and shows rates and the time left.

    Parameters
    ----------
    graph
        The units of the run.
    slots
        How many units run at once; the time left is a stage's remaining work over all of them.
    style
        ``rich`` redraws one table (for terminals), ``notebook`` one below the cell that runs,
        ``plain`` and ``json`` print a line per stage every 15 s and at the end (for log files),
        ``none`` is silent; ``auto`` chooses.
    """

    def __init__(self, graph: UnitGraph, *, slots: int, style: Style = "auto") -> None:
        self._console = Console(stderr=True)
        self.style = style
        if style == "auto":
            redraws: Style = "rich" if self._console.is_terminal else "plain"
            self.style = "notebook" if self._console.is_jupyter else redraws
        self._graph = graph
        # Without stages that this run leaves out and that were never done.
        self._totals = {
            title: len(units)
            for title, units in graph.units.items()
            if any(u.state == "done" or not u.was_current for u in units.values())
        }
        self._counts: dict[str, Counter[str]] = {title: Counter() for title in self._totals}
        self._slots = max(1, slots)
        self._busy_s = dict.fromkeys(self._totals, 0.0)
        self._recent: dict[str, deque[tuple[float, int, int]]] = {t: deque() for t in self._totals}
        self._printed_s = time.monotonic()
        self._live: Live | None = None
        self._shown: Any = None
        self._changed = set[str]()

    def __enter__(self) -> "Progress":
        if self.style == "rich":
            self._live = Live(self._table(), console=self._console, refresh_per_second=4)
            self._live.start()
        elif self.style == "notebook":
            # An output of the cell that is replaced: rich itself would need ipywidgets for it.
            show: Any = import_module("IPython.display").display
            self._shown = show(self._table(), display_id=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
        elif self._shown is not None:
            self._shown.update(self._table())
        else:
            self._print()

    def count(self, title: str, event: str, outcome: Outcome | None = None) -> None:
        """Count one unit that ended, with what it says of itself."""
        self._changed.add(title)
        counts = self._counts[title]
        counts[event] += 1
        if outcome is None:
            return
        fields, nuclei = (int(outcome.result.get(name, 0)) for name in ("fields", "nuclei"))
        counts["excluded"] += len(outcome.result.get("excluded", {}))
        self._busy_s[title] += outcome.seconds
        recent, now = self._recent[title], time.monotonic()
        if len(recent) > 1 and now - recent[-2][0] < RATE_STEP_S:
            _, more_fields, more_nuclei = recent.pop()
            fields, nuclei = fields + more_fields, nuclei + more_nuclei
        recent.append((now, fields, nuclei))
        while recent[-1][0] - recent[0][0] > RATE_OVER_S:
            recent.popleft()

    def refresh(self) -> None:
        """Show the present state, on a terminal at once, in a log now and then."""
        now = time.monotonic()
        drawn = self._live or self._shown
        if drawn is not None and now - self._printed_s > REDRAW_S:
            self._printed_s = now
            drawn.update(self._table())
        elif drawn is None and now - self._printed_s > PLAIN_EVERY_S:
            self._print()

    def _row(self, title: str) -> dict[str, Any]:
        """Give one stage's figures."""
        counts, total = self._counts[title], self._totals[title]
        current = sum(u.was_current for u in self._graph.units[title].values())
        ended = counts["done"] + counts["failed"] + counts["blocked"]
        recent = self._recent[title]
        # The first unit ends after a time that nobody saw begin, so it does not count.
        seconds = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0.0
        fields = sum(item[1] for item in recent) - (recent[0][1] if recent else 0)
        nuclei = sum(item[2] for item in recent) - (recent[0][2] if recent else 0)
        left = total - current - ended
        cost_s = self._busy_s[title] / max(1, counts["done"])
        return {
            "stage": title,
            "units": total,
            "done": counts["done"],
            "current": current,
            "failed": counts["failed"],
            "blocked": counts["blocked"],
            "excluded_fields": counts["excluded"],
            "fields_per_s": round(fields / seconds, 1) if seconds else 0.0,
            "nuclei_per_s": round(nuclei / seconds) if seconds else 0,
            "eta_s": round(left * cost_s / self._slots),
        }

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        names = ("stage", "", "units", "fields/s", "nuclei/s", "ETA", "")
        for index, name in enumerate(names):
            table.add_column(name, justify="left" if index in (0, 1, 6) else "right")
        for title in self._totals:
            row = self._row(title)
            ended = row["done"] + row["current"]
            table.add_row(
                title,
                ProgressBar(total=max(1, row["units"]), completed=ended, width=BAR_WIDTH),
                f"{ended}/{row['units']}",
                f"{row['fields_per_s']:.1f}" if row["fields_per_s"] else "",
                f"{row['nuclei_per_s']}" if row["nuclei_per_s"] else "",
                _clock(row["eta_s"]) if row["eta_s"] else ("done" if ended == row["units"] else ""),
                _complaints(row),
            )
        return table

    def _print(self) -> None:
        """Print a line for every stage in which something happened since the last time."""
        self._printed_s = time.monotonic()
        for title in self._totals:
            if title not in self._changed or self.style == "none":
                continue
            row = self._row(title)
            if self.style == "json":
                sys.stderr.write(json.dumps({"time_s": round(time.time(), 1), **row}) + "\n")
                continue
            ended = row["done"] + row["current"]
            parts = [f"{time.strftime('%H:%M:%S')} {title}: {ended}/{row['units']}"]
            parts += [f"{row['fields_per_s']} fields/s"] if row["fields_per_s"] else []
            parts += [f"{row['nuclei_per_s']} nuclei/s"] if row["nuclei_per_s"] else []
            parts += [f"ETA {_clock(row['eta_s'])}"] if row["eta_s"] else []
            parts += [_complaints(row)] if _complaints(row) else []
            sys.stderr.write(", ".join(parts) + "\n")
        sys.stderr.flush()
        self._changed.clear()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _complaints(row: Mapping[str, Any]) -> str:
    """Say what went wrong in a stage, nothing where nothing did."""
    parts = [f"{row[n]} {n}" for n in ("failed", "blocked") if row[n]]
    if row["excluded_fields"]:
        parts.append(
            f"{row['excluded_fields']} field{'s' * (row['excluded_fields'] != 1)} excluded"
        )
    return ", ".join(parts)
