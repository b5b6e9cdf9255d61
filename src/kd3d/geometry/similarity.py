"""Moving boxes by a flip, a turn about z, a scale and a shift, given as a matrix."""

import torch
from torch import Tensor

from kd3d.errors import InputError

__all__ = ["move_boxes"]


def move_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Move boxes as a matrix moves points.

    Args:
        boxes: ``[M, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        matrix: ``[4, 4]``, of homogeneous points (x, y, z, 1): flips at upright planes, rotations
            about z, one scale for all axes, and shifts, in any order. Of other matrices no upright
            box is the image of an upright box.

    Returns:
        ``[M, 7]``, a new tensor of the same dtype: centres moved, sizes scaled, headings as the
        moved direction of driving points, in [-pi, pi].

    Raises:
        InputError: if a shape does not fit.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 7 or matrix.shape != (4, 4):
        raise InputError(
            f"boxes {tuple(boxes.shape)} and matrix {tuple(matrix.shape)} must be [M, 7] and "
            "[4, 4].",
            where="move_boxes",
        )
    matrix = matrix.to(boxes)
    turn = matrix[:3, :3]
    # of a similarity every column is as long as the scale
    scale = torch.linalg.vector_norm(turn[:, 2])
    direction = torch.stack((boxes[:, 6].cos(), boxes[:, 6].sin()), dim=1) @ turn[:2, :2].T
    return torch.cat(
        (
            boxes[:, :3] @ turn.T + matrix[:3, 3],
            boxes[:, 3:6] * scale,
            torch.atan2(direction[:, 1], direction[:, 0])[:, None],
        ),
        dim=1,
    )
