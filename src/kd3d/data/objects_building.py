"""Cutting the objects of a whole dataset out: in bounded memory, on all cores, restartable."""

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd3d.data.array_files import save_columns, writing_rows
from kd3d.data.faults import OnError, known_policy
from kd3d.data.objects_database import POINTS_FILE, TABLE_FILE, ObjectDatabase
from kd3d.data.objects_parts import ObjectPart, PartPlan, make_part, plan_parts
from kd3d.data.source import FrameSource
from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.files import whole_file

__all__ = ["ObjectsSummary", "build_objects"]

_WAYMO_INTERVALS = {"Vehicle": 4, "Pedestrian": 2}
_PARTS = "parts"
_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class ObjectsSummary:
    """What an object database holds.

    Args:
        path: its folder.
        objects: per class name.
        points: of all objects together.
        recordings: recordings that the objects are from.
        made: recordings that this call read; the others were done before.
        skipped: names of damaged records that were left out.
    """

    path: Path
    objects: dict[str, int]
    points: int
    recordings: int
    made: int
    skipped: tuple[str, ...]


def build_objects(
    source: FrameSource,
    out: str | os.PathLike[str],
    *,
    intervals: Mapping[str, int] | None = None,
    on_error: OnError = "raise",
    workers: int | None = None,
    progress: bool = True,
) -> ObjectsSummary:
    """Make an `ObjectDatabase` of the labelled objects of a source.

    Each recording becomes a part, written a frame at a time. Finished parts are kept until all of
    them are joined: an interrupted call goes on where it stopped, and one that was finished is not
    repeated. A worker holds one frame, and the table of one recording; joining copies the points
    in pieces and sorts the table, about 100 bytes per object. While it joins, the disk holds the
    points twice.

    Args:
        source: where frames come from, such as `kd3d.data.WaymoFrames` of the training segments.
        out: the folder to make.
        intervals: for a class, from every how many-th frame of a recording it is taken, from the
            first one on. By default vehicles from every 4th and pedestrians from every 2nd, as is
            usual on Waymo; classes that are not named are taken from every frame.
        on_error: a damaged record stops the run (``"raise"``) or is left out and named
            (``"skip"``).
        workers: processes; all cores by default, 1 works in this one.
        progress: show a bar.

    Raises:
        ConfigError: if an interval names no class or is below 1, or `workers` is.
        RecordError: if a record is damaged and `on_error` is ``"raise"``.
        DatasetError: if there is nothing to cut, or frames differ in their features.
        OutputError: if the folder cannot be written, or a worker dies.
    """
    folder = Path(out)
    every = _intervals(source.classes, intervals)
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} is below 1.", where="workers")
    plans = plan_parts(source, folder / _PARTS, every, known_policy(on_error))
    plan = hashlib.sha256("\n".join(part.path.name for part in plans).encode()).hexdigest()
    made = 0
    if not _is_made(folder, plan):
        parts, made = _make_parts(source, plans, workers or os.cpu_count() or 1, progress)
        _join(parts, tuple(source.classes), folder, plan)
        _clear(parts, folder / _PARTS)
    return _summarize(folder, len(plans), made)


def _intervals(classes: Sequence[str], given: Mapping[str, int] | None) -> list[int]:
    chosen = _WAYMO_INTERVALS if given is None else given
    for name, interval in chosen.items():
        if given is not None and name not in classes:
            raise ConfigError(
                f"{name!r} is none of the dataset's classes.",
                where="intervals",
                hint=f"They are {', '.join(classes)}.",
            )
        if interval < 1:
            raise ConfigError(f"{interval} is below 1.", where=f"intervals.{name}")
    return [chosen.get(name, 1) for name in classes]


def _is_made(folder: Path, plan: str) -> bool:
    """Tell whether the folder holds exactly what was planned."""
    if not (folder / TABLE_FILE).is_file():
        return False
    try:
        database = ObjectDatabase(folder)
        return len(database.points) >= 0 and database.columns["plan"].tolist() == [plan]
    except (DatasetError, KeyError):
        return False


