"""From one dictionary per frame, as a Metric takes them, to checked rows."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.errors import InputError
from kd3d.metrics.functional import Objects, Predictions
from kd3d.waymo import effective_difficulty

__all__ = ["frame_names", "objects_of", "predictions_of"]

_HOW = "See WaymoDetectionMetric.update for the fields of a frame."


def frame_names(
    preds: Sequence[object], targets: Sequence[object], frame_ids: Sequence[Hashable] | None
) -> list[str]:
    """Name the frames for messages, by their ids or else by position.

    Raises:
        InputError: if there are not equally many of each, or a frame is there twice.
    """
    where = "WaymoDetectionMetric.update"
    if len(preds) != len(targets):
        raise InputError(
            f"{len(preds)} frames of predictions but {len(targets)} of targets.",
            where=where,
            hint="A frame without boxes still needs a dictionary, with empty tensors.",
        )
    if frame_ids is None:
        return [str(index) for index in range(len(preds))]
    if len(frame_ids) != len(preds):
        raise InputError(f"{len(preds)} frames but {len(frame_ids)} frame_ids.", where=where)
    seen: set[Hashable] = set()
    for name in frame_ids:
        if name in seen:
            raise InputError(
                f"frame {name!r} is there twice.",
                where=f"{where}, frame_ids",
                hint="Give all boxes of a frame in one dictionary.",
            )
        seen.add(name)
    return [repr(name) for name in frame_ids]


def predictions_of(
    frames: Sequence[Mapping[str, Tensor]], num_classes: int, names: Sequence[str]
) -> Predictions:
    """Check the predictions of some frames and lay them out as rows.

    Args:
        frames: one dictionary per frame, as in `WaymoDetectionMetric.update`.
        num_classes: how many classes there are.
        names: what messages call the frames.

    Raises:
        InputError: naming frame and field, if something does not fit.
    """
    rows = _Rows("preds", frames, names, required=("boxes", "scores", "labels"))
    labels = rows.labels(num_classes)
    boxes = rows.boxes()
    scores = rows.floats("scores")
    rows.refuse("scores", ~((scores >= 0) & (scores <= 1)), "scores must be in [0, 1].")
    in_zone = rows.integers("overlaps_nlz", missing=0) != 0
    known = labels >= 0
    return Predictions(
        boxes[known], scores[known], rows.frame[known], labels[known], in_zone[known]
    )


def objects_of(
    frames: Sequence[Mapping[str, Tensor]], num_classes: int, names: Sequence[str]
) -> Objects:
    """Check the objects of some frames and lay them out as rows, those without points left out.

    Args:
        frames: one dictionary per frame, as in `WaymoDetectionMetric.update`.
        num_classes: how many classes there are.
        names: what messages call the frames.

    Raises:
        InputError: naming frame and field, if something does not fit.
    """
    rows = _Rows("targets", frames, names, required=("boxes", "labels"))
    labels = rows.labels(num_classes)
    boxes = rows.boxes()
    num_points = rows.integers("num_points", missing=-1)
    rows.refuse("num_points", num_points < -1, "num_points must be -1 (unknown) or more.")
    given = rows.integers("difficulty", missing=0)
    rows.refuse("difficulty", (given < 0) | (given > 2), "difficulty must be 0 (unset), 1 or 2.")
    difficulty = effective_difficulty(given, num_points)
    real = (labels >= 0) & _takes_part(num_points)
    return Objects(boxes[real], rows.frame[real], labels[real], difficulty[real])


def _takes_part(num_points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which objects exist for the metric: those with a point, or an unknown number."""
    exists: NDArray[np.bool_] = num_points != 0
    return exists


