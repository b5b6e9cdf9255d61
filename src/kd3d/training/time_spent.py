"""How long a training took, interruptions left out."""

import time
from typing import Any

from lightning.pytorch.callbacks import Callback
from typing_extensions import override

__all__ = ["TimeSpent"]


class TimeSpent(Callback):
    """Count the seconds of a fit, over all the calls that it took.

    The counts are part of every checkpoint: a run that goes on from one counts what led to that
    checkpoint, and not what was lost after it.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: processor time of this process, all threads; not that of its loader's workers.
    """

    def __init__(self) -> None:
        self._spent = (0.0, 0.0)
        self._began: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return self._now()[0]

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        return self._now()[1]

    @override
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clocks."""
        self._began = _clocks()

    @override
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop the clocks."""
        self._spent, self._began = self._now(), None

    @override
    def state_dict(self) -> dict[str, Any]:
        """Give the counts."""
        seconds, cpu_seconds = self._now()
        return {"seconds": seconds, "cpu_seconds": cpu_seconds}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from what led to a checkpoint."""
        self._spent = (state_dict["seconds"], state_dict["cpu_seconds"])

    def _now(self) -> tuple[float, float]:
        wall, cpu = self._spent
        if self._began is None:
            return wall, cpu
        clocks = _clocks()
        return wall + clocks[0] - self._began[0], cpu + clocks[1] - self._began[1]


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
