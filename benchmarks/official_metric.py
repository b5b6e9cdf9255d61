"""The detection metric against the original Waymo evaluator, by object type and by range.

200 frames with 30,000 predictions and about 11,300 objects, the same rows for both. The original
runs in its own environment and process (`make official-env`), which times its metric alone: without
imports, without loading and after one run to warm up. Ours is timed from the same rows at once, and
as `WaymoDetectionMetric` from tensors per frame, in updates of 64 and of 8 frames.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _timing import machine
from detection_metric import BREAKDOWNS, Frames, draw, evaluation

from kd3d.errors import ConfigError
from kd3d.metrics.frames import objects_of, predictions_of
from kd3d.metrics.functional import Objects, Predictions
from kd3d.metrics.official import (
    OfficialEvaluator,
    compare_with_official,
    find_official,
    our_scores,
    write_official_input,
)

LEAST_RATIO = 5.0
NAMES = ("official", "kd3d, rows", "kd3d, updates of 64 frames", "kd3d, updates of 8 frames")
OFFICIAL_SHARDS = np.array([0, 1, 3])
"""Vehicle, Pedestrian and Cyclist among the original's classes."""


class TimedOfficial:
    """The original evaluator, ready to run again and again on the same rows."""

    def __init__(
        self,
        evaluator: OfficialEvaluator,
        folder: Path,
        rows: tuple[Predictions, Objects],
        threads: int,
    ) -> None:
        write_official_input(folder / "input.npz", *rows)
        files = [folder / "input.npz", folder / "output.json"]
        self._process = subprocess.Popen(
            [evaluator.python, evaluator.script, *files, "--timed", "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def seconds(self) -> float:
        """Run once."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the original evaluator stopped")
        return line


def main() -> None:
    """Print the times, their ratios and the largest difference of the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=150, help="per frame")
    parser.add_argument(
        "--objects", type=int, default=74, help="per frame, about, with points or not"
    )
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        evaluator = find_official()
    except ConfigError as error:
        print(error)
        return

    frames = draw(arguments.frames, arguments.predictions, arguments.objects)
    rows = rows_of(frames)
    updates = [evaluation(frames, BREAKDOWNS, at_once=count) for count in (64, 8)]
    with tempfile.TemporaryDirectory() as folder:
        official = TimedOfficial(evaluator, Path(folder), rows, arguments.threads)
        ours = [lambda: our_scores(*rows), *updates]
        tasks = [official.seconds, *(partial(timed, task) for task in ours)]
        times = interleaved(tasks, arguments.repeats)
        official.close()
    print(f"{machine()}, official with {arguments.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{arguments.frames} frames, {len(rows[0])} predictions, {len(rows[1])} objects")
    print(f"{'':28} {'median':>9} {'fastest':>9} {'slowest':>9} {'ratio':>8}")
    peer = statistics.median(times[0])
    for name, seconds in zip(NAMES, times, strict=True):
        median = statistics.median(seconds)
        columns = " ".join(f"{value:7.3f} s" for value in (median, min(seconds), max(seconds)))
        print(f"{name:28} {columns} {peer / median:8.2f}   (at least {LEAST_RATIO:g})")
    difference = compare_with_official(*rows, evaluator).difference
    print(f"largest difference of AP and APH: {difference:.1e}")


def rows_of(frames: tuple[Frames, Frames]) -> tuple[Predictions, Objects]:
    """Lay frames out as rows with the original's classes, objects without points left out."""
    predicted, real = frames
    names = [str(index) for index in range(len(real))]
    predictions, objects = predictions_of(predicted, 3, names), objects_of(real, 3, names)
    return (
        replace(predictions, shards=OFFICIAL_SHARDS[predictions.shards]),
        replace(objects, shards=OFFICIAL_SHARDS[objects.shards]),
    )


def interleaved(tasks: list[Callable[[], float]], repeats: int) -> list[tuple[float, ...]]:
    """Give the seconds that each task reports; they take turns after a first round."""
    rounds = [[task() for task in tasks] for _ in range(repeats + 1)][1:]
    return list(zip(*rounds, strict=True))


def timed(task: Callable[[], object]) -> float:
    """Give the seconds of one run."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
