"""What an anchor head predicts, and what it is asked to predict."""

from dataclasses import dataclass

from torch import Tensor

from kd3d.geometry.grid import BEVGrid
from kd3d.structures.moving import Movable

__all__ = ["AnchorMaps", "AnchorTargets"]


@dataclass(frozen=True, slots=True)
class AnchorMaps(Movable):
    """Raw output maps of an anchor head over a bird's-eye-view grid.

    Every cell has A anchors. The N = H * W * A anchors of a frame are counted row by row, column by
    column, then anchor by anchor.

    Args:
        score: ``[B, A * C, H, W]`` logits; channel ``a * C + c`` is class c of anchor a.
        box: ``[B, A * 7, H, W]`` residuals of the boxes, see `kd3d.geometry.residuals`.
        direction: ``[B, A * 2, H, W]`` logits of the two halves of a turn.
        grid: the grid the maps lie on.
        anchors: A, anchors per cell.
    """

    score: Tensor
    box: Tensor
    direction: Tensor
    grid: BEVGrid
    anchors: int

    @property
    def scores(self) -> Tensor:
        """Logits ``[B, N, C]`` of every anchor."""
        return self._by_anchor(self.score)

    @property
    def residuals(self) -> Tensor:
        """Residuals ``[B, N, 7]`` of every anchor."""
        return self._by_anchor(self.box)

    @property
    def directions(self) -> Tensor:
        """Logits ``[B, N, 2]`` of every anchor."""
        return self._by_anchor(self.direction)

    @property
    def heatmap(self) -> Tensor:
        """Logits ``[B, C, H, W]``: of each class the highest of a cell's anchors.

        So objectives that compare heatmaps can compare an anchor head with a center head.
        """
        frames, _, height, width = self.score.shape
        return self.score.reshape(frames, self.anchors, -1, height, width).amax(dim=1)

    def _by_anchor(self, values: Tensor) -> Tensor:
        frames, channels = values.shape[:2]
        return values.permute(0, 2, 3, 1).reshape(frames, -1, channels // self.anchors)


@dataclass(frozen=True, slots=True)
class AnchorTargets(Movable):
    """Training targets of an anchor head, in the order of the anchors of `AnchorMaps`.

    Args:
        labels: ``[B, N]`` int64: class ids of the positive anchors, -1 for background, -2 for
            anchors that are left out.
        boxes: ``[B, N, 7]`` float32, the box that an anchor overlaps most (x, y, z, length, width,
            height, heading), metres and radians; ones where it overlaps none.
        score: ``[B, N]`` float32 in [0, 1], what a positive anchor's class is to score.
        weight: ``[B, N]`` float32 weight of a positive anchor in the box loss; 0 elsewhere.
    """

    labels: Tensor
    boxes: Tensor
    score: Tensor
    weight: Tensor

    BACKGROUND = -1
    IGNORED = -2

    @property
    def positive(self) -> Tensor:
        """Bool ``[B, N]``, which anchors stand for an object."""
        return self.labels >= 0
