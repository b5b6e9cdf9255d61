"""Reading frames, and what was found in them, from any batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.distill import BatchView, KDCallback, Teacher
from kd3d.errors import ConfigError
from kd3d.structures import Detections
from kd3d.visualize import Scene

__all__ = [
    "Points",
    "Predict",
    "class_names",
    "find",
    "find_by_teachers",
    "point_range",
    "read_frames",
]

#: Finds boxes: function of the LightningModule and a batch that gives one `Detections` per frame.
Predict = Callable[[Any, Any], Sequence[Detections]]
#: Gives the points ``[N_i, 3 or more]`` of each frame of a batch.
Points = Callable[[Any], Sequence[Tensor]]

_FARTHEST = 80.0
"""Metres around the sensors that a picture shows at most, if no range is known."""


def read_frames(batch: Any, view: BatchView, points: Points | None) -> list[Scene]:  # noqa: ANN401
    """Read the frames of a batch to the host: points, ground truth, names.

    Args:
        batch: any batch.
        view: how to read ground truth and names; a batch without names has its frames numbered.
        points: how to read the points, if the batch is no `PointBatch` and has no ``points`` that
            are ``[B, N, 3 or more]`` or a list of ``[N_i, 3 or more]``.

    Raises:
        ConfigError: if the batch does not tell its points or its ground truth.
    """
    boxes, labels = view.read_truth(batch)
    try:
        names: Sequence[str] = view.read_frame_ids(batch)
    except ConfigError:
        names = [f"frame {place}" for place in range(len(labels))]
    clouds = _points_of(batch, len(labels)) if points is None else points(batch)
    if len(clouds) != len(labels):
        raise ConfigError(
            f"points of {len(clouds)} frames for boxes of {len(labels)}.", where="points"
        )
    return [
        Scene(cloud.detach().cpu(), ground_truth=_truth(*frame), name=str(name))
        for cloud, name, frame in zip(clouds, names, zip(boxes, labels, strict=True), strict=True)
    ]


def find(predict: Predict, module: Any, batch: Any, frames: int) -> list[Detections]:  # noqa: ANN401
    """Find boxes in the frames of a batch, and bring them to the host.

    Raises:
        ConfigError: if `predict` does not give one `Detections` per frame.
    """
    found = predict(module, batch)
    if (
        not isinstance(found, Sequence)
        or len(found) != frames
        or not all(isinstance(item, Detections) for item in found)
    ):
        what = f"{len(found)} items" if isinstance(found, Sequence) else type(found).__name__
        raise ConfigError(
            f"gives {what} for {frames} frames, not one Detections for each.",
            where=f"the forward pass of {type(module).__name__}",
            hint="Say how to find boxes: predict=lambda module, batch: [Detections(...), ...].",
        )
    return [item.to("cpu") for item in found]


def find_by_teachers(trainer: Any, batch: Any, frames: int) -> dict[str, list[Detections]]:  # noqa: ANN401
    """Find boxes by the teachers of a trainer's `KDCallback`s, as `find` does.

    Returns:
        boxes by "teacher", "teacher 2" and so on; nothing for teachers that give no boxes.
    """
    callbacks = [item for item in trainer.callbacks if isinstance(item, KDCallback)]
    teachers = [item.teacher for item in callbacks if item.teacher is not None]
    able = [teacher for teacher in teachers if teacher.decodes]
    return {
        f"teacher {place}" if place > 1 else "teacher": find(Teacher.predict, item, batch, frames)
        for place, item in enumerate(able, start=1)
    }


def class_names(module: nn.Module) -> tuple[str, ...]:
    """Give the class names that a module, or its ``detector``, tells; none if it does not."""
    return tuple(_told(module, "classes") or ())


def point_range(module: nn.Module, scene: Scene) -> tuple[float, ...]:
    """Give the range of a module, or of its ``detector``; else a square around all points."""
    told = _told(module, "point_cloud_range")
    if told is not None:
        return tuple(float(value) for value in told)
    reach = max(10.0, float(abs(scene.cloud()[:, :2]).max(initial=0.0)))
    side = min(math.ceil(reach / 10) * 10.0, _FARTHEST)
    return (-side, -side, -5.0, side, side, 5.0)


def _told(module: nn.Module, name: str) -> Any:  # noqa: ANN401 - whatever the attribute is
    for owner in (getattr(module, "detector", None), module):
        value = getattr(owner, name, None)
        if value is not None:
            return value
    return None


def _truth(boxes: Tensor, labels: Tensor) -> Detections:
    filled = labels >= 0
    kept = boxes[filled, :7].detach().float().cpu()
    return Detections(kept, torch.ones(len(kept)), labels[filled].cpu())


def _points_of(batch: Any, frames: int) -> Sequence[Tensor]:  # noqa: ANN401 - any batch
    if callable(getattr(batch, "points_of", None)):
        return [batch.points_of(frame) for frame in range(frames)]
    name = "points"
    values = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
    clouds = list(values) if isinstance(values, Sequence | Tensor) else []
    if not clouds or not all(isinstance(cloud, Tensor) and cloud.ndim == 2 for cloud in clouds):
        raise ConfigError(
            f"a batch of type {type(batch).__name__} does not tell the points of each frame.",
            where="points",
            hint="Say how to read them: points=lambda batch: [points of frame 0, ...].",
        )
    return clouds
