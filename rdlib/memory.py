"""Keeping memory that the next update needs again.

glibc hands every large block back to the system when it is freed, and the next update pays for fresh zeroed
pages. With many agents on a CPU that is a third of the time (CQL, A = 8: 14 to 23 agent-updates/s).
"""

import ctypes

# <malloc.h>: no block gets a mapping of its own, and the heap is never trimmed.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed() -> bool:
    """Tell glibc to keep what is freed, for the rest of this process; False where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
