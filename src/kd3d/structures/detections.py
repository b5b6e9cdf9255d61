"""Boxes that a detector found in one frame."""

from dataclasses import dataclass

from torch import Tensor

from kd3d.structures.moving import Movable

__all__ = ["Detections"]


@dataclass(frozen=True, slots=True)
class Detections(Movable):
    """Boxes with scores, in falling order of score.

    Args:
        boxes: ``[K, 7]`` float32 (x, y, z, length, width, height, heading); metres, radians,
            vehicle frame, centre in the middle. Extra head branches follow as further columns.
        scores: ``[K]`` float32 in [0, 1].
        labels: ``[K]`` int64 class ids from 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def as_dict(self) -> dict[str, Tensor]:
        """Give the dictionary that detection metrics take."""
        return {"boxes": self.boxes[:, :7], "scores": self.scores, "labels": self.labels}
