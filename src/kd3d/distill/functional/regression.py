"""Absolute difference of predicted boxes at object centres."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.constants import constant
from kd3d.structures import HeadMaps

__all__ = ["Space", "check_space", "regression_kd_loss"]

Space = Literal["metres", "code"]
_CODES = 8


def regression_kd_loss(
    student: HeadMaps,
    teacher: HeadMaps,
    boxes: Tensor,
    labels: Tensor,
    *,
    space: Space = "metres",
    code_weights: Sequence[float] | None = None,
) -> Tensor:
    """Compare the boxes that two networks predict at the cells of the ground truth's centres.

        sum_j w_j * sum_objects |b_student,j - b_teacher,j| / max(number of objects, 1)

    ======  ====================================================================================
    metres  x, y, z of the centre in metres in the vehicle frame; logarithms of length, width and
            height (so an error counts relative to the object's size, and no exponential can blow up
            the gradient); cosine and sine of the heading. Each network is read at its own cell, so
            any two grids compare. Objects outside either grid do not count.
    code    the eight raw channels: offsets in cells instead of x and y, the rest as above. Equal
            grids only. Objects outside the grid are read at the border cell next to them, as the
            targets of CenterHead are. This is the paper's code (arXiv 2205.15156).
    ======  ====================================================================================

    Args:
        student: the student's maps; computed in float32.
        teacher: the teacher's maps; no gradient flows into them.
        boxes: ``[B, M, 7 or more]`` ground truth (x, y, z, length, width, height, heading).
        labels: ``[B, M]`` class ids, -1 in empty slots.
        space: where boxes are compared.
        code_weights: the eight w_j; all 1 by default.

    Returns:
        A float32 scalar, zero if there is no object.

    Raises:
        ConfigError: if an option is out of range, or "code" meets different grids.
    """
    check_space(space, code_weights)
    if space == "code" and student.grid != teacher.grid:
        raise ConfigError(
            f"raw channels compare on equal grids only; the student has {student.grid.shape} "
            f"cells, the teacher {teacher.grid.shape}.",
            where="space='code'",
            hint="Use space='metres'.",
        )
    is_object = (labels >= 0) & (boxes[..., 3] > 0) & (boxes[..., 4] > 0)
    if space == "metres":
        centers = boxes[..., :2].float()
        is_object &= student.grid.contains(centers) & teacher.grid.contains(centers)
    difference = _read(student, boxes, space) - _read(teacher.detach(), boxes, space)
    # where, not a product: an unused slot may hold anything, and NaN times zero is NaN
    difference = torch.where(is_object[..., None], difference.abs(), 0.0).sum(dim=(0, 1))
    if code_weights is not None:
        difference = difference * constant(code_weights, difference)
    return difference.sum() / is_object.sum().clamp(min=1)


def _read(maps: HeadMaps, boxes: Tensor, space: Space) -> Tensor:
    """Read ``[B, M, 8]`` float32 box values at the cells of box centres."""
    columns, rows = maps.grid.to_cells(boxes[..., :2].float()).floor().long().unbind(dim=-1)
    columns = columns.clamp(0, maps.grid.width - 1)
    rows = rows.clamp(0, maps.grid.height - 1)
    indices = rows * maps.grid.width + columns
    codes = torch.cat(
        [_gather(branch, indices) for branch in (maps.center, maps.center_z, maps.dim, maps.rot)],
        dim=-1,
    )
    if space == "code":
        return codes
    cells = torch.stack((columns, rows), dim=-1) + codes[..., :2]
    return torch.cat((maps.grid.to_metres(cells), codes[..., 2:]), dim=-1)


def _gather(branch: Tensor, indices: Tensor) -> Tensor:
    """Read ``[B, c, H, W]`` at ``[B, M]`` flat cells: ``[B, M, c]`` float32."""
    wanted = indices[:, None].expand(-1, branch.shape[1], -1)
    return branch.flatten(2).gather(2, wanted).transpose(1, 2).float()


def check_space(space: str, code_weights: Sequence[float] | None) -> None:
    """Raise `ConfigError` if an option of regression distillation is out of its range."""
    if space not in get_args(Space):
        raise ConfigError(f"{space!r} is not one of {list(get_args(Space))}.", where="space")
    if code_weights is not None and len(code_weights) != _CODES:
        raise ConfigError(
            f"{len(code_weights)} weights for the {_CODES} values of a box.", where="code_weights"
        )
