"""What the benchmarks share: fair medians, and the name of the machine."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def interleaved_medians(
    tasks: list[Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Give each task's median seconds; the tasks take turns, so that all meet the same noise."""
    times: list[list[float]] = [[] for _ in tasks]
    for task in tasks:
        task()
    for _ in range(repeats):
        for task, seconds in zip(tasks, times, strict=True):
            start = clock()
            task()
            seconds.append(clock() - start)
    return [statistics.median(seconds) for seconds in times]


def machine() -> str:
    """Say what runs the benchmark."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return f"{cpu}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def compare(what: str, ours: float, peer: float, largest_ratio: float) -> None:
    """Print two times in seconds and their ratio."""
    print(
        f"{what:44} {1e3 * ours:8.2f} ms   {1e3 * peer:8.2f} ms   "
        f"{ours / peer:6.3f}   (at most {largest_ratio:g})"
    )
