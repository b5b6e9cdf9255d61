"""A dataset of simulated segments: planned, made on all cores, resumed where it stopped."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd3d.errors import ConfigError
from kd3d.simulate.making import Job, full_disk_told, make_all
from kd3d.simulate.manifest import (
    SPLITS,
    Manifest,
    Segment,
    Settings,
    fingerprint,
    open_manifest,
    segment_context,
    segment_name,
    write_manifest,
)
from kd3d.simulate.presets import preset
from kd3d.simulate.sensors import SWEEP_SECONDS, Sensor, default_sensors, sensors_of
from kd3d.waymo import CLASSES

__all__ = ["SimulationSummary", "simulate_dataset", "simulate_preset"]

#: Goes up whenever the same settings give other bytes, so that old and new segments never mix.
_GENERATOR = 2


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


def simulate_dataset(
    out: str | os.PathLike[str],
    *,
    scenes: int = 8,
    val_scenes: int = 2,
    test_scenes: int = 0,
    frames: int = 10,
    interval: float = SWEEP_SECONDS,
    seed: int = 0,
    resolution: float = 1.0,
    calibration: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    extent: float = 75.0,
) -> SimulationSummary:
    """Write simulated LiDAR segments as Waymo v1 records.

    Makes ``out/training/*.tfrecord``, ``out/validation/*.tfrecord``, ``out/test/*.tfrecord`` and
    ``out/simulation.json`` (the settings, and what each finished segment holds, with its checksum).
    Scene k of a split depends on the seed, the split and k alone, so the bytes are the same with
    any number of workers. Finished segments are kept: an interrupted call goes on where it stopped,
    and more scenes can be added later.

    With more than one worker the processes are spawned, so a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        out: folder of the dataset.
        scenes: training segments.
        val_scenes: validation segments.
        test_scenes: test segments.
        frames: frames per segment.
        interval: seconds between two frames, from 0.1 (every sweep) to 10.
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
            damaged or of an older kd3d.
        RecordError: the calibration's record is damaged.
        OutputError: the folder cannot be written, the disk is full, or a worker process died.
    """
    recipe = _Recipe(seed, frames, interval, extent, _sensors(calibration, resolution), resolution)
    counts = dict(zip(SPLITS, (scenes, val_scenes, test_scenes), strict=True))
    return _simulate(Path(out), recipe, counts, recipe.settings(), workers, progress)


def simulate_preset(
    name: str,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> SimulationSummary:
    """Write one of the fixed benchmarks (`kd3d.simulate.PRESETS`), as `simulate_dataset` does.

    Args:
        name: of the preset.
        out: folder of the dataset.
        workers: processes; by default one per core.
        progress: show a progress bar.

    Raises:
        ConfigError: there is no such preset, or the folder holds something else, such as another
            version of it.
        DatasetError: the folder's settings file is damaged or of an older kd3d.
        OutputError: the folder cannot be written, the disk is full, or a worker process died.
    """
    one = preset(name)
    sensors = default_sensors(one.resolution)
    recipe = _Recipe(one.seed, one.frames, one.interval, one.extent, sensors, one.resolution)
    counts = dict(zip(SPLITS, (one.scenes, one.val_scenes, one.test_scenes), strict=True))
    settings: Settings = {"preset": one.name, "version": one.version, **recipe.settings()}
    return _simulate(Path(out), recipe, counts, settings, workers, progress)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What all segments of a dataset have in common."""

    seed: int
    frames: int
    interval: float
    extent: float
    sensors: tuple[Sensor, ...]
    resolution: float

    def settings(self) -> Settings:
        return {
            "generator": _GENERATOR,
            "seed": self.seed,
            "frames": self.frames,
            "interval": self.interval,
            "resolution": self.resolution,
            "extent": self.extent,
            "sensors": fingerprint(self.sensors),
        }

    def jobs(self, root: Path, counts: Mapping[str, int]) -> Iterator[tuple[str, Job]]:
        """The segments that the dataset should have, by their paths below the root."""
        for number, split in enumerate(SPLITS):
            for scene in range(counts[split]):
                context = segment_context(self.seed, split, scene)
                name = segment_name(split, context)
                yield (
                    name,
                    Job(
                        root=root,
                        path=name,
                        context=context,
                        seed=(self.seed, number, scene),
                        frames=self.frames,
                        interval=self.interval,
                        extent=self.extent,
                        sensors=self.sensors,
                    ),
                )


def _sensors(calibration: str | os.PathLike[str] | None, resolution: float) -> tuple[Sensor, ...]:
    return (
        default_sensors(resolution) if calibration is None else sensors_of(calibration, resolution)
    )


def _simulate(
    root: Path,
    recipe: _Recipe,
    counts: Mapping[str, int],
    settings: Settings,
    workers: int | None,
    progress: bool,
) -> SimulationSummary:
    _check_options(recipe, counts, workers)
    manifest = open_manifest(root, settings, counts)
    jobs = dict(recipe.jobs(root, counts))
    _check_surplus(root, jobs)
    missing = {name: job for name, job in jobs.items() if not manifest.is_finished(root, name)}
    if missing or manifest.scenes != counts:
        manifest.scenes = dict(counts)
        _keep(root, manifest)
    processes = workers if workers is not None else os.cpu_count() or 1
    made = make_all(missing, min(processes, len(missing)))
    for name, segment in _shown(made, total=len(jobs), done=len(jobs) - len(missing), on=progress):
        manifest.segments[name] = segment
        _keep(root, manifest)
    segments = [manifest.segments[name] for name in jobs]
    return SimulationSummary(
        root=root,
        segments=len(segments),
        frames=sum(segment.frames for segment in segments),
        boxes={name: sum(segment.boxes[name] for segment in segments) for name in CLASSES},
        written=len(missing),
    )


def _keep(root: Path, manifest: Manifest) -> None:
    with full_disk_told(root):
        write_manifest(root, manifest)


def _check_options(recipe: _Recipe, counts: Mapping[str, int], workers: int | None) -> None:
    scenes, val_scenes, test_scenes = counts.values()
    is_some = sum(counts.values()) > 0
    rules: tuple[tuple[str, float | None, bool, str], ...] = (
        ("val_scenes", val_scenes, val_scenes >= 0, "0 or more"),
        ("test_scenes", test_scenes, test_scenes >= 0, "0 or more"),
        ("scenes", scenes, scenes >= 0, "0 or more"),
        ("scenes", scenes, is_some, "1 or more where there is no validation or test scene"),
        ("frames", recipe.frames, recipe.frames >= 1, "1 or more"),
        ("interval", recipe.interval, SWEEP_SECONDS <= recipe.interval <= 10.0, "0.1 to 10 s"),
        ("seed", recipe.seed, 0 <= recipe.seed < 2**32, "from 0 to 4294967295"),
        ("workers", workers, workers is None or workers >= 1, "1 or more, or left out"),
        ("extent", recipe.extent, 10.0 <= recipe.extent <= 500.0, "between 10 and 500 metres"),
    )
    for option, value, is_right, rule in rules:
        if not is_right:
            raise ConfigError(f"{value} is out of range.", where=option, hint=f"It must be {rule}.")


def _check_surplus(root: Path, jobs: Mapping[str, Job]) -> None:
    """Refuse a folder with records that are not part of the plan: readers would take them too."""
    for split in SPLITS:
        for path in sorted((root / split).glob("*.tfrecord")):
            if f"{split}/{path.name}" not in jobs:
                raise ConfigError(
                    "the folder holds a record that is not one of the asked segments.",
                    where=str(path),
                    hint="Name another folder, ask for as many scenes as are there, or delete it.",
                )


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