def _make_parts(
    source: FrameSource, plans: Sequence[PartPlan], workers: int, progress: bool
) -> tuple[list[ObjectPart], int]:
    """Make the parts that are missing; return all, in order, and how many were made."""
    missing = [plan for plan in plans if ObjectPart.find(plan) is None]
    with _bar(progress and len(missing) > 1) as bar:
        done = len(plans) - len(missing)
        task = bar.add_task("Cutting objects", total=len(plans), completed=done)
        for _ in _work(source, missing, workers):
            bar.advance(task)
    parts = [ObjectPart.find(plan) for plan in plans]
    return [part for part in parts if part is not None], len(missing)


def _work(source: FrameSource, plans: Sequence[PartPlan], workers: int) -> Iterator[None]:
    processes = min(workers, len(plans))
    if processes <= 1:
        for plan in plans:
            make_part(source, plan)
            yield
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (source,)) as pool:
        try:
            for future in as_completed([pool.submit(_make_in_worker, plan) for plan in plans]):
                future.result()
                yield
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process died; the finished recordings are kept.",
                where="workers",
                hint="Call from a script with an `if __name__ == '__main__':` guard and check that"
                " memory suffices, or give workers=1.",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_worker_source: list[FrameSource] = []


def _start_worker(source: FrameSource) -> None:
    torch.set_num_threads(1)
    _worker_source[:] = [source]


def _make_in_worker(plan: PartPlan) -> None:
    make_part(_worker_source[0], plan)


def _join(parts: Sequence[ObjectPart], classes: tuple[str, ...], folder: Path, plan: str) -> None:
    if not any(part.objects for part in parts):
        raise DatasetError(
            f"none of the {len(parts)} recordings has a labelled object with points.",
            where=str(folder),
            hint="Take training frames: test frames have no labels.",
        )
    # An older table must not be left beside points that it does not describe.
    (folder / TABLE_FILE).unlink(missing_ok=True)
    _join_points([part for part in parts if part.objects], folder)
    with whole_file(folder / TABLE_FILE) as temporary:
        save_columns(temporary, _join_columns(parts))
        save_columns(temporary, {"classes": np.array(classes), "plan": np.array([plan])}.items())


def _join_points(parts: Sequence[ObjectPart], folder: Path) -> None:
    with writing_rows(folder / POINTS_FILE, int(parts[0].column("width")[0])) as points:
        for part in parts:
            rows = np.load(part.plan.points, mmap_mode="r")
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                points.append(rows[start : start + _ROWS_AT_ONCE])


def _join_columns(parts: Sequence[ObjectPart]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield columns of all parts, ordered by class and then by rising number of points."""
    order = np.lexsort((_gather(parts, "num_points"), _gather(parts, "labels")))
    for name in ("boxes", "labels", "num_points", "difficulty"):
        yield name, _gather(parts, name)[order]
    objects = [part.objects for part in parts]
    for name, sizes in (
        ("frames", [part.frames for part in parts]),
        ("offsets", [part.points for part in parts]),
    ):
        before = np.cumsum(sizes) - sizes
        yield name, (_gather(parts, name) + np.repeat(before, objects))[order]
    for name in ("frame_ids", "skipped"):
        yield name, _gather(parts, name)


def _gather(parts: Sequence[ObjectPart], name: str) -> NDArray[Any]:
    return np.concatenate([part.column(name) for part in parts])


def _clear(parts: Sequence[ObjectPart], folder: Path) -> None:
    for part in parts:
        part.remove()
    if not any(folder.iterdir()):
        folder.rmdir()


def _summarize(folder: Path, recordings: int, made: int) -> ObjectsSummary:
    database = ObjectDatabase(folder)
    return ObjectsSummary(
        path=folder,
        objects={name: len(database.rows_of(name)) for name in database.classes},
        points=len(database.points),
        recordings=recordings,
        made=made,
        skipped=tuple(str(name) for name in database.columns["skipped"]),
    )


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
