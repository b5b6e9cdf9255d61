"""Whether spconv is there, and how to keep it on one thread."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module

import torch

from kd3d.errors import ConfigError

__all__ = ["missing", "one_thread", "require"]

INSTALL = (
    "Install kd3d[spconv-cpu], or kd3d[spconv-cu120] where there is a CUDA device; "
    'or use engine="torch".'
)


@cache
def missing(device: str) -> str | None:
    """Say why spconv cannot run on a kind of device, or nothing if it can."""
    if device not in ("cpu", "cuda"):
        return f"spconv does not run on {device}."
    try:
        import_module("spconv.pytorch")
        build = import_module("spconv.cppconstants")
    except ImportError as error:
        return f"spconv is not installed ({error})."
    if device == "cuda" and build.CPU_ONLY_BUILD:
        return "this build of spconv is for the CPU only."
    return None


def require(device: str = "cpu") -> None:
    """Make sure that spconv can run.

    Raises:
        ConfigError: if it is not installed, or not for this kind of device.
    """
    reason = missing(device)
    if reason is not None:
        raise ConfigError(reason, where='engine="spconv"', hint=INSTALL)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenMP to one thread: torch's runtime, and the one that spconv's wheel may carry.

    Which of the two spconv's loops run on is up to the loader.
    """
    before, carried = torch.get_num_threads(), _carried_openmp()
    carried_before = carried.omp_get_max_threads() if carried else 1
    torch.set_num_threads(1)
    if carried:
        carried.omp_set_num_threads(1)
    try:
        yield
    finally:
        if carried:
            carried.omp_set_num_threads(carried_before)
        torch.set_num_threads(before)


@cache
def _carried_openmp() -> ctypes.CDLL | None:
    """Give the library in which spconv finds OpenMP by itself, if it does."""
    library = ctypes.CDLL(import_module("spconv.core_cc").__file__)
    return library if hasattr(library, "omp_set_num_threads") else None
