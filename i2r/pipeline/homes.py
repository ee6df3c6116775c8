"""Workers that still hold a well's pixels in memory: the well's next stages run there.

A worker keeps the planes that it read or wrote last (`i2r.store.recent`). A well that is segmented
where it was converted takes a twelfth less time, one that is cropped where it was segmented two
fifths less: nothing is decoded again.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from i2r.pipeline.units import Unit
from i2r.stages.base import FINISH

# What units read is soon gone from a worker's memory again, so only so many are remembered.
MOST_KEYS = 4096
# Units that are looked through for one whose worker has room.
MOST_LOOKED_AT = 64
# Units that take longer gain nothing, and should run wherever there is room first.
LONG_S = 10.0


class Homes:
    """Remembers where the units of a key ran last."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, str] = OrderedDict()

    def note(self, unit: Unit, address: str, *, seconds: float) -> None:
        """Take note of a unit that was done.

        Parameters
        ----------
        unit
            The unit.
        address
            Its worker; empty for this process.
        seconds
            How long it took.
        """
        if not address or unit.key == FINISH or seconds > LONG_S:
            self._addresses.pop(unit.key, None)
            return
        self._addresses[unit.key] = address
        self._addresses.move_to_end(unit.key)
        if len(self._addresses) > MOST_KEYS:
            self._addresses.popitem(last=False)

    def find(self, unit: Unit) -> str:
        """Give the address of the worker that knows a unit's key; empty where none does."""
        return self._addresses.get(unit.key, "")

    def bring_forward(self, waiting: deque[Unit], has_room: Callable[[str], bool]) -> str:
        """Bring the first unit to the front that any worker may take, or whose worker has room.

        Parameters
        ----------
        waiting
            Units of a stage, at least one; where none has room they stay as they are.
        has_room
            Tells whether a worker, by its address, takes one more submission.

        Returns
        -------
        str
            The worker for the first unit; empty for any.
        """
        for index, unit in zip(range(MOST_LOOKED_AT), waiting, strict=False):
            address = self.find(unit)
            if not address or has_room(address):
                if index:
                    del waiting[index]
                    waiting.appendleft(unit)
                return address
        return ""

    def count_together(self, waiting: Iterable[Unit]) -> int:
        """Count the units at the front that have the same worker as the first."""
        homes = iter(waiting)
        first = self.find(next(homes))
        count = 1
        for unit in homes:
            if self.find(unit) != first or count == MOST_LOOKED_AT:
                break
            count += 1
        return count
