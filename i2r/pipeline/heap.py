"""Memory that was freed: kept by the process for speed, or given back where a worker has little.

glibc keeps what large arrays leave behind, up to 64 MiB at the end of every heap and any number of
holes, because taking memory from the system again costs a third of the time of a unit on images.
On a worker with little memory that is what makes it run out of it.
"""

import ctypes
import sys
from functools import cache
from typing import Any

import psutil

# Of mallopt, in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# glibc begins with these, and raises them by itself as far as the second pair.
_SPARING = (2**17, 2**17)
_FAST = (2**26, 2**25)
SPARE_PART = 4
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
