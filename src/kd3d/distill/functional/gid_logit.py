"""Squared difference of heatmap probabilities at the instances two networks disagree about."""

from torch import Tensor

from kd3d.distill.functional.aligned import align_heatmaps
from kd3d.distill.functional.instances import Instances, select_instances
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import HeadMaps

__all__ = ["gid_logit_loss", "instance_cells"]


def gid_logit_loss(
    student: HeadMaps, teacher: HeadMaps, *, most: int = 10, overlap: float = 0.3
) -> Tensor:
    """Compare heatmaps at the general instances of General Instance Distillation.

    The instances are the boxes where the scores differ most, see `select_instances`. With p =
    clamp(sigmoid(logit), 1e-4, 1 - 1e-4), the student's sampled at the teacher's cell centres in
    metres, and M 1 at the cells that instances are assigned to, 0 elsewhere:

        sum_byx M * sum_c (p_student - p_teacher)^2 / (sum_byx M + 1e-6)

    A center head assigns a box to the one cell that its centre lies in; instances whose centre
    lies outside either grid have none, and a cell of two instances counts once. Neither ground
    truth nor gradients of the boxes take part. From Dai et al., "General Instance Distillation for
    Object Detection" (CVPR 2021, arXiv 2103.02340), response-based part; that paper uses the
    detector's own losses where the squared error is here, which is what arXiv 2205.15156 compares
    heatmaps by.

    Args:
        student: the student's maps, any floating dtype; computed in float32.
        teacher: the teacher's maps; no gradient flows into them.
        most: instances per frame.
        overlap: bird's-eye-view IoU above which the instance of the smaller gap is dropped.

    Returns:
        A float32 scalar, zero if there is no instance.

    Raises:
        ConfigError: if an option is out of its range, or the maps do not fit.
    """
    maps = align_heatmaps(
        student.heatmap,
        teacher.heatmap,
        student_grid=student.grid,
        teacher_grid=teacher.grid,
    )
    instances = select_instances(student, teacher, most=most, overlap=overlap)
    weights = instance_cells(instances, teacher.grid)
    if maps.inside is not None:
        weights = weights * maps.inside
    difference = (maps.student - maps.teacher).square().sum(dim=1)
    return (weights * difference).sum() / (weights.sum() + 1e-6)


def instance_cells(instances: Instances, grid: BEVGrid) -> Tensor:
    """Mark the cells ``[B, H, W]`` float32 that instances are assigned to by 1, others by 0."""
    centers = instances.boxes[..., :2]
    counts = (instances.labels >= 0) & grid.contains(centers)
    columns, rows = grid.to_cells(centers).floor().long().unbind(dim=-1)
    cells = rows.clamp(0, grid.height - 1) * grid.width + columns.clamp(0, grid.width - 1)
    marks = centers.new_zeros((len(cells), grid.height * grid.width))
    marks = marks.scatter_reduce(1, cells, counts.float(), reduce="amax")
    return marks.view(-1, *grid.shape)
