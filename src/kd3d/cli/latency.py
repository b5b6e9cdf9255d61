"""How long a detector needs for a frame."""

import statistics
import time

import torch

from kd3d.detectors import Detector
from kd3d.errors import InputError
from kd3d.structures import PointBatch

__all__ = ["measure_latency"]


def measure_latency(
    detector: Detector, batch: PointBatch, *, repeats: int = 10, warmup: int = 2
) -> float:
    """Measure the median time per frame from raw points to boxes after suppression.

    The detector runs in evaluation mode without gradients, on the device where it is, and gets
    its mode back afterwards; CUDA is synchronised around every repeat.

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
    if repeats < 1:
        raise InputError(f"{repeats} repeats measure nothing.", where="repeats", hint="Ask for 1.")
    device = next(detector.parameters()).device
    batch = batch.to(device)
    training = detector.training
    detector.eval()
    try:
        with torch.inference_mode():
            times = [_timed(detector, batch, device) for _ in range(warmup + repeats)]
    finally:
        detector.train(training)
    return 1000.0 * statistics.median(times[warmup:]) / len(batch)


def _timed(detector: Detector, batch: PointBatch, device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    detector.decode(detector(batch))
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
