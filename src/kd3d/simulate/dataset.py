"""A dataset of simulated segments: planned, made on all cores, resumed where it stopped."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd3d.errors import ConfigError, OutputError
from kd3d.simulate.layout import sample_scene
from kd3d.simulate.manifest import Segment, fingerprint, read_manifest, write_manifest
from kd3d.simulate.render import render_frames
from kd3d.simulate.sensors import SWEEP_SECONDS, Sensor, default_sensors, sensors_of
from kd3d.waymo import CLASSES, WAYMO_TYPES, RawFrame, write_segment

__all__ = ["SimulationSummary", "simulate_dataset"]

#: Goes up whenever the same settings give other bytes, so that old and new segments never mix.
_GENERATOR = 1
#: The splits in the order of their numbers, which enter the seeds.
_SPLITS = ("training", "validation")


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What a simulated dataset holds.

    Args:
        root: its folder.
        segments: number of segment files, all splits together.
        frames: number of frames.
        boxes: labelled boxes with at least one point, per class name.
        written: segments made by this call; the others were there.
    """

    root: Path
    segments: int
    frames: int
    boxes: dict[str, int]
    written: int


@dataclass(frozen=True, slots=True)
class _Job:
    """One segment to make. Its bytes are a pure function of all but the path."""

    path: Path
    context: str
    seed: tuple[int, int, int]
    frames: int
    extent: float
    sensors: tuple[Sensor, ...]


def simulate_dataset(
    out: str | os.PathLike[str],
    *,
    scenes: int = 8,
    val_scenes: int = 2,
    frames: int = 10,
    seed: int = 0,
    resolution: float = 1.0,
    calibration: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    extent: float = 75.0,
) -> SimulationSummary:
    """Write simulated LiDAR segments as Waymo v1 records.

    Makes ``out/training/*.tfrecord``, ``out/validation/*.tfrecord`` and ``out/simulation.json``
    (the settings, and what each finished segment holds). Scene k of a split depends on the seed,
    the split and k alone, so the bytes are the same with any number of workers. Finished segments
    are kept: an interrupted call goes on where it stopped, and more scenes can be added later.

    With more than one worker the processes are spawned, so a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        out: folder of the dataset.
        scenes: training segments.
        val_scenes: validation segments.
        frames: frames per segment, at 10 Hz.
        seed: of everything random, below 2 to the power of 32.
        resolution: fraction of the range images' columns that is kept, in (0, 1]; all beams are.
        calibration: a record whose sensors' places and beams are used instead of the built-in ones.
        workers: processes; by default one per core.
        progress: show a progress bar.
        extent: objects stand within this many metres of the recording car's way.

    Returns:
        What the dataset holds.

    Raises:
        ConfigError: an option is out of range, or the folder holds a dataset with other settings
            or other segments.
        DatasetError: the calibration's record cannot be opened, or the folder's settings file is
            damaged.
        RecordError: the calibration's record is damaged.
        OutputError: the folder cannot be written, or a worker process died.
    """
    root, counts = Path(out), (scenes, val_scenes)
    _check_options(counts, frames=frames, seed=seed, workers=workers, extent=extent)
    if calibration is None:
        sensors = default_sensors(resolution)
    else:
        sensors = sensors_of(calibration, resolution)
    settings: dict[str, int | float | str] = {
        "generator": _GENERATOR,
        "seed": seed,
        "frames": frames,
        "resolution": resolution,
        "extent": extent,
        "sensors": fingerprint(sensors),
    }
    manifest = read_manifest(root, settings)
    jobs = dict(_plan(root, counts, seed, frames, extent, sensors))
    _check_surplus(root, jobs)
    missing = {name: job for name, job in jobs.items() if not manifest.is_finished(root, name)}
    write_manifest(root, manifest)
    processes = workers if workers is not None else os.cpu_count() or 1
    made = _make_all(missing, min(processes, len(missing)))
    for name, segment in _shown(made, total=len(jobs), done=len(jobs) - len(missing), on=progress):
        manifest.segments[name] = segment
        write_manifest(root, manifest)
    segments = [manifest.segments[name] for name in jobs]
    return SimulationSummary(
        root=root,
        segments=len(segments),
        frames=sum(segment.frames for segment in segments),
        boxes={name: sum(segment.boxes[name] for segment in segments) for name in CLASSES},
        written=len(missing),
    )


