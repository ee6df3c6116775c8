"""Memory that was freed: kept by the process for speed, or given back where a worker has little.

glibc can keep what large arrays leave behind at the end of its heap and in any number of holes.
Taking memory from the system again costs a third of the time of a unit on images. On a worker with
little memory, what is kept is what makes it run out of it.
"""

import ctypes
import sys
from functools import cache
from typing import Any

import psutil

# Of mallopt, in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# glibc begins with these.
_SPARING = (2**17, 2**17)
# It raises them by itself up to a quarter of these. The network's largest arrays have 63 MiB for a
# field of 1080 x 1080: kept as well, they make its labels a fifth faster.
_FAST = (2**28, 2**27)
SPARE_PART = 2
"""Memory is kept for speed while no more than one part in so many of a worker's is in use."""


@cache
def _find_glibc() -> Any:
    """Find the C library's functions; None on systems whose library has none of them."""
    try:
        library = ctypes.CDLL(None)
        return library if library.mallopt and library.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None


def make_room(peak_bytes: int, limit_bytes: int) -> bool:
    """Give memory back to the system, now and from now on, where a unit could need it.

    Parameters
    ----------
    peak_bytes
        What the unit is about to take.
    limit_bytes
        What this process may use; 0 where nobody set it.

    Returns
    -------
    bool
        Whether memory is short, so that it goes back as soon as it is freed.
    """
    library = _find_glibc()
    if library is None or not limit_bytes:
        return False
    used = int(psutil.Process().memory_info().rss)
    is_short = used + peak_bytes > limit_bytes // SPARE_PART
    trim, mmap = _SPARING if is_short else _FAST
    library.mallopt(_M_TRIM_THRESHOLD, trim)
    library.mallopt(_M_MMAP_THRESHOLD, mmap)
    if is_short:
        if (pyarrow := sys.modules.get("pyarrow")) is not None:
            pyarrow.default_memory_pool().release_unused()
        library.malloc_trim(0)
    return is_short
