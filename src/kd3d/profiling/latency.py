"""How long a pass takes, and its stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from kd3d.errors import InputError

__all__ = ["TOTAL", "Latency", "Mark", "time_passes"]

#: Called at the end of a stage, with its name.
Mark = Callable[[str], None]

#: The name of the whole pass among its stages.
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per pass.

    Args:
        median: of the passes.
        p5: their 5th percentile.
        p95: their 95th percentile.
    """

    median: float
    p5: float
    p95: float

    @classmethod
    def of(cls, times: list[float]) -> "Latency":
        """Summarise the times of some passes, linear between the nearest ranks."""
        p5, median, p95 = np.percentile(times, (5, 50, 95)).tolist()
        return cls(median, p5, p95)


def time_passes(
    run: Callable[[Mark], object], device: torch.device, *, repeats: int, warmup: int
) -> dict[str, Latency]:
    """Time passes and their stages.

    On CUDA the stages lie between events on the device's current stream, and the host waits for
    the device once per pass; elsewhere it is the wall clock.

    Args:
        run: makes one pass and marks the end of each of its stages.
        device: where it runs.
        repeats: timed passes.
        warmup: passes before them.

    Returns:
        the stages in their order, then `TOTAL`.

    Raises:
        InputError: if `repeats` is below 1 or `warmup` below 0.
    """
    if repeats < 1:
        raise InputError(f"{repeats} repeats measure nothing.", where="repeats", hint="Ask for 1.")
    if warmup < 0:
        raise InputError(f"cannot be {warmup}.", where="warmup", hint="Ask for 0 or more.")
    clock_of = _DeviceClock if device.type == "cuda" else _WallClock
    times: dict[str, list[float]] = {}
    for number in range(warmup + repeats):
        clock = clock_of(device)
        run(clock.mark)
        laps = clock.laps()
        laps[TOTAL] = sum(laps.values())
        for stage, lap in laps.items() if number >= warmup else ():
            times.setdefault(stage, []).append(lap)
    return {stage: Latency.of(laps) for stage, laps in times.items()}


class _WallClock:
    def __init__(self, device: torch.device) -> None:
        self._laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = 1000.0 * (now - self._last)
        self._last = now

    def laps(self) -> dict[str, float]:
        return self._laps


class _DeviceClock:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stages: list[str] = []
        torch.cuda.synchronize(device)
        self._events = [self._event()]

    def mark(self, stage: str) -> None:
        self._stages.append(stage)
        self._events.append(self._event())

    def laps(self) -> dict[str, float]:
        self._events[-1].synchronize()
        return {
            stage: begin.elapsed_time(end)
            for stage, begin, end in zip(self._stages, self._events, self._events[1:], strict=False)
        }

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
