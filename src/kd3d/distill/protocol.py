"""What distillation asks of a detector: nothing but this."""

from typing import Any, Protocol

from torch import Tensor

from kd3d.geometry.grid import BEVGrid
from kd3d.structures import CenterTargets, Detections, HeadMaps

__all__ = ["CenterDetector"]


class CenterDetector(Protocol):
    """A detector that predicts a heatmap of object centres over a bird's-eye-view grid.

    kd3d's own detectors are such; any other `torch.nn.Module` that offers these names is as good.
    A network that offers less takes part through a `kd3d.distill.View`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the heatmap's channels."""

    @property
    def grid(self) -> BEVGrid:
        """The grid of the head maps."""

    def __call__(self, batch: Any) -> HeadMaps:  # noqa: ANN401 - whatever the student trains on
        """Predict raw maps (heatmap logits) of a batch."""

    def assign_targets(self, boxes: Tensor, labels: Tensor) -> CenterTargets:
        """Draw the targets of padded boxes ``[B, M, 7]`` with class ids ``[B, M]`` (-1 = empty)."""

    def decode(self, maps: HeadMaps, *, nms: bool = True) -> list[Detections]:
        """Turn raw maps into boxes per frame, in falling order of score."""
