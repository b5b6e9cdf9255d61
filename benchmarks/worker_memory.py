"""Memory of a loader's workers, at few and at many indexed segments.

Full-size frames, all lasers, both returns, world augmentation, batches of two, two workers. The
segments are links to one file of 200 records, so 1,000 of them are 200,000 frames to the index.
A worker counts with the most memory it ever held (resident set, pages that it shares with its
parent and batches on their way included), less that of a Python that has imported torch. Each row
is a process of its own; workers are started both ways.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _timing import machine
from index_segments import RECORDS, a_payload

from kd3d.data import WaymoDataModule
from kd3d.waymo import RecordWriter

LIMIT_MB = 400
WORKERS = 2


def main() -> None:
    """Print the most memory of a worker for each number of segments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segments", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--batches", type=int, default=12, help="batches to read")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        root, context, bare = arguments.measure
        measure(Path(root), context, float(bare), arguments.batches)
        return
    bare = float(python(["-c", BARE]))
    print(f"{machine()}; {WORKERS} workers, {arguments.batches} batches of 2 full-size frames")
    print(f"a Python that has imported torch holds {bare:.0f} MB; above that, per worker:")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KD3D_CACHE"] = f"{folder}/cache"
        whole = Path(folder) / "segment.tfrecord"
        payload = a_payload()
        with RecordWriter(whole) as writer:
            for _ in range(RECORDS):
                writer.write(payload)
        for count in arguments.segments:
            root = link(whole, Path(folder) / str(count), count)
            for context in ("fork", "spawn"):
                words = [__file__, "--batches", str(arguments.batches)]
                print(python([*words, "--measure", str(root), context, str(bare)]), end="")


BARE = """
import torch
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def measure(root: Path, context: str, bare: float, batches: int) -> None:
    """Read batches, and print the most memory that a worker held."""
    torch.set_num_threads(1)
    data = WaymoDataModule(
        root, "*.tfrecord", "*.tfrecord", num_workers=WORKERS, multiprocessing_context=context
    )
    loader = data.train_dataloader()
    reading = iter(loader)
    points = sum(len(next(reading).points) for _ in range(batches))
    held = [peak_mb(worker.pid) - bare for worker in loader._iterator._workers]
    let_finish(loader._iterator)
    del reading
    loader._iterator = None  # persistent workers end with their iterator
    print(
        f"{len(list(root.iterdir())):6,} segments, {len(data.train_frames):8,} frames, {context:5}"
        f" {max(held):6.0f} MB    (at most {LIMIT_MB} MB; {points / batches / 2:,.0f} points"
        " a frame)"
    )


def let_finish(reading: Any) -> None:
    """Wait until workers are idle: one that is stopped at work says so at length."""
    deadline = time.monotonic() + 30
    while reading._worker_result_queue.qsize() < reading._tasks_outstanding:
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)
    time.sleep(1)  # what is in the queue may still be on its way


def peak_mb(process: int) -> float:
    """Return the most memory that a process has held so far."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def link(whole: Path, root: Path, count: int) -> Path:
    """Make a dataset of so many segments that are one file."""
    root.mkdir()
    for number in range(count):
        os.link(whole, root / f"segment-{number:05}.tfrecord")
    return root


def python(words: list[str]) -> str:
    """Run Python and return what it prints."""
    done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
