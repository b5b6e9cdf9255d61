"""Full-size frames per second from the loader, and how long a training step waits for them.

Loader: all lasers, both returns, world augmentation, crop and order, batches of two, with points
made by workers or left to the device, for 0, 1 and 2 workers. The comparison is Python's zlib
inflating the same streams, one frame after the other, and nothing else. Frames per second are by
the clock; ``CPU`` is the processor time that the workers spend on a frame, which other work on the
machine hardly changes.
Training: CP-Pillar-v0.64 learns from CP-Pillar by a Lightning trainer, on CUDA where it is there
(full width; on a CPU networks of a quarter of the width on a coarse grid). A step waits from the
end of one to the start of the next; the device is done with the one before by then. Where the CPU
is the device, points that are left to it are made in that time, by the process that trains.
"""

import argparse
import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import lightning as L
import torch
from _timing import machine
from decode_record import LARGEST_RATIO, streams_of
from index_segments import a_payload

from kd3d import DetectorModule, KDCallback, PivotalLogitKD, WaymoDataModule, create_detector
from kd3d.data import FrameLoader
from kd3d.waymo import RecordWriter

SEGMENTS, RECORDS = 4, 16
RANGE = (-71.68, -71.68, -2.0, 71.68, 71.68, 4.0)


def main() -> None:
    """Print frames per second, then the waiting of a training step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=12, help="timed batches of two")
    parser.add_argument("--steps", type=int, default=8, help="timed training steps")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="lightning|torchdata")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"{machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KD3D_CACHE"] = f"{folder}/cache"
        payload = a_payload()
        write(Path(folder) / "waymo", payload)
        floor = inflate_seconds(payload)
        print(f"{'points by':12}{'workers':>8}{'frames/s':>10}{'CPU, ms':>9}{'x zlib':>8}")
        print(f"{'zlib alone':12}{'':8}{1 / floor:10.1f}{1e3 * floor:9.1f}{1:8.2f}")
        for place in ("worker", "device"):
            for workers in arguments.workers:
                data = module(Path(folder) / "waymo", place, workers)
                rate, seconds = read_batches(data, arguments.batches)
                bound = f"    (at most {LARGEST_RATIO:g})" if workers == 1 else ""
                ratio = seconds / floor
                print(f"{place:12}{workers:8}{rate:10.1f}{1e3 * seconds:9.1f}{ratio:8.2f}{bound}")
        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, small networks"
        print(f"\nKD training, batches of 2, {where}")
        print(f"{'points by':12}{'workers':>8}{'frames/s':>10}{'step, ms':>10}{'waits, ms':>11}")
        for place in ("worker", "device"):
            for workers in arguments.workers:
                if workers:
                    data = module(Path(folder) / "waymo", place, workers)
                    report_training(data, place, arguments.steps)


def write(root: Path, payload: bytes) -> None:
    """Write segments of full-size frames."""
    for segment in range(SEGMENTS):
        with RecordWriter(root / f"segment-{segment}.tfrecord") as writer:
            for _ in range(RECORDS):
                writer.write(payload)


def module(root: Path, place: Any, workers: int) -> WaymoDataModule:
    """Return the data as training reads them."""
    return WaymoDataModule(
        root,
        "*.tfrecord",
        "*.tfrecord",
        batch_size=2,
        point_range=RANGE,
        decode_on=place,
        num_workers=workers,
    )


def inflate_seconds(payload: bytes, repeats: int = 5) -> float:
    """Time the bare inflate of a frame's streams: processor time, the median."""
    streams, times = streams_of(payload), []
    for _ in range(repeats):
        start = time.process_time()
        for stream in streams:
            zlib.decompress(stream)
        times.append(time.process_time() - start)
    return statistics.median(times)


def read_batches(data: WaymoDataModule, batches: int) -> tuple[float, float]:
    """Give frames per second, and processor seconds per frame, from when workers have started."""
    loader = data.train_dataloader()
    reading = iter(loader)
    # As many as wait already when the first one comes are not counted.
    for _ in range(1 + 2 * data.num_workers):
        next(reading)
    start, spent = time.perf_counter(), processor_seconds(loader)
    frames = sum(len(next(reading)) for _ in range(batches))
    seconds, spent = time.perf_counter() - start, processor_seconds(loader) - spent
    del reading
    loader._iterator = None  # persistent workers end with their iterator
    return frames / seconds, spent / frames


def processor_seconds(loader: FrameLoader) -> float:
    """Sum what the workers have used so far; without workers, this process."""
    if not loader.num_workers:
        return time.process_time()
    ticks = 0
    for worker in loader._iterator._workers:
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system, see proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


class Waits(L.Callback):
    """Times what lies between two steps, and the steps."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.steps: list[float] = []
        self._last: float | None = None

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """End the waiting."""
        self._start = self._now(trainer)
        if self._last is not None:
            self.waits.append(self._start - self._last)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Begin it."""
        self._last = self._now(trainer)
        self.steps.append(self._last - self._start)

    def _now(self, trainer: L.Trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def report_training(data: WaymoDataModule, place: str, steps: int) -> None:
    """Train by distillation, and print the medians."""
    on_cuda = torch.cuda.is_available()
    size: dict[str, Any] = {"point_cloud_range": RANGE}
    if not on_cuda:
        size["width"] = {"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25}
        size["cell_size"] = (1.28, 1.28)
    student, teacher = (create_detector(name, **size) for name in ("cp_pillar_v064", "cp_pillar"))
    waits = Waits()
    callback = KDCallback(teacher, [PivotalLogitKD(7.0)], teacher_check_frames=0)
    trainer = L.Trainer(
        accelerator="cuda" if on_cuda else "cpu",
        devices=1,
        max_steps=steps + 2,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[callback, waits],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):  # what distillation connects, every time
        trainer.fit(DetectorModule(student), datamodule=data)
    step, wait = statistics.median(waits.steps[2:]), statistics.median(waits.waits[1:])
    rate = data.batch_size / (step + wait)
    print(f"{place:12}{data.num_workers:8}{rate:10.1f}{1e3 * step:10.1f}{1e3 * wait:11.1f}")


if __name__ == "__main__":
    main()
