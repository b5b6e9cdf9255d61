"""The ground truth as heat on the grid of a network that draws no targets itself."""

import torch
from torch import Tensor

from kd3d.geometry import BEVGrid, bus_radius, draw_gaussians, gaussian_radius

__all__ = ["truth_heat"]

# CenterPoint's, as kd3d's own detectors draw their targets
_MIN_OVERLAP = 0.1
_MIN_RADIUS = 2


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
    columns, rows = grid.to_cells(boxes[..., :2]).long().unbind(dim=-1)
    drawn = (labels >= 0) & (boxes[..., 3:6] > 0).all(dim=-1) & grid.contains(boxes[..., :2])
    length, width = (
        torch.where(drawn, boxes[..., axis], 1.0) / cell
        for axis, cell in ((3, grid.cell_x), (4, grid.cell_y))
    )
    radii = gaussian_radius(length, width, _MIN_OVERLAP).long().clamp(min=_MIN_RADIUS)
    frame = torch.arange(len(boxes), device=boxes.device)[:, None]
    heat = draw_gaussians(
        (len(boxes) * num_classes, grid.height, grid.width),
        planes=(frame * num_classes + labels.clamp(min=0)).flatten(),
        rows=torch.where(drawn, rows, 0).flatten(),
        columns=torch.where(drawn, columns, 0).flatten(),
        radii=torch.where(drawn, radii, -1).flatten(),
        peaks=torch.ones_like(length).flatten(),
        usual_radius=bus_radius(grid, _MIN_OVERLAP, _MIN_RADIUS),
    )
    return heat.view(len(boxes), num_classes, grid.height, grid.width)
