"""A batch of point clouds with their ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.structures.joining import join, number_rows
from kd3d.structures.moving import Movable

__all__ = ["PointBatch", "TargetBoxes"]


@dataclass(frozen=True, slots=True)
class TargetBoxes(Movable):
    """The boxes a student is asked to find: ground truth, plus what a teacher adds.

    Args:
        boxes: ``[B, K, 7 or more]`` float32 (x, y, z, length, width, height, heading), metres and
            radians; then the columns of extra head branches.
        labels: ``[B, K]`` int64 class ids, -1 where a slot is empty; empty slots come last.
        from_teacher: ``[B, K]`` bool, the source of each box: true if a teacher added it.
        heat_weight: ``[B, K]`` float32 in [0, 1], height of the box's peak in the target heatmap:
            1 makes a positive of its cell, less a softer negative, 0 leaves the heatmap alone.
        box_weight: ``[B, K]`` float32, weight of the box in the regression loss; 0 leaves it out.
    """

    boxes: Tensor
    labels: Tensor
    from_teacher: Tensor
    heat_weight: Tensor
    box_weight: Tensor


@dataclass(frozen=True, slots=True)
class PointBatch(Movable):
    """Raw points of B frames, concatenated, with padded ground truth.

    Args:
        points: ``[N, F]`` float32; x, y, z (metres, vehicle frame), then further features
            (Waymo: raw intensity, elongation).
        batch_index: ``[N]`` int64, the frame of each point, ascending.
        boxes: ``[B, M, 7]`` float32 (x, y, z, length, width, height, heading), zeros in empty
            slots; further columns, if any, belong to extra head branches (velocity, ...).
        labels: ``[B, M]`` int64 class ids from 0, -1 where a slot is empty.
        num_points: ``[B, M]`` int64 points inside each box, -1 where unknown.
        difficulty: ``[B, M]`` int64, 1 or 2, 0 where not annotated.
        frame_ids: one name per frame.
        targets: the boxes to train on, if they are not the ground truth (label distillation).
        world: ``[B, 4, 4]`` float32, how augmentation moved each scene: matrices of homogeneous
            points (x, y, z, 1), recorded to augmented, made of flips, a rotation about z and one
            scale. None if scenes are as recorded. What is known about a recorded frame (boxes in a
            file, say) is brought into the batch by `kd3d.geometry.move_boxes`.
    """

    points: Tensor
    batch_index: Tensor
    boxes: Tensor
    labels: Tensor
    num_points: Tensor
    difficulty: Tensor
    frame_ids: tuple[str, ...]
    targets: TargetBoxes | None = None
    world: Tensor | None = None

    @classmethod
    def from_points(
        cls,
        points: Sequence[Tensor],
        *,
        boxes: Sequence[Tensor] | None = None,
        labels: Sequence[Tensor] | None = None,
        num_points: Sequence[Tensor] | None = None,
        difficulty: Sequence[Tensor] | None = None,
        frame_ids: Sequence[str] | None = None,
        world: Sequence[Tensor] | None = None,
    ) -> "PointBatch":
        """Collate frames into a batch.

        Args:
            points: per frame ``[N_i, F]`` float32.
            boxes: per frame ``[M_i, 7 or more]`` float32; none by default.
            labels: per frame ``[M_i]`` int64; needed with `boxes`.
            num_points: per frame ``[M_i]`` int64; -1 (unknown) by default.
            difficulty: per frame ``[M_i]`` int64; 0 (unset) by default.
            frame_ids: names; "0", "1", ... by default.
            world: per frame ``[4, 4]``, how the scene was moved; as recorded by default.

        Raises:
            InputError: if there is no frame, or lengths or shapes do not fit.
        """
        if not points:
            raise InputError("a batch needs at least one frame.", where="PointBatch.from_points")
        ids = tuple(frame_ids) if frame_ids is not None else tuple(map(str, range(len(points))))
        if boxes is None:
            boxes = [cloud.new_zeros((0, 7)) for cloud in points]
            labels = [cloud.new_zeros(0, dtype=torch.int64) for cloud in points]
        if labels is None:
            raise InputError("boxes come without labels.", where="PointBatch.from_points")
        if num_points is None:
            num_points = [torch.full_like(frame, -1) for frame in labels]
        if difficulty is None:
            difficulty = [torch.zeros_like(frame) for frame in labels]
        _check_frames(points, boxes, (labels, num_points, difficulty), ids)
        _check_world(points, world)
        return cls(
            points=join(points),
            batch_index=number_rows([len(frame) for frame in points], points[0].device),
            boxes=_pad(boxes, 0),
            labels=_pad(labels, -1),
            num_points=_pad(num_points, -1),
            difficulty=_pad(difficulty, 0),
            frame_ids=ids,
            world=None if world is None else torch.stack(list(world)).float(),
        )

    def __len__(self) -> int:
        return len(self.frame_ids)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.points.device

    def points_of(self, frame: int) -> Tensor:
        """Points ``[N_i, F]`` of one frame of the batch."""
        return self.points[self.batch_index == frame]

    def ground_truth(self) -> list[dict[str, Tensor]]:
        """Give each frame's objects, without padding, as detection metrics take them."""
        present = self.labels >= 0
        return [
            {
                "boxes": self.boxes[frame, here, :7],
                "labels": self.labels[frame, here],
                "num_points": self.num_points[frame, here],
                "difficulty": self.difficulty[frame, here],
            }
            for frame, here in enumerate(present)
        ]

    def with_targets(self, targets: TargetBoxes) -> "PointBatch":
        """Give the same batch other boxes to train on; the ground truth stays as it is."""
        return replace(self, targets=targets)


def _check_frames(
    points: Sequence[Tensor],
    boxes: Sequence[Tensor],
    columns: tuple[Sequence[Tensor], ...],
    ids: tuple[str, ...],
) -> None:
    for name, values in (("boxes", boxes), ("labels", columns[0]), ("frame_ids", ids)):
        if len(values) != len(points):
            raise InputError(f"{len(values)} {name} for {len(points)} frames.", where=name)
    features = points[0].shape[-1]
    for i, cloud in enumerate(points):
        if cloud.ndim != 2 or cloud.shape[1] != features or features < 3:
            raise InputError(
                f"points must be [N, F] with one F >= 3 for all frames, not {tuple(cloud.shape)}.",
                where=f"frame {ids[i]}",
            )
        if boxes[i].ndim != 2 or boxes[i].shape[1] < 7:
            raise InputError(
                f"boxes must be [M, 7], not {tuple(boxes[i].shape)}.", where=f"frame {ids[i]}"
            )
        if any(len(column[i]) != len(boxes[i]) for column in columns):
            raise InputError(
                "boxes, labels, num_points and difficulty differ in length.",
                where=f"frame {ids[i]}",
            )


def _check_world(points: Sequence[Tensor], world: Sequence[Tensor] | None) -> None:
    if world is None:
        return
    shapes = {tuple(matrix.shape) for matrix in world}
    if len(world) != len(points) or shapes != {(4, 4)}:
        raise InputError(
            f"{len(world)} matrices of shapes {sorted(shapes)} for {len(points)} frames.",
            where="world",
            hint="Give one [4, 4] per frame.",
        )


def _pad(frames: Sequence[Tensor], value: int) -> Tensor:
    """Stack ``[M_i, ...]`` tensors into ``[B, max M, ...]``."""
    return torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True, padding_value=value)
