"""Where the time of a run went: per stage read, computed and written, and how busy workers were."""

import json
import logging
from dataclasses import asdict
from typing import Any

from i2r.pipeline.work import Outcome

# One JSON document per unit that ended; shown by 'i2r -v', or taken by any handler.
LOG = logging.getLogger("i2r.units")


class Timings:
    """Adds up what units say of themselves.

    Parameters
    ----------
    slots
        How many units can run at once.
    """

    def __init__(self, slots: int) -> None:
        self._slots = max(1, slots)
        self._stages: dict[str, dict[str, float]] = {}

    def add(self, title: str, key: str, event: str, outcome: Outcome) -> None:
        """Take note of one unit that ended, and log it."""
        traffic = asdict(outcome.traffic)
        stage = self._stages.setdefault(title, dict.fromkeys(("units", "seconds", *traffic), 0))
        for name, value in {"units": 1, "seconds": outcome.seconds, **traffic}.items():
            stage[name] += value
        if LOG.isEnabledFor(logging.INFO):
            record: dict[str, Any] = {
                "stage": title,
                "key": key,
                "event": event,
                "worker": outcome.worker,
            }
            record |= {"seconds": round(outcome.seconds, 4), "error": outcome.error, **traffic}
            LOG.info("%s", json.dumps(record))

    def describe(self, seconds: float) -> dict[str, Any]:
        """Give the figures as plain values.

        Parameters
        ----------
        seconds
            How long the run took.

        Returns
        -------
        dict
            ``slots``; ``busy_fraction``, the share of the time of all slots in which a unit ran;
            and ``stages``: of each the number of units and, over all of them, ``seconds``,
            ``read_s``, ``compute_s`` (neither reading nor writing), ``write_s``, ``read_bytes``
            and ``written_bytes``.
        """
        stages = {}
        for title, sums in self._stages.items():
            compute_s = max(0.0, sums["seconds"] - sums["read_s"] - sums["write_s"])
            rounded = {name: round(value, 3) for name, value in sums.items()}
            stages[title] = {**rounded, "compute_s": round(compute_s, 3)}
        busy_s = sum(sums["seconds"] for sums in self._stages.values())
        return {
            "slots": self._slots,
            "busy_fraction": round(min(1.0, busy_s / (self._slots * max(seconds, 1e-9))), 3),
            "stages": stages,
        }