class _Rows:
    """The concatenated fields of some frames, remembering the frame of each row."""

    def __init__(
        self,
        side: str,
        frames: Sequence[Mapping[str, Tensor]],
        names: Sequence[str],
        required: tuple[str, ...],
    ) -> None:
        self._side = side
        self._names = names
        self._frames = frames
        for index, frame in enumerate(frames):
            self._check_structure(index, frame, required)
        self._counts = [len(frame["labels"]) for frame in frames]
        self.frame: NDArray[np.int64] = np.repeat(np.arange(len(frames)), self._counts)

    def _check_structure(
        self, index: int, frame: Mapping[str, Tensor], required: tuple[str, ...]
    ) -> None:
        where = f"{self._side}[{self._names[index]}]"
        if not isinstance(frame, Mapping):
            raise InputError(
                f"expected a dict, got {type(frame).__name__}.", where=where, hint=_HOW
            )
        for name in required:
            if name not in frame:
                raise InputError(f"there is no {name!r}.", where=where, hint=_HOW)
        for name, value in frame.items():
            if name in _SHAPES and not isinstance(value, Tensor):
                raise InputError(
                    f"expected a tensor, got {type(value).__name__}.", where=f"{where}[{name!r}]"
                )
        boxes = frame["boxes"]
        if boxes.ndim != 2 or boxes.shape[1] < 7:
            raise InputError(
                f"boxes must be [N, 7], not {list(boxes.shape)}.", where=f"{where}['boxes']"
            )
        for name in _SHAPES:
            if name in frame and name != "boxes" and frame[name].shape != boxes.shape[:1]:
                raise InputError(
                    f"{len(boxes)} boxes but {name} of shape {list(frame[name].shape)}.",
                    where=f"{where}[{name!r}]",
                )

    def floats(self, name: str) -> NDArray[np.float32]:
        """Concatenate a field as float32."""
        parts = []
        for index, frame in enumerate(self._frames):
            value = frame[name]
            if not value.is_floating_point():
                raise self._error(index, name, f"{name} must be floating, not {value.dtype}.")
            parts.append(value.detach()[:, :7] if name == "boxes" else value.detach())
        width = (7,) if name == "boxes" else ()
        joined = torch.cat(parts).float() if parts else torch.zeros((0, *width))
        values: NDArray[np.float32] = joined.cpu().numpy()
        return values

    def integers(self, name: str, missing: int | None = None) -> NDArray[np.int64]:
        """Concatenate a field as int64; frames without it are filled with `missing`."""
        parts = []
        for index, frame in enumerate(self._frames):
            value = frame.get(name)
            if value is None:
                value = torch.full_like(frame["labels"], missing or 0, dtype=torch.int64)
            if value.is_floating_point() or value.is_complex():
                raise self._error(index, name, f"{name} must be integers, not {value.dtype}.")
            parts.append(value.long())
        joined = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
        values: NDArray[np.int64] = joined.cpu().numpy()
        return values

    def labels(self, num_classes: int) -> NDArray[np.int64]:
        """Class ids, -1 for rows that are to be ignored."""
        labels = self.integers("labels")
        self.refuse(
            "labels",
            (labels < -1) | (labels >= num_classes),
            f"labels must be class ids from 0 to {num_classes - 1}, or -1 to ignore a row.",
        )
        return labels

    def boxes(self) -> NDArray[np.float32]:
        """Boxes ``[N, 7]``, finite and with sides that are not negative."""
        boxes = self.floats("boxes")
        self.refuse("boxes", ~np.isfinite(boxes.sum(axis=1)), "a box is not finite.")
        self.refuse("boxes", boxes[:, 3:6].min(axis=1) < 0, "a box has a negative side.")
        return boxes

    def refuse(self, name: str, wrong: NDArray[np.bool_], what: str) -> None:
        """Raise if any row is wrong, naming the first."""
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            index = int(self.frame[first])
            row = first - sum(self._counts[:index])
            raise self._error(index, name, f"{what} The first wrong one is row {row}.")

    def _error(self, index: int, name: str, what: str) -> InputError:
        return InputError(what, where=f"{self._side}[{self._names[index]}][{name!r}]", hint=_HOW)


_SHAPES = ("boxes", "scores", "labels", "overlaps_nlz", "difficulty", "num_points")
