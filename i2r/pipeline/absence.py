"""Units that no worker is there for: they wait, and are not to blame.

On a busy machine a worker that died needs minutes to start again, and a paused one goes on when the
unit it runs is done. Dask's own timeout would let the units that wait meanwhile fail.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any

from i2r.errors import I2RError

# A process of Python that imports Dask needs seconds on an idle machine, minutes on a busy one.
ABSENT_S = 600.0


class AbsenceWatch:
    """Notices when the workers that units wait for stay away."""

    def __init__(self) -> None:
        self._gone_s: dict[str, float] = {}

    def check(self, workers: Collection[Mapping[str, Any]], wanted: Collection[str]) -> None:
        """Refuse to wait longer for workers that do not come back.

        Parameters
        ----------
        workers
            Those that the scheduler knows, paused ones too.
        wanted
            The resources that submitted units ask for.

        Raises
        ------
        I2RError
            If no worker had one of them for ten minutes.
        """
        now = time.monotonic()
        gone = [r for r in wanted if not any(worker["resources"].get(r) for worker in workers)]
        self._gone_s = {resource: self._gone_s.get(resource, now) for resource in gone}
        for resource, since in self._gone_s.items():
            if now - since > ABSENT_S:
                raise I2RError(
                    f"cluster: no {resource} worker for {ABSENT_S / 60:.0f} minutes, and units "
                    "wait for one. Workers are started again when they end: look at what they said "
                    "above, and at the memory of the machine. The same command goes on."
                )


def is_absence(error: BaseException) -> bool:
    """Tell whether a scheduler gave a task up because no worker was there for it.

    A scheduler that is not ours may have such a timeout.
    """
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    return isinstance(error, NoWorkerError | NoValidWorkerError)
