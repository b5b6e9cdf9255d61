"""Segments made one after the other or on several cores, each whole or not at all."""

import errno
import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd3d.errors import OutputError
from kd3d.simulate.layout import sample_scene
from kd3d.simulate.manifest import Segment
from kd3d.simulate.render import render_frames
from kd3d.simulate.sensors import Sensor
from kd3d.waymo import CLASSES, WAYMO_TYPES, RawFrame, write_segment

__all__ = ["Job", "file_sha256", "full_disk_told", "make_all"]

#: What a system says where there is no room: none on the device, or none left to this user.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Job:
    """One segment to make. Its bytes are a pure function of all but root and path.

    Args:
        root: folder of the dataset.
        path: the file, below the root.
        context: name of the segment.
        seed: of everything random.
        frames: number of frames.
        interval: seconds between two frames.
        extent: objects stand within this many metres of the recording car's way.
        sensors: what records.
    """

    root: Path
    path: str
    context: str
    seed: tuple[int, int, int]
    frames: int
    interval: float
    extent: float
    sensors: tuple[Sensor, ...]


def make_all(jobs: Mapping[str, Job], processes: int) -> Iterator[tuple[str, Segment]]:
    """Make segments, in this process or in several, and yield each as it is finished.

    After a failure nothing new is begun, what is finished is still yielded, then the error raised.

    Raises:
        OutputError: the folder cannot be written, the disk is full, or a worker process died.
    """
    if processes <= 1:
        for name, job in jobs.items():
            yield name, _make(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(_make, job): name for name, job in jobs.items()}
        try:
            yield from _finished(futures)
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process died; the finished segments are kept.",
                where="workers",
                hint="Call from a script with an `if __name__ == '__main__':` guard and check that"
                " memory suffices, or give workers=1.",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(futures: Mapping["Future[Segment]", str]) -> Iterator[tuple[str, Segment]]:
    """Yield what is finished; after a failure only what had begun before, then raise."""
    pending, failure = set(futures), None
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is None:
                yield futures[future], future.result()
            elif failure is None:
                failure = error
        if failure is not None:
            pending = {future for future in pending if not future.cancel()}
    if failure is not None:
        raise failure


def _make(job: Job) -> Segment:
    """Make one segment file and say what it holds."""
    path, boxes = job.root / job.path, Counter(dict.fromkeys(CLASSES, 0))
    with full_disk_told(job.root):
        _sweep_up(path)
        count = write_segment(path, _counted(_frames(job), boxes))
    return Segment(
        frames=count, boxes=dict(boxes), bytes=path.stat().st_size, sha256=file_sha256(path)
    )


def _frames(job: Job) -> Iterator[RawFrame]:
    """Draw the scene of a segment and record it."""
    duration = job.frames * job.interval
    scene = sample_scene(np.random.default_rng(job.seed), duration=duration, extent=job.extent)
    return render_frames(
        scene,
        job.sensors,
        frames=job.frames,
        name=job.context,
        seed=job.seed,
        interval=job.interval,
    )


def _counted(frames: Iterable[RawFrame], boxes: Counter[str]) -> Iterator[RawFrame]:
    """Pass frames on and count their labelled boxes that hold a point."""
    for frame in frames:
        boxes.update(
            CLASSES[WAYMO_TYPES[label.waymo_type]] for label in frame.labels if label.num_points
        )
        yield frame


def _sweep_up(path: Path) -> None:
    """Remove what a killed process left of a segment: files under its temporary names."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


@contextmanager
def full_disk_told(root: Path) -> Iterator[None]:
    """Turn the error of a write for which there is no room into one that says so.

    Args:
        root: folder of the dataset, which the message names.

    Raises:
        OutputError: what the block writes finds no room.
    """
    try:
        yield
    except OutputError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_ROOM:
            raise
        raise OutputError(
            "the disk is full; the finished segments are kept.",
            where=str(root),
            hint="Make room and give the same command again: it goes on where it stopped.",
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
