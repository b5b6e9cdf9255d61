"""Indexing segments, starting on an indexed dataset, ordering an epoch, and reading ahead.

Indexing: sparse files of full length with real framing, 200 records of 5 MB each, read from the
disk where the operating system can be asked to forget what it holds in memory.
First batch: 1,000 segments of 200 full-size frames (links to one file), indexed before, in a
process of its own; from ``iter(loader)`` with two workers to the first batch of two frames.
Order: one rank's frames of an epoch of 200,000, eight ranks.
Reading ahead: full-size frames, in one process, from a file system in memory that answers after
100 ms; the next three are announced.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import google_crc32c
import numpy as np
from _timing import machine
from decode_record import SHARED_RECORD, made_frame

from kd3d.data import FrameIndex, TrainingSampler, WaymoDataModule, WaymoFrames, build_index
from kd3d.data.orders import FrameOrder
from kd3d.storage.remote import file_system
from kd3d.waymo import RecordWriter, encode_frame, iterate_records

RECORDS = 200
RECORD_BYTES = 5_000_000
SEGMENTS = 1_000
LATENCY = 0.1
PATTERN = "*.tfrecord"


def main() -> None:
    """Print every number beside its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segments", type=int, default=200, help="sparse segments to index")
    parser.add_argument("--first-batch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first_batch:
        time_first_batch(arguments.first_batch)
        return
    print(f"machine   {machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KD3D_CACHE"] = f"{folder}/cache"
        time_indexing(Path(folder) / "sparse", arguments.segments)
        payload = a_payload()
        link_segments(Path(folder) / "linked", payload)
        script = [sys.executable, __file__, "--first-batch", f"{folder}/linked"]
        subprocess.run(script, check=True)
    time_order()
    time_reading_ahead(payload)


def time_indexing(folder: Path, segments: int) -> None:
    """Scan sparse segments."""
    folder.mkdir()
    for number in range(segments):
        write_sparse(folder / f"segment-{number:04}.tfrecord")
    start = time.perf_counter()
    found = build_index(folder, PATTERN)
    seconds = time.perf_counter() - start
    print(f"index     {60 * segments / seconds:10,.0f} segments a minute (at least 200)")
    start = time.perf_counter()
    build_index(folder, PATTERN)
    again = time.perf_counter() - start
    print(f"again     {1e3 * again:10,.1f} ms for the same {segments} segments from the cache")
    columns = (found.file_of, found.numbers, found.offsets, found.lengths)
    print(f"memory    {sum(part.nbytes for part in columns) / len(found):10,.1f} bytes per frame")
    cache = next(Path(os.environ["KD3D_CACHE"]).glob("index-*"))
    print(f"cache     {cache.stat().st_size / len(found):10,.1f} bytes per frame")


def write_sparse(path: Path) -> None:
    """Write a segment whose records have a right header and empty content."""
    length = RECORD_BYTES.to_bytes(8, "little")
    crc = google_crc32c.value(length)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    header = length + masked.to_bytes(4, "little")
    with path.open("wb") as file:
        for number in range(RECORDS):
            file.seek(number * (RECORD_BYTES + 16))
            file.write(header)
        file.truncate(RECORDS * (RECORD_BYTES + 16))
        if hasattr(os, "posix_fadvise"):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def a_payload() -> bytes:
    """Return a full-size record: the shared one, or one of noise."""
    if SHARED_RECORD.is_file():
        return next(iterate_records(SHARED_RECORD))
    return encode_frame(made_frame())


def link_segments(folder: Path, payload: bytes) -> None:
    """Write one segment of full-size frames and give it many names."""
    folder.mkdir()
    first = folder / "segment-0000.tfrecord"
    with RecordWriter(first) as writer:
        for _ in range(RECORDS):
            writer.write(payload)
    for number in range(1, SEGMENTS):
        os.link(first, folder / f"segment-{number:04}.tfrecord")
    build_index(folder, PATTERN)


def time_first_batch(folder: Path) -> None:
    """Start as training does, on an indexed dataset."""
    data = WaymoDataModule(folder, train=PATTERN, val=PATTERN, batch_size=2, num_workers=2)
    start = time.perf_counter()
    frames = len(data.train_frames)
    setup = time.perf_counter() - start
    loader = data.train_dataloader()
    start = time.perf_counter()
    batch = next(iter(loader))
    first = time.perf_counter() - start
    print(f"setup     {setup:10.2f} s to look at {SEGMENTS:,} files and load {frames:,} frames")
    print(f"first     {first:10.2f} s to a batch of {len(batch.frame_ids)} (at most 3)")


def time_order() -> None:
    """Order an epoch for one of eight ranks, and list every key of it."""
    segments = np.repeat(np.arange(SEGMENTS), RECORDS)
    for shuffle in ("frames", "segment_blocks"):
        sampler = TrainingSampler(
            range(len(segments)),
            batch_size=2,
            rank=3,
            world_size=8,
            order=FrameOrder(shuffle),
            segments=segments,
        )
        seconds = median_of(lambda chosen=sampler: list(chosen), 7)
        name = f"order     {seconds:10.3f} s for a rank's keys of {len(segments):,} frames"
        print(f"{name}, {shuffle} (at most 0.2)")


def time_reading_ahead(payload: bytes) -> None:
    """Read frames of a slow file system, announced and not."""
    frames = 20
    memory = fsspec.filesystem("memory")
    with tempfile.TemporaryDirectory() as folder:
        with RecordWriter(Path(folder) / "a.tfrecord") as writer:
            for _ in range(frames):
                writer.write(payload)
        memory.pipe("/bench/a.tfrecord", (Path(folder) / "a.tfrecord").read_bytes())
        index = build_index("memory://bench", PATTERN, cache_dir=folder)
    system, _ = file_system("memory://bench")
    answer = system.cat_file
    system.cat_file = lambda *args, **options: time.sleep(LATENCY) or answer(*args, **options)
    alone, announced = (frames / read_all(index, announce=flag) for flag in (False, True))
    print(f"ahead     {alone:10.1f} frames a second one by one, at {LATENCY} s per answer")
    print(f"          {announced:10.1f} announced")


def read_all(index: FrameIndex, *, announce: bool) -> float:
    """Read every frame; tell the source which one follows if asked to."""
    source = WaymoFrames(index)
    source.read(0)
    start = time.perf_counter()
    for frame in range(len(index)):
        if announce:
            source.expect(range(frame, min(frame + 4, len(index))))
        source.read(frame)
    return time.perf_counter() - start


def median_of(task: Callable[[], object], repeats: int) -> float:
    """Give the median seconds of a task."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
