"""From recorded points to a sample's: the same steps in a worker and on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.data.augment import WorldTransform
from kd3d.data.scratch import Scratch
from kd3d.data.selection import Selection
from kd3d.geometry import points_in_boxes
from kd3d.structures.joining import handed_over, hands_over

__all__ = ["ArrangedPoints", "Arrangement", "PointSteps", "are_uncovered", "lay_out"]

_ROWS, _BATCH = Scratch(), Scratch()


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
class ArrangedPoints:
    """The points of a sample, not yet laid out: that is done once, where a batch is put together.

    Args:
        points: ``[N, F]``, before the scene was changed.
        positions: x, y and z ``[N]`` after that.
        order: ``[n]`` int64, which of them are kept, in the order of the sample.
    """

    points: Tensor
    positions: tuple[Tensor, ...]
    order: Tensor

    def __len__(self) -> int:
        return len(self.order)

    @classmethod
    def none(cls, features: int) -> "ArrangedPoints":
        """Give no points, of so many features."""
        points = torch.empty(0, features)
        return cls(points, points.unbind(1)[:3], torch.empty(0, dtype=torch.int64))

    def write(self, out: Tensor) -> None:
        """Lay the points out in a tensor ``[n, F]`` that is there already."""
        rows = _ROWS.room(self.points, self.points.shape)
        rows.copy_(self.points)
        for place, values in enumerate(self.positions):
            rows[:, place] = values
        torch.index_select(rows, 0, self.order, out=out)


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

    def apply(self, recorded: Tensor) -> ArrangedPoints:
        """Arrange recorded points ``[N, F]``, which stay as they are."""
        points = torch.cat((self.pasted, recorded)) if len(self.pasted) else recorded
        x, y, z = self.steps.transform.positions(points)
        kept = self.steps.selection.covers(x, y)
        if len(self.cleared):
            kept[len(self.pasted) :] &= are_uncovered(recorded, self.cleared)
        # Points are gathered once: what is left out, is left out of the order.
        order = self.order.masked_select(kept.index_select(0, self.order))
        return ArrangedPoints(points, (x, y, z), order)


def lay_out(clouds: Sequence[ArrangedPoints]) -> Tensor:
    """Lay the points of frames out one after the other.

    Args:
        clouds: at least one, all with the same features.

    Returns:
        ``[n_1 + n_2 + ..., F]``; in a worker ready to be handed over.
    """
    counts = [len(cloud) for cloud in clouds]
    like, shape = clouds[0].points, (sum(counts), clouds[0].points.shape[1])
    # What is copied to be handed over does not need memory of its own.
    points = _BATCH.room(like, shape) if hands_over(like) else like.new_empty(shape)
    for cloud, rows in zip(clouds, torch.split(points, counts), strict=True):
        cloud.write(rows)
    return handed_over(points)


def are_uncovered(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell which points ``[N]`` lie in none of the boxes ``[K, 7]`` that are pasted over them."""
    return ~points_in_boxes(points, boxes).any(dim=1)
