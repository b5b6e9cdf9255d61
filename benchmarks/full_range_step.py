"""One training step of each detector at full range, batch 2, with its peak memory.

Forward, loss, backward and optimiser step on frames of 160,000 points; cells are the pillars or
voxels of a frame that have points. Each detector runs in a
process of its own, so that its peak is its own.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from _scene import full_range_points
from _timing import machine

from kd3d.detectors import create_detector, list_detectors
from kd3d.structures import PointBatch

BOXES_PER_FRAME = 60


def main() -> None:
    """Print time and peak memory per detector, on CUDA too where there is a device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detectors", nargs="+", default=list_detectors(), metavar="NAME")
    parser.add_argument("--points", type=int, default=160_000, help="per frame")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="timed steps")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="both, where there are both")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        run(arguments)
        return
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in [arguments.device] if arguments.device else devices:
        print(f"{machine()}{', ' + torch.cuda.get_device_name() if device == 'cuda' else ''}")
        columns = f"{'points':>9} {'cells':>9} {'step':>12} {'peak memory':>14}"
        print(f"{'batch ' + str(arguments.batch):18} {columns}")
        for name in arguments.detectors:
            options = [f"--{key}={getattr(arguments, key)}" for key in ("points", "batch", "steps")]
            options += [f"--threads={arguments.threads}", f"--device={device}", "--alone"]
            subprocess.run([sys.executable, __file__, *options, "--detectors", name], check=True)


def run(arguments: argparse.Namespace) -> None:
    """Step one detector and print its row."""
    (name,) = arguments.detectors
    device = torch.device(arguments.device)
    detector = create_detector(name).to(device)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-4)
    batch = make_batch(arguments.batch, arguments.points).to(device)
    warm_up = 1 if device.type == "cuda" else 0
    seconds = []
    for _ in range(warm_up + arguments.steps):
        start = time.perf_counter()
        targets = detector.assign_targets(batch.boxes, batch.labels)
        terms = detector.loss(detector(batch), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        loss = float(terms["loss"].detach())  # waits for the device
        seconds.append(time.perf_counter() - start)
        if not loss < float("inf"):
            raise ArithmeticError(f"{name}: loss {loss}")
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    voxels = detector.voxelizer(batch.points, batch.batch_index, len(batch))
    cells = len(voxels) // len(batch)
    median = statistics.median(seconds[warm_up:])
    row = f"{arguments.points:9,} {cells:9,} {median:10.2f} s {peak / 2**30:10.2f} GiB"
    print(f"{name:18} {row}", flush=True)


def make_batch(frames: int, points: int) -> PointBatch:
    """Make frames with boxes all over the range."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(frames, BOXES_PER_FRAME, 7, generator=generator)
    boxes[..., :2] = boxes[..., :2] * 140 - 70
    boxes[..., 3:6] = boxes[..., 3:6] * 3 + 0.5
    labels = torch.randint(3, (frames, BOXES_PER_FRAME), generator=generator)
    return PointBatch.from_points(
        [full_range_points(points, seed) for seed in range(frames)],
        boxes=list(boxes),
        labels=list(labels),
    )


if __name__ == "__main__":
    main()
