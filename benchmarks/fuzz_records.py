"""Damaged records: every one gives a valid frame or a `kd3d.errors` error with file and record.

Real records (the shared ones; simulated ones where those are absent), thinned to a few kilobytes
so that there is time for many, are damaged at every level: bytes of the file, forged lengths,
bytes and fields of the message, zlib streams, matrices, bombs; one case in `FULL_SIZE_EVERY` is of
full size. Each damaged file is read from disk like any other.

A case fails if it raises anything else, gives a frame that is not sound, takes longer than
`LONGEST_SECONDS`, or wants `MEMORY_BYTES` more than the process had at the start: the operating
system then refuses them, and the case fails with ``MemoryError``.
A case is reproduced by its number: ``--first 1234 --cases 1``.
"""

import argparse
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from _mutations import MUTATIONS, file_of
from _timing import machine

from kd3d.errors import Kd3dError
from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.waymo import (
    Frame,
    RawFrame,
    RawLaser,
    encode_frame,
    iterate_records,
    read_frames,
    read_raw_frames,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FULL_SIZE_EVERY = 200
LONGEST_SECONDS = 20.0
MEMORY_BYTES = 512 * 2**20
_BATCH = 250


@dataclass(frozen=True)
class Outcome:
    """What a case came to.

    Args:
        case: its number.
        mutation: what was done to the file.
        result: ``valid frame``, ``error``, or ``FAILED: ...`` with what happened.
        seconds: how long the reading took.
        memory: bytes that the process grew by at most while reading.
    """

    case: int
    mutation: str
    result: str
    seconds: float
    memory: int


def main() -> None:
    """Run the cases on all cores and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5_000, help="how many (100000 in 15 minutes)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    start = time.perf_counter()
    numbers = range(arguments.first, arguments.first + arguments.cases)
    batches = [numbers[place : place + _BATCH] for place in range(0, len(numbers), _BATCH)]
    with multiprocessing.Pool(arguments.processes, _limit_memory) as pool:
        counts: Counter[tuple[str, str]] = Counter()
        slowest, memory, failures = 0.0, 0, []
        for outcome in chain.from_iterable(pool.imap_unordered(_run_batch, batches)):
            failed = outcome.result.startswith("FAILED")
            counts[outcome.mutation, "FAILED" if failed else outcome.result] += 1
            slowest, memory = max(slowest, outcome.seconds), max(memory, outcome.memory)
            failures += [outcome] if failed else []
    print(f"machine: {machine()}; {arguments.processes} processes")
    _print_counts(counts)
    print(f"{arguments.cases:,} cases in {time.perf_counter() - start:.0f} s")
    print(f"slowest case: {slowest:.2f} s (limit {LONGEST_SECONDS:g} s)")
    print(f"most memory of a case: {memory >> 20} MiB (limit {MEMORY_BYTES >> 20} MiB)")
    for outcome in failures[:20]:
        print(f"case {outcome.case}, {outcome.mutation}: {outcome.result}")
    sys.exit(bool(failures))


def run_cases(numbers: Iterable[int], folder: Path) -> Iterator[Outcome]:
    """Run cases one after the other, in this process.

    Args:
        numbers: the numbers of the cases.
        folder: where the damaged files are written.
    """
    path = folder / "damaged.tfrecord"
    for number in numbers:
        generator = random.Random(number)
        full = number % FULL_SIZE_EVERY == 0
        payloads = generator.choice(full_files() if full else thin_files())
        mutation = MUTATIONS[number % len(MUTATIONS)]
        path.write_bytes(mutation(payloads, generator))
        start, before = time.perf_counter(), _reset_peak()
        result = result_of(path, verify=generator.random() < 0.5)
        yield Outcome(
            case=number,
            mutation=mutation.__name__.replace("_", " "),
            result=result,
            seconds=time.perf_counter() - start,
            memory=_peak() - before,
        )


def result_of(path: Path, *, verify: bool) -> str:
    """Read a file and say what came of it; see `Outcome`."""
    frames = 0
    try:
        for frame in read_frames(path, verify=verify):
            check(frame)
            frames += 1
    except Kd3dError as error:
        named = re.match(re.escape(str(path)) + r", record (\d+)", str(error))
        if named is None or int(named[1]) != frames:
            return f"FAILED: the error names the wrong record after {frames} frames: {error}"
        return "error"
    except Exception:
        return f"FAILED: {traceback.format_exc(limit=-3)}"
    return "valid frame"


def check(frame: Frame) -> None:
    """Assert that a frame is sound."""
    count, objects = len(frame.points), len(frame.boxes)
    per_point = (frame.laser, frame.return_index, frame.range, frame.in_nlz)
    assert frame.points.shape == (count, 5)
    assert all(values.shape == (count,) for values in per_point)
    assert np.isfinite(frame.points).all()
    assert count == 0 or float(frame.range.min()) > 0
    assert set(np.unique(frame.laser)) <= {1, 2, 3, 4, 5}
    assert set(np.unique(frame.return_index)) <= {1, 2}
    order = frame.laser.astype(int) * 2 + frame.return_index
    assert (np.diff(order) >= 0).all()
    assert frame.boxes.shape == (objects, 7)
    assert np.isfinite(frame.boxes).all()
    assert (frame.boxes[:, 3:6] >= 0).all()
    levels = (frame.difficulty, frame.tracking_difficulty)
    for values, legal in (
        (frame.waymo_types, range(5)),
        (frame.labels, range(-1, 3)),
        *((level, range(3)) for level in levels),
    ):
        assert values.shape == (objects,)
        assert np.isin(values, legal).all()
    assert (frame.num_points >= 0).all()
    assert (frame.num_top_points >= 0).all()
    assert len(frame.object_ids) == len(frame.most_visible_camera) == objects
    assert np.isfinite(frame.pose).all()


def thinned(frame: RawFrame) -> RawFrame:
    """Return a frame with a few rows and columns of its images, and a few labels."""
    lasers = tuple(_thin_laser(laser) for laser in frame.lasers)
    return replace(frame, lasers=lasers, labels=frame.labels[:6])


def _thin_laser(laser: RawLaser) -> RawLaser:
    if not laser.returns:
        return laser
    height, width = laser.returns[0].shape[:2]
    rows, columns = (
        slice(height % 8, None, max(height // 8, 1)),
        slice(0, None, max(width // 12, 1)),
    )
    beams, pose = laser.beam_inclinations, laser.pixel_pose
    return replace(
        laser,
        beam_inclinations=None if beams is None else beams[::-1][rows][::-1],
        returns=tuple(image[rows, columns] for image in laser.returns),
        pixel_pose=None if pose is None else pose[rows, columns],
    )


@lru_cache(maxsize=1)
def full_files() -> list[list[bytes]]:
    """Payloads of files as they are recorded."""
    names = ("frames/full_frame.tfrecord", "real_lidar/*.tfrecord")
    paths = [path for name in names for path in SHARED.glob(name)]
    if paths:
        return [list(iterate_records(path)) for path in paths]
    return [[encode_frame(frame) for frame in _simulated(0.25)]]


@lru_cache(maxsize=1)
def thin_files() -> list[list[bytes]]:
    """Payloads of small files with two records: one to damage, and a sound one after it."""
    paths = sorted(SHARED.glob("frames/*.tfrecord")) + sorted(SHARED.glob("real_lidar/*.tfrecord"))
    frames = [next(read_raw_frames(path)) for path in paths] or _simulated(0.05)
    with_images = [frame for frame in frames if any(laser.returns for laser in frame.lasers)]
    payloads = [encode_frame(thinned(frame)) for frame in frames + 2 * with_images]
    return [[payload, payloads[-1]] for payload in payloads]


def _simulated(resolution: float) -> list[RawFrame]:
    scene = sample_scene(np.random.default_rng(0), duration=0.2, extent=40.0)
    sensors = default_sensors(resolution)
    return list(render_frames(scene, sensors, frames=2, name="made", seed=(0,)))


def _limit_memory() -> None:
    """Load what every case needs, and let the system refuse more than the bound above that."""
    sound = [file_of(payloads) for payloads in (*thin_files(), *full_files())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.tfrecord"
        for content in sound:
            path.write_bytes(content)
            assert result_of(path, verify=True) == "valid frame"
    for generator in map(random.Random, range(10)):
        MUTATIONS[-1](thin_files()[0], generator)
    _limit(_size_of_process() + MEMORY_BYTES)
    signal.signal(signal.SIGALRM, _too_long)


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _size_of_process() -> int:
    """Bytes of address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _run_batch(numbers: range) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = []
        cases = run_cases(numbers, Path(folder))
        for _ in numbers:
            signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
            outcomes.append(next(cases))
        signal.setitimer(signal.ITIMER_REAL, 0)
    return outcomes


def _reset_peak() -> int:
    """Forget the peak of the memory in use, where the system can, and return its new value."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        kilobytes = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return 1024 * int(kilobytes[1]) if kilobytes else 0
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _TooLong(Exception):
    """A case that hangs; no subclass of an error that a reader may handle."""


def _too_long(signum: int, stack: object) -> None:
    raise _TooLong(f"longer than {LONGEST_SECONDS:g} s")


def _print_counts(counts: Counter[tuple[str, str]]) -> None:
    results = ("valid frame", "error", "FAILED")
    print(f"{'damage':24}" + "".join(f"{result:>14}" for result in results))
    for mutation in [one.__name__.replace("_", " ") for one in MUTATIONS]:
        print(f"{mutation:24}" + "".join(f"{counts[mutation, result]:14,}" for result in results))
    sums = [sum(number for (_, kind), number in counts.items() if kind == r) for r in results]
    print(f"{'all':24}" + "".join(f"{number:14,}" for number in sums))


if __name__ == "__main__":
    main()
