"""From recorded points to a sample's: the same steps in a worker and on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.data.augment import WorldTransform
from kd3d.data.selection import Selection
from kd3d.geometry import points_in_boxes

__all__ = ["Arrangement", "PointSteps", "are_uncovered"]


@dataclass(frozen=True, slots=True, eq=False)
class PointSteps:
    """How points are changed and chosen.

    Args:
        transform: how the scene is changed, pasted objects included.
        selection: which points are kept after that.
    """

    transform: WorldTransform
    selection: Selection


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """What becomes of a frame's points: objects are pasted, the scene is changed, an order drawn.

    The order is drawn for all points before some are left out, so that it is known without them.

    Args:
        steps: how points are changed and chosen.
        order: ``[P + N]`` int64, a permutation of P pasted points and N recorded ones.
        pasted: ``[P, F]`` points that come before the recorded ones.
        cleared: ``[K, 7]`` boxes that recorded points are taken out of.
    """

    steps: PointSteps
    order: Tensor
    pasted: Tensor
    cleared: Tensor

    def apply(self, recorded: Tensor) -> Tensor:
        """Arrange recorded points ``[N, F]``; returns ``[n, F]``, a new tensor."""
        points = torch.cat((self.pasted, recorded)) if len(self.pasted) else recorded
        points = self.steps.transform.points(points)
        kept = self.steps.selection.within(points)
        if len(self.cleared):
            kept[len(self.pasted) :] &= are_uncovered(recorded, self.cleared)
        # Points are gathered once: what is left out, is left out of the order.
        order = self.order.index_select(0, kept.index_select(0, self.order).nonzero()[:, 0])
        return points.index_select(0, order)


def are_uncovered(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell which points ``[N]`` lie in none of the boxes ``[K, 7]`` that are pasted over them."""
    return ~points_in_boxes(points, boxes).any(dim=1)
