"""How a run ended: what ran, failed and was blocked, and the fields that were excluded."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from i2r.pipeline.units import Unit, UnitGraph
from i2r.store.experiment import Experiment

# Results that hold an excluded field, as JSON.
_EXCLUDES = r'"excluded":\s*\{\s*"'


class Summary(NamedTuple):
    """How a run ended."""

    ran: Counter[str]
    failed: list[Unit]
    blocked: list[Unit]
    excluded: dict[str, dict[str, str]]
    seconds: float
    stopped: str = ""
    timings: Mapping[str, Any] = {}
    # Units whose output turned out to be gone or changed when others read it.
    damaged: frozenset[tuple[str, str]] = frozenset()

    def __repr__(self) -> str:
        ran = ", ".join(f"{title} {number}" for title, number in self.ran.items()) or "nothing"
        counts = {
            "failed": len(self.failed),
            "blocked": len(self.blocked),
            "fields excluded": sum(map(len, self.excluded.values())),
        }
        troubles = [f"{number} {word}" for word, number in counts.items() if number]
        if self.stopped:
            troubles.append(self.stopped)
        return "; ".join([f"ran {ran} in {self.seconds:.1f} s", *troubles])

    @property
    def exit_code(self) -> int:
        """0 done; 3 done, with failed or blocked units or excluded fields; 2 stopped."""
        if self.stopped:
            return 2
        return 3 if self.failed or self.blocked or self.excluded else 0


def find_blocked(graph: UnitGraph) -> list[Unit]:
    """List the blocked units of the stages that were to run."""
    return [unit for unit in graph if unit.state == "blocked" and not unit.was_current]


def collect_excluded(graph: UnitGraph) -> dict[str, dict[str, str]]:
    """Gather the fields that were excluded, unless the user asked for it, by unit."""
    ledger = graph.experiment.ledger
    found = {}
    for unit in graph:
        if unit.state == "done":
            result = ledger.result(unit.stage.title, unit.key) or {}
            if unasked := _choose_unasked(result):
                found[unit.name] = unasked
    return found


def list_excluded(experiment: Experiment, stages: Iterable[str]) -> dict[str, dict[str, str]]:
    """List as `collect_excluded` does, of stages whose units are all done."""
    return {
        f"{entry.stage} {entry.key}": unasked
        for stage in stages
        for entry in experiment.ledger.entries(stage, matching=_EXCLUDES)
        if (unasked := _choose_unasked(entry.result))
    }


def _choose_unasked(result: Mapping[str, Any]) -> dict[str, str]:
    """Choose the excluded fields that nobody asked to exclude."""
    return {f: r for f, r in result.get("excluded", {}).items() if r != "listed"}
