"""How long a detector needs for a frame."""

from kd3d.detectors import Detector
from kd3d.profiling import time_passes
from kd3d.profiling.latency import TOTAL, Mark
from kd3d.profiling.state import evaluating
from kd3d.structures import PointBatch

__all__ = ["measure_latency"]


def measure_latency(
    detector: Detector, batch: PointBatch, *, repeats: int = 10, warmup: int = 2
) -> float:
    """Measure the median time per frame from raw points to boxes after suppression.

    The detector runs in evaluation mode without gradients, on the device where it is, and gets
    its mode back afterwards; see `kd3d.profiling.time_passes` for the clock.

    Args:
        detector: the network; the batch is moved to its device before the clock starts.
        batch: one or more frames.
        repeats: timed passes.
        warmup: passes before them.

    Returns:
        milliseconds per frame.

    Raises:
        InputError: if `repeats` is below 1.
    """
    device = next(detector.parameters()).device
    batch = batch.to(device)

    def run(mark: Mark) -> None:
        detector.decode(detector(batch))
        mark(TOTAL)

    with evaluating(detector):
        times = time_passes(run, device, repeats=repeats, warmup=warmup)
    return times[TOTAL].median / len(batch)
