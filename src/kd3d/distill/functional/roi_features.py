"""Features inside boxes: their difference, and the distances between objects."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kd3d.distill.functional.feature_pair import check_channels_equal
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid, pool_rois, roi_points

__all__ = ["RoIFeatures", "check_roi_size", "pool_pair", "relation_loss", "roi_feature_loss"]

_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class RoIFeatures:
    """What two networks say inside the same boxes.

    Args:
        student: ``[B, M, C, S, S]`` float32, 0 at points that do not count.
        teacher: the same of the teacher, without gradients.
        counts: ``[B, M, S, S]`` float32, 1 at the points of boxes that both networks see.
        filled: ``[B, M]`` bool, true in slots that hold a box of which both see a point.
    """

    student: Tensor
    teacher: Tensor
    counts: Tensor
    filled: Tensor


def pool_pair(
    student: Tensor,
    teacher: Tensor,
    student_grid: BEVGrid,
    teacher_grid: BEVGrid,
    boxes: Tensor,
    labels: Tensor,
    size: int = 7,
) -> RoIFeatures:
    """Read two feature maps at the same points inside boxes, each on its own grid.

    Args:
        student: ``[B, C, Hs, Ws]``, any floating dtype.
        teacher: ``[B, C, Ht, Wt]``; no gradient flows into it.
        student_grid: the grid of the student's features.
        teacher_grid: the grid of the teacher's features.
        boxes: ``[B, M, 7 or more]`` (x, y, z, length, width, height, heading), metres and radians;
            no gradient flows into them.
        labels: ``[B, M]`` class ids, -1 in empty slots. Boxes without a size count as empty.
        size: points along each side of a box, see `kd3d.geometry.roi_points`.

    Raises:
        ConfigError: if the channels differ.
    """
    check_channels_equal(student.shape[1], teacher.shape[1])
    filled = (labels >= 0) & (boxes[..., 3:5] > 0).all(dim=-1) & boxes.isfinite().all(dim=-1)
    # where, not a product: an empty slot may hold anything, and NaN times zero is NaN
    boxes = torch.where(filled[..., None], boxes.detach().float(), 0.0)
    points = roi_points(boxes, size)
    counts = student_grid.contains(points) & teacher_grid.contains(points)
    counts = (counts & filled[..., None, None]).float()
    mine = pool_rois(student, boxes, student_grid, size).float()
    theirs = pool_rois(teacher.detach(), boxes, teacher_grid, size).float()
    seen = counts.flatten(2).any(dim=2)
    return RoIFeatures(mine * counts[:, :, None], theirs * counts[:, :, None], counts, seen)


def roi_feature_loss(rois: RoIFeatures) -> Tensor:
    """Compare features point by point.

        sum_points sum_c (f_student - f_teacher)^2 / (C * number of points + 1e-6)

    over the points of all boxes of the batch that both networks see; zero if there is none. Mimic
    (Li, Jin and Yan, CVPR 2017).

    Returns:
        A float32 scalar.
    """
    points = rois.counts.sum()
    squared = (rois.student - rois.teacher).square().sum()
    return squared / (rois.student.shape[2] * points + 1e-6)


def relation_loss(rois: RoIFeatures) -> Tensor:
    """Compare how far apart the objects of a frame are in feature space.

    With D_ij the squared Euclidean distance between the flattened features of boxes i and j of one
    frame, mean D its mean over the frame's pairs i != j, and l the smooth-L1 distance (beta 1):

        1 / B * sum_b mean_(i != j) l(D_teacher / mean D_teacher, D_student / mean D_student)

    A frame with fewer than two boxes adds zero. From General Instance Distillation (Dai et al.,
    CVPR 2021, arXiv 2103.02340), with squared distances as in the code of arXiv 2205.15156: their
    gradient is finite where two objects look the same.

    Returns:
        A float32 scalar.
    """
    count = rois.filled.shape[1]
    other = ~torch.eye(count, dtype=torch.bool, device=rois.filled.device)
    pairs = (rois.filled[:, :, None] & rois.filled[:, None] & other).float()
    number = pairs.sum(dim=(1, 2)).clamp(min=1)

    def normalised(features: Tensor) -> Tensor:
        distance = _squared_distances(features.flatten(2)) * pairs
        mean = distance.sum(dim=(1, 2)) / number
        return distance / mean.clamp(min=_TINY)[:, None, None]

    error = F.smooth_l1_loss(normalised(rois.student), normalised(rois.teacher), reduction="none")
    return ((error * pairs).sum(dim=(1, 2)) / number).mean()


def check_roi_size(size: int) -> None:
    """Raise `ConfigError` unless there is at least one point along the side of a box."""
    if size < 1:
        raise ConfigError(f"a grid of {size} points.", where="size", hint="Give at least 1.")


def _squared_distances(features: Tensor) -> Tensor:
    """Give ``[B, M, M]`` of ``[B, M, n]``; taking off the mean first keeps what differs."""
    features = features - features.mean(dim=1, keepdim=True)
    products = features @ features.transpose(1, 2)
    size = products.diagonal(dim1=1, dim2=2)
    return (size[:, :, None] + size[:, None] - 2 * products).clamp(min=0)
