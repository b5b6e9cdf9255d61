"""Freed memory is kept for the next step: large maps on a CPU."""

import ctypes
import platform

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_NEVER = -1


def keep_freed_memory() -> bool:
    """Have the process keep what it frees, instead of fetching it anew from the system.

    The C library gives large blocks back at once, and every step of a training on a CPU then meets
    new pages for each of its maps: a fault for every 4 KiB. Numbers do not change. Memory stays as
    large as it once was; the setting holds for the process and what it forks.

    Returns:
        whether there is such a setting (in glibc), and it was taken.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
