"""The ground truth as heat on the grid of a network that draws no targets itself."""

import torch
from torch import Tensor

from kd3d.geometry import BEVGrid, draw_objects

__all__ = ["truth_heat"]


@torch.no_grad()
def truth_heat(boxes: Tensor, labels: Tensor, grid: BEVGrid, num_classes: int) -> Tensor:
    """Draw a Gaussian for every object whose centre lies on the grid.

    Args:
        boxes: ``[B, M, 7 or more]`` (x, y, z, length, width, height, heading), metres and radians.
        labels: ``[B, M]`` int64 class ids, -1 in empty slots.
        grid: where to draw.
        num_classes: C.

    Returns:
        ``[B, C, H, W]`` float32 in [0, 1], 1 at the objects' cells. Boxes without a size and
        objects outside the grid are left out.
    """
    boxes = boxes.float()
    drawn = (labels >= 0) & (boxes[..., 3:6] > 0).all(dim=-1) & grid.contains(boxes[..., :2])
    cells = grid.to_cells(boxes[..., :2]).long()
    return draw_objects(boxes, labels, drawn, cells, grid, num_classes)
