"""What a center head is asked to predict for a list of boxes."""

import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.geometry.constants import constant
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.heat import draw_objects
from kd3d.structures import CenterTargets

__all__ = ["assign_center_targets", "check_boxes"]


def assign_center_targets(
    boxes: Tensor,
    labels: Tensor,
    grid: BEVGrid,
    num_classes: int,
    *,
    extra_columns: int = 0,
    heat_weight: Tensor | None = None,
    box_weight: Tensor | None = None,
    max_objects: int = 500,
) -> CenterTargets:
    """Draw heat and encode boxes, as CenterPoint does in OpenPCDet.

    A centre outside the grid is moved to its border cell. Empty slots (label -1) and boxes with a
    size of zero or less are masked. Two boxes in one cell both stay.

    Args:
        boxes: ``[B, M, 7 + extra_columns]`` (x, y, z, length, width, height, heading), metres and
            radians; then the columns of extra branches. More columns are ignored.
        labels: ``[B, M]`` int64 class ids, -1 where a slot is empty.
        grid: the grid of the head's maps.
        num_classes: channels of the heatmap.
        extra_columns: columns after the seventh that are regressed as they are.
        heat_weight: ``[B, M]`` heights of the peaks; 1 by default.
        box_weight: ``[B, M]`` weights in the regression loss; 1 by default.
        max_objects: slots after this many are left out.

    Returns:
        Targets with K = min(M, max_objects) slots, float32.

    Raises:
        InputError: if shapes do not fit, or a labelled box is not finite or of an unknown class
            (on CUDA an assertion of the device, since asking would wait for it).
    """
    check_boxes(boxes, labels, num_classes, 7 + extra_columns)
    with torch.autocast(boxes.device.type, enabled=False):
        boxes, labels = boxes[:, :max_objects].float(), labels[:, :max_objects]
        ones = torch.ones_like(boxes[..., 0])
        heat_weight = ones if heat_weight is None else heat_weight[:, :max_objects].float()
        box_weight = ones if box_weight is None else box_weight[:, :max_objects].float()
        mask = (labels >= 0) & (boxes[..., 3:6] > 0).all(dim=-1)
        boxes = torch.where(mask[..., None], boxes, torch.ones_like(boxes))

        limit = constant((grid.width - 0.5, grid.height - 0.5), boxes)
        centers = torch.minimum(grid.to_cells(boxes[..., :2]).clamp(min=0), limit)
        cells = centers.long()
        columns, rows = cells.unbind(-1)
        codes = torch.cat(
            (
                centers - cells,
                boxes[..., 2:3],
                boxes[..., 3:6].log(),
                boxes[..., 6:7].cos(),
                boxes[..., 6:7].sin(),
                boxes[..., 7 : 7 + extra_columns],
            ),
            dim=-1,
        )

        heatmap = draw_objects(boxes, labels, mask, cells, grid, num_classes, heat_weight)
    return CenterTargets(
        heatmap=heatmap,
        indices=torch.where(mask, rows * grid.width + columns, 0),
        mask=mask,
        codes=codes * mask[..., None],
        weight=box_weight * mask,
        labels=torch.where(mask, labels, -1),
        grid=grid,
    )


def check_boxes(boxes: Tensor, labels: Tensor, num_classes: int, columns: int) -> None:
    """Make sure that labelled boxes are finite and of known classes.

    Args:
        boxes: ``[B, M, columns or more]``.
        labels: ``[B, M]`` class ids, -1 in empty slots.
        num_classes: how many classes there are.
        columns: how many columns a box needs.

    Raises:
        InputError: if not (on CUDA an assertion of the device, since asking would wait for it).
    """
    if boxes.ndim != 3 or boxes.shape[2] < columns or labels.shape != boxes.shape[:2]:
        raise InputError(
            f"boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)} must be "
            f"[B, M, {columns} or more] and [B, M].",
            where="boxes",
            hint="Extra head branches need their columns after the seventh.",
        )
    finite = boxes[..., :columns].isfinite().all(dim=-1)
    wrong = ((labels >= 0) & ~finite) | (labels >= num_classes)
    if wrong.device.type != "cpu":  # a question to the device would wait for it
        torch._assert_async(~wrong.any(), "a box is not finite, or its label is no class id")
    elif wrong.any():
        frame, slot = wrong.nonzero()[0].tolist()
        raise InputError(
            f"label {int(labels[frame, slot])} of {num_classes} classes, "
            f"box {boxes[frame, slot].tolist()}.",
            where=f"box {slot} of frame {frame}",
            hint="Boxes must be finite, and labels class ids of the detector or -1.",
        )