def _check_options(
    counts: tuple[int, int], *, frames: int, seed: int, workers: int | None, extent: float
) -> None:
    scenes, val_scenes = counts
    rules: tuple[tuple[str, float | None, bool, str], ...] = (
        ("val_scenes", val_scenes, val_scenes >= 0, "0 or more"),
        ("scenes", scenes, scenes >= 0, "0 or more"),
        ("scenes", scenes, sum(counts) > 0, "1 or more where there is no validation scene"),
        ("frames", frames, frames >= 1, "1 or more"),
        ("seed", seed, 0 <= seed < 2**32, "from 0 to 4294967295"),
        ("workers", workers, workers is None or workers >= 1, "1 or more, or left out"),
        ("extent", extent, 10.0 <= extent <= 500.0, "between 10 and 500 metres"),
    )
    for option, value, is_right, rule in rules:
        if not is_right:
            raise ConfigError(f"{value} is out of range.", where=option, hint=f"It must be {rule}.")


def _plan(
    root: Path,
    counts: tuple[int, int],
    seed: int,
    frames: int,
    extent: float,
    sensors: tuple[Sensor, ...],
) -> Iterator[tuple[str, _Job]]:
    """The segments that the dataset should have, by their paths below the root."""
    for number, (split, count) in enumerate(zip(_SPLITS, counts, strict=True)):
        for scene in range(count):
            context = f"simulated_{seed}_{split}_{scene:05d}"
            name = f"{split}/segment-{context}_with_camera_labels.tfrecord"
            yield name, _Job(root / name, context, (seed, number, scene), frames, extent, sensors)


def _check_surplus(root: Path, jobs: dict[str, _Job]) -> None:
    """Refuse a folder with records that are not part of the plan: readers would take them too."""
    for split in _SPLITS:
        for path in sorted((root / split).glob("*.tfrecord")):
            if f"{split}/{path.name}" not in jobs:
                raise ConfigError(
                    "the folder holds a record that is not one of the asked segments.",
                    where=str(path),
                    hint="Name another folder, ask for as many scenes as are there, or delete it.",
                )


def _make_all(jobs: dict[str, _Job], processes: int) -> Iterator[tuple[str, Segment]]:
    """Make segments, in this process or in several, and yield each as it is finished."""
    if processes <= 1:
        for name, job in jobs.items():
            yield name, _make(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(_make, job): name for name, job in jobs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process died; the finished segments are kept.",
                where="workers",
                hint="Call from a script with an `if __name__ == '__main__':` guard and check that"
                " memory suffices, or give workers=1.",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _make(job: _Job) -> Segment:
    """Make one segment file and say what it holds."""
    duration = job.frames * SWEEP_SECONDS
    scene = sample_scene(np.random.default_rng(job.seed), duration=duration, extent=job.extent)
    boxes: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
    frames = render_frames(scene, job.sensors, frames=job.frames, name=job.context, seed=job.seed)
    count = write_segment(job.path, _counted(frames, boxes))
    return Segment(frames=count, boxes=dict(boxes), size=job.path.stat().st_size)


def _counted(frames: Iterable[RawFrame], boxes: Counter[str]) -> Iterator[RawFrame]:
    """Pass frames on and count their labelled boxes that hold a point."""
    for frame in frames:
        boxes.update(
            CLASSES[WAYMO_TYPES[label.waymo_type]] for label in frame.labels if label.num_points
        )
        yield frame


def _shown(
    made: Iterable[tuple[str, Segment]], *, total: int, done: int, on: bool
) -> Iterator[tuple[str, Segment]]:
    """Pass finished segments on under a progress bar."""
    columns = (
        TextColumn("Simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("segments"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not on) as bar:
        task = bar.add_task("simulate", total=total, completed=done)
        for entry in made:
            yield entry
            bar.advance(task)
