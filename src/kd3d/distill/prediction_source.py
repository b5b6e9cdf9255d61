"""One file of predictions, frame by frame, with labels as places in the student's classes."""

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import torch

from kd3d.errors import ConfigError, InputError, TeacherError
from kd3d.predictions import FrameObjects, check_classes, load_objects, read_openpcdet
from kd3d.structures import Detections

__all__ = ["PredictionSource", "Source", "check_coverage", "open_source"]

#: A file, what `kd3d.predictions.load_objects` made of one, or boxes by frame id.
Source = str | os.PathLike[str] | FrameObjects | Mapping[str, Detections]


class PredictionSource:
    """The boxes of many frames on the CPU.

    Args:
        name: what messages call it.
        boxes: all boxes, frame after frame.
        rows: which of them are each frame's.
    """

    def __init__(self, name: str, boxes: Detections, rows: Mapping[str, slice]) -> None:
        self.name = name
        self._boxes = boxes
        self._rows = rows

    @property
    def frame_ids(self) -> Set[str]:
        """The frames that it has."""
        return self._rows.keys()

    def frame(self, name: str) -> Detections:
        """Give the boxes of a frame; none if it is not there."""
        rows = self._rows.get(name, slice(0))
        return Detections(
            self._boxes.boxes[rows], self._boxes.scores[rows], self._boxes.labels[rows]
        )


def open_source(
    source: Source,
    number: int,
    classes: Sequence[str],
    class_names: Mapping[str, str],
    min_score: float,
) -> PredictionSource:
    """Read a source.

    Args:
        source: see `Source`.
        number: its place among the sources, for messages.
        classes: the student's class names.
        class_names: what those are called in files, where that differs.
        min_score: leave out boxes that score less.

    Raises:
        ConfigError: if a class is unknown to the files.
        DatasetError: if a file is missing.
        RecordError: if a file is damaged.
        InputError: if there are no scores.
    """
    if isinstance(source, Mapping):
        return _from_detections(source, f"predictions[{number}]", len(classes), min_score)
    if isinstance(source, FrameObjects):
        return _from_objects(source, f"predictions[{number}]", classes, class_names, min_score)
    is_npz = Path(source).suffix.lower() == ".npz"
    objects = read_openpcdet(source, class_names) if is_npz else load_objects(source)
    return _from_objects(objects, os.fspath(source), classes, class_names, min_score)


def check_coverage(
    source: PredictionSource, asked: int, missing: int, example: Sequence[str], most: float
) -> None:
    """Raise `TeacherError` if a source lacks too many of the frames that were asked for.

    Args:
        source: the source.
        asked: frames asked for.
        missing: how many of them it lacks.
        example: one of those.
        most: share that it may lack.
    """
    if not missing or (missing < asked and missing <= most * asked):
        return
    known = next(iter(source.frame_ids), None)
    what = (
        f"none of the {asked} frames asked for is among its {len(source.frame_ids)} frames."
        if missing == asked
        else f"{missing} of the {asked} frames asked for are not among its "
        f"{len(source.frame_ids)} frames, more than max_missing={most:g} allows."
    )
    hint = "Is it of another split? " if known is not None else "It is empty. "
    compare = f"Asked for {', '.join(map(repr, example))}"
    has = f", it has {known!r}." if known is not None else "."
    raise TeacherError(what, where=source.name, hint=hint + compare + has)


def _from_objects(
    objects: FrameObjects,
    name: str,
    classes: Sequence[str],
    class_names: Mapping[str, str],
    min_score: float,
) -> PredictionSource:
    if objects.scores is None:
        if len(objects):
            raise InputError(
                "the predictions have no scores.", where=name, hint="Are these labels?"
            )
        scores = np.zeros(0, np.float32)
    else:
        scores = objects.scores
    _check_names(class_names, classes)
    names = [class_names.get(label, label) for label in classes]
    check_classes(names, objects, where=f"the classes of {name}")
    labels = objects.class_ids(names)
    kept = (labels >= 0) & (scores >= min_score)
    stops = np.searchsorted(objects.frame[kept], np.arange(len(objects.frame_ids) + 1)).tolist()
    boxes = Detections(
        torch.from_numpy(objects.boxes[kept].astype(np.float32)),
        torch.from_numpy(scores[kept]),
        torch.from_numpy(labels[kept]),
    )
    rows = map(slice, stops[:-1], stops[1:])
    return PredictionSource(name, boxes, dict(zip(objects.frame_ids, rows, strict=True)))


def _from_detections(
    frames: Mapping[str, Detections], name: str, num_classes: int, min_score: float
) -> PredictionSource:
    parts, rows, stop = [_nothing()], {}, 0
    for frame_id, frame in frames.items():
        kept = frame.scores >= min_score
        part = Detections(
            frame.boxes[kept, :7].float().cpu(),
            frame.scores[kept].float().cpu(),
            frame.labels[kept].cpu(),
        )
        wrong = (part.labels < 0) | (part.labels >= num_classes)
        if wrong.any() or not (part.boxes.isfinite().all() and part.scores.isfinite().all()):
            raise InputError(
                f"a label outside 0 to {num_classes - 1}, or a value that is not finite.",
                where=f"{name}, frame {frame_id}",
            )
        rows[frame_id] = slice(stop, stop + len(part))
        stop += len(part)
        parts.append(part)
    return PredictionSource(name, concatenate(parts), rows)


def concatenate(parts: Sequence[Detections]) -> Detections:
    """Put boxes one after the other."""
    return Detections(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )


def _nothing() -> Detections:
    return Detections(torch.zeros(0, 7), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def _check_names(class_names: Mapping[str, str], classes: Sequence[str]) -> None:
    unused = [name for name in class_names if name not in classes]
    if unused:
        raise ConfigError(
            f"{', '.join(map(repr, unused))} is none of the classes {list(classes)}.",
            where="class_names",
            hint="Its keys are the student's classes, its values the names in the files.",
        )
