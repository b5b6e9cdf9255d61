"""What every detector is: points in, maps out, and all it needs to be rebuilt."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from kd3d.errors import ConfigError, InputError
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import (
    AnchorMaps,
    AnchorTargets,
    CenterTargets,
    Detections,
    HeadMaps,
    PointBatch,
)

__all__ = ["Detector"]

INTENSITY_COLUMN = 3


class Detector(nn.Module, ABC):
    """A LiDAR 3D object detector.

    It reads raw points (`PointBatch`) and owns whatever belongs to its input: range, classes and
    the treatment of the intensity travel in its checkpoint.

    Args:
        name: what `create_detector` knows it by; a class of one's own has a name of its own.
        arguments: plain values that rebuild it, see `spec`.
        classes: names of the classes; class id k is ``classes[k]``.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        grid: the grid of the output maps.
        point_features: features per point, x, y, z included; further columns are ignored.
        intensity: "tanh" squashes the fourth feature, "as_is" leaves it.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        *,
        name: str,
        arguments: dict[str, Any],
        classes: Sequence[str],
        point_cloud_range: Sequence[float],
        grid: BEVGrid,
        point_features: int,
        intensity: str,
    ) -> None:
        super().__init__()
        if not classes or len(set(classes)) < len(classes):
            raise ConfigError(f"needs distinct names, not {list(classes)}.", where="classes")
        if point_features < 3:
            raise ConfigError(
                f"must be at least 3 (x, y, z), not {point_features}.", where="point_features"
            )
        if intensity not in ("tanh", "as_is"):
            raise ConfigError(f"must be 'tanh' or 'as_is', not {intensity!r}.", where="intensity")
        self.name = name
        self.classes = tuple(classes)
        self.point_cloud_range = tuple(point_cloud_range)
        self.grid = grid
        self.point_features = point_features
        self.intensity = intensity
        self._arguments = arguments

    @abstractmethod
    def forward(self, batch: PointBatch) -> HeadMaps | AnchorMaps:
        """Compute the head's raw maps.

        Raises:
            InputError: if points are not finite or have too few features.
        """

    @abstractmethod
    def assign_targets(
        self,
        boxes: Tensor,
        labels: Tensor,
        *,
        heat_weight: Tensor | None = None,
        box_weight: Tensor | None = None,
    ) -> CenterTargets | AnchorTargets:
        """Turn boxes ``[B, M, 7 or more]`` and labels ``[B, M]`` into targets of the maps."""

    @abstractmethod
    def loss(self, maps: Any, targets: Any) -> dict[str, Tensor]:  # noqa: ANN401 - of its own head
        """Give the weighted terms by name and their sum "loss", scalars in float32.

        Args:
            maps: what `forward` gave.
            targets: what `assign_targets` gave.
        """

    @abstractmethod
    def decode(self, maps: Any, *, nms: bool = True) -> list[Detections]:  # noqa: ANN401
        """Read the boxes of each frame from what `forward` gave."""

    @overload
    def predict(self, points: Tensor) -> Detections: ...
    @overload
    def predict(self, points: Sequence[Tensor]) -> list[Detections]: ...
    @torch.no_grad()
    def predict(self, points: Tensor | Sequence[Tensor]) -> Detections | list[Detections]:
        """Detect objects in one frame ``[N, F]`` or in several.

        Runs in eval mode on the detector's device; the mode it was in comes back afterwards.

        Returns:
            `Detections` on the detector's device: one for a tensor, a list for a sequence.
        """
        frames = [points] if isinstance(points, Tensor) else list(points)
        batch = PointBatch.from_points(frames).to(next(self.parameters()).device)
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            found = self.decode(self(batch))
        finally:
            for module in training:
                module.training = True
        return found[0] if isinstance(points, Tensor) else found

    def spec(self) -> dict[str, Any]:
        """Describe the detector in plain Python types.

        ``create_detector(spec["name"], **spec["arguments"])`` builds its equal, with new weights.
        """
        return {"name": self.name, "arguments": deepcopy(self._arguments)}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **changes: Any) -> "Detector":  # noqa: ANN401
        """Load a detector, with its weights, from a file of `save_detector` or a training run.

        The file tells by name what it holds, see `create_detector`. Called on a class that is not
        kd3d's, it is that class which is built, whatever the name.

        Args:
            path: the file.
            changes: arguments of `create_detector` that differ from the file's, such as the
                ``point_cloud_range`` that a teacher shares with its student.

        Raises:
            CheckpointError: if the file is missing, damaged, unsafe, or holds no detector.
        """
        from kd3d.detectors.checkpoint import restore_detector  # it builds detectors by name

        return restore_detector(cls, path, changes)

    def read_points(self, batch: PointBatch) -> Tensor:
        """Give the batch's points ``[N, point_features]`` as the network takes them, float32.

        Raises:
            InputError: if points are not finite or have too few features.
        """
        if batch.points.shape[1] < self.point_features:
            raise InputError(
                f"{batch.points.shape[1]} features per point; {self.name} reads "
                f"{self.point_features}.",
                where="points",
                hint="Create the detector with point_features to match.",
            )
        points = batch.points[:, : self.point_features].float()
        _check_finite(points, batch)
        if self.intensity == "tanh" and self.point_features > INTENSITY_COLUMN:
            points = points.clone()
            points[:, INTENSITY_COLUMN].tanh_()
        return points


def _check_finite(points: Tensor, batch: PointBatch) -> None:
    if points.sum().isfinite():  # one pass, no mask: a sum keeps any NaN
        return
    wrong = ~points.isfinite().all(dim=1)
    if wrong.any():
        frame = int(batch.batch_index[wrong][0])
        count = int(wrong[batch.batch_index == frame].sum())
        raise InputError(
            f"{count} points are NaN or infinite.",
            where=f"frame {batch.frame_ids[frame]}",
            hint="Drop them before they reach the detector.",
        )
