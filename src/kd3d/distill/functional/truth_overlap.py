"""How well boxes agree with the ground truth."""

import torch
from torch import Tensor

from kd3d.geometry.iou import iou_3d_aligned

__all__ = ["truth_overlap"]


@torch.no_grad()
def truth_overlap(found: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Give each box's greatest 3D intersection over union with a box of the ground truth.

    Classes do not matter. All pairs are clipped, so that nothing waits for the device.

    Args:
        found: ``[B, K, 7 or more]`` boxes (x, y, z, length, width, height, heading), metres and
            radians.
        boxes: ``[B, M, 7 or more]`` ground truth.
        labels: ``[B, M]`` class ids of the ground truth, -1 in empty slots.

    Returns:
        ``[B, K]`` float32 in [0, 1]; 0 in frames without ground truth.
    """
    (frames, count), most = found.shape[:2], boxes.shape[1]
    if not most:
        return torch.zeros_like(found[..., 0], dtype=torch.float32)
    shape = (frames, count, most, 7)
    mine = found[:, :, None, :7].float().expand(shape).reshape(-1, 7)
    theirs = boxes[:, None, :, :7].float().expand(shape).reshape(-1, 7)
    overlap = iou_3d_aligned(mine, theirs).view(shape[:3])
    return torch.where((labels >= 0)[:, None], overlap, 0.0).amax(dim=2)
