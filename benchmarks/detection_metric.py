"""The detection metric on 200 frames with 30,000 predictions, and on many more frames.

The scenes are drawn: vehicles, pedestrians and cyclists all over 75 m, most of them found, some
twice, among false alarms. Times are wall clock from tensors per frame to the computed numbers.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable

import torch
from _timing import interleaved_medians, machine
from torch import Tensor

from kd3d.metrics import WaymoDetectionMetric

Frames = list[dict[str, Tensor]]
SIZES = torch.tensor([[4.7, 2.1, 1.7], [0.9, 0.86, 1.73], [1.78, 0.84, 1.78]])
BREAKDOWNS = ("object_type", "range")


def main() -> None:
    """Print the times, the size of the state, and the process's memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=150, help="per frame")
    parser.add_argument("--objects", type=int, default=57, help="per frame, about")
    parser.add_argument("--many", type=int, default=40_000, help="small frames; 0 leaves them out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    print(machine())
    frames = draw(arguments.frames, arguments.predictions, arguments.objects)
    crowded = draw(20, 500, arguments.objects)
    names = ("object types", "object types and ranges", "500 predictions per frame, both")
    tasks = [
        evaluation(frames, ("object_type",)),
        evaluation(frames, BREAKDOWNS),
        evaluation(crowded, BREAKDOWNS),
    ]
    medians = interleaved_medians(tasks, arguments.repeats)
    for name, (predicted, real), seconds in zip(
        names, (frames, frames, crowded), medians, strict=True
    ):
        rows = sum(len(frame["boxes"]) for frame in predicted)
        objects = sum(len(frame["boxes"]) for frame in real)
        size = f"{len(predicted)} frames, {rows} predictions, {objects} objects"
        print(f"{name:32} {size:44} {seconds:6.3f} s")
    if arguments.many:
        many_frames(arguments.many)


def draw(frames: int, predictions: int, objects: int) -> tuple[Frames, Frames]:
    """Draw scenes: predictions and objects, one dictionary per frame."""
    generator = torch.Generator().manual_seed(0)
    predicted, real = [], []
    for _ in range(frames):
        count = int(torch.randint(objects // 2, objects * 3 // 2 + 1, (), generator=generator))
        boxes, labels = draw_boxes(count, generator)
        points = (500 * torch.rand(count, generator=generator) ** 4).long()
        real.append({"boxes": boxes, "labels": labels, "num_points": points})

        found = torch.randint(max(count, 1), (predictions // 2,), generator=generator)[: 2 * count]
        noise = torch.randn(len(found), 7, generator=generator) * 0.06
        false_boxes, false_labels = draw_boxes(predictions - len(found), generator)
        scores = torch.rand(predictions, generator=generator)
        scores[len(found) :] *= 0.6
        predicted.append(
            {
                "boxes": torch.cat((boxes[found] + noise, false_boxes)),
                "labels": torch.cat((labels[found], false_labels)),
                "scores": scores,
            }
        )
    return predicted, real


def draw_boxes(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw boxes of the three classes with the usual sizes."""
    labels = torch.multinomial(
        torch.tensor([0.62, 0.3, 0.08]), count, replacement=True, generator=generator
    )
    boxes = torch.rand(count, 7, generator=generator)
    boxes[:, :2] = boxes[:, :2] * 150 - 75
    boxes[:, 3:6] = SIZES[labels] * (0.8 + 0.4 * boxes[:, 3:6])
    boxes[:, 6] = (boxes[:, 6] * 2 - 1) * math.pi
    return boxes, labels


def evaluation(
    frames: tuple[Frames, Frames], breakdowns: tuple[str, ...], at_once: int = 8
) -> Callable[[], object]:
    """Make a task that evaluates the frames in batches as a validation loop does."""
    predicted, real = frames

    def run() -> object:
        metric = WaymoDetectionMetric(breakdowns=breakdowns)
        for start in range(0, len(real), at_once):
            stop = start + at_once
            metric.update(predicted[start:stop], real[start:stop])
        return metric.compute()

    return run


def many_frames(count: int) -> None:
    """Evaluate many small frames and print what stays in memory."""
    predicted, real = draw(500, 10, 4)
    metric = WaymoDetectionMetric(breakdowns=BREAKDOWNS)
    before = peak_memory()
    start = time.perf_counter()
    for _ in range(max(count // 500, 1)):
        for first in range(0, 500, 100):
            metric.update(predicted[first : first + 100], real[first : first + 100])
    metric.compute()
    seconds = time.perf_counter() - start
    states = [getattr(metric, name) for name in metric._defaults]
    kilobytes = sum(state.numel() * state.element_size() for state in states) / 1e3
    print(
        f"{count} frames of 10 predictions: {seconds:.1f} s, state {kilobytes:.0f} kB, "
        f"peak memory of the process +{(peak_memory() - before) / 1e6:.1f} MB"
    )


def peak_memory() -> int:
    """Give the most memory in bytes that this process has had resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
