"""Feature maps of two networks over the same cells."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kd3d.distill.functional.sampling import check_shared_range, sample_at_centers
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid

__all__ = [
    "FeaturePair",
    "Pooled",
    "align_features",
    "blocks_of",
    "check_channels_equal",
    "feature_grid",
]

_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Values per block. On the CPU whole maps are slow: every new tensor of their size costs more for
its pages of memory than for what is computed."""

_SAME = 1e-3
"""Share of a cell by which borders may be apart and still be the same."""


@dataclass(frozen=True, slots=True)
class FeaturePair:
    """Feature maps of student and teacher on the coarser of their grids.

    Args:
        student: ``[B, Cs, H, W]``, any floating dtype.
        teacher: ``[B, Ct, ky * H, kx * W]``, without gradients; a cell's value is the mean of
            ky x kx values.
        factor: (ky, kx).
        grid: the grid that both are compared on, of H x W cells.
        inside: ``[H, W]`` float32, 0 where one network does not see the cell's centre; None if
            both cover the same range.
    """

    student: Tensor
    teacher: Tensor
    factor: tuple[int, int]
    grid: BEVGrid
    inside: Tensor | None

    def with_student(self, student: Tensor) -> "FeaturePair":
        """Put another map in the place of the student's."""
        return FeaturePair(student, self.teacher, self.factor, self.grid, self.inside)

    def whole_teacher(self) -> Tensor:
        """Give the teacher's map ``[B, Ct, H, W]`` on the cells of the pair."""
        return self.teacher if self.factor == (1, 1) else F.avg_pool2d(self.teacher, self.factor)


@dataclass(slots=True)
class Pooled:
    """The teacher's values on the cells of a pair, kept from a forward for its backward.

    To average the teacher's finer map is to read four times as much as there is else, so it is done
    once. The memory becomes that of the gradient.

    Args:
        values: ``[B, C, H, W]`` float32, or none: as long as nothing is kept, and once the gradient
            took the memory over (a graph can be gone through twice).
    """

    values: Tensor | None

    @classmethod
    def room_for(cls, student: Tensor, factor: tuple[int, int], wanted: bool) -> "Pooled":
        """Make room, if a backward will come, there is something to average, and it is float32."""
        kept = wanted and factor != (1, 1) and student.dtype == torch.float32
        return cls(torch.empty_like(student) if kept else None)

    def blocks_back(
        self, student: Tensor, teacher: Tensor, factor: tuple[int, int]
    ) -> tuple[Tensor, Iterator[tuple[slice, slice, Tensor, Tensor]]]:
        """Give memory for the gradient, and the blocks of `blocks_of` to fill it in this order."""
        kept, self.values = self.values, None
        if kept is None:
            return torch.empty_like(student), blocks_of(student, teacher, factor)
        return kept, blocks_of(student, kept, (1, 1))


def blocks_of(
    student: Tensor, teacher: Tensor, factor: tuple[int, int], pooled: Pooled | None = None
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Go through the maps of a pair in blocks of rows that fit a processor's cache.

    Args:
        student: as in `FeaturePair`.
        teacher: likewise.
        factor: likewise.
        pooled: filled with the teacher's values, if it has room.

    Yields:
        The frame and the rows, for indices, and the values of both there
        ``[1, C, rows, W]`` float32.
    """
    frames, channels, height, width = student.shape
    limit = _AT_ONCE.get(student.device.type, _AT_ONCE["cuda"])
    step = max(1, limit // max(1, channels * width))
    for index in range(frames):
        for row in range(0, height, step):
            frame, rows = slice(index, index + 1), slice(row, min(row + step, height))
            theirs = teacher[frame, :, factor[0] * rows.start : factor[0] * rows.stop]
            if factor != (1, 1):
                theirs = F.avg_pool2d(theirs, factor)
            theirs = theirs.float()
            if pooled is not None and pooled.values is not None:
                pooled.values[frame, :, rows] = theirs
            yield frame, rows, student[frame, :, rows].float(), theirs


def align_features(
    student: Tensor, teacher: Tensor, student_grid: BEVGrid, teacher_grid: BEVGrid
) -> FeaturePair:
    """Bring two feature maps to the cells of the coarser one, in metres.

    On a shared range with a whole number of finer cells in every coarser one, the finer map is
    averaged over them. Otherwise it is sampled bilinearly at the coarser cells' centres (for two
    cells in one, both are the same).

    Args:
        student: ``[B, Cs, Hs, Ws]``, any floating dtype.
        teacher: ``[B, Ct, Ht, Wt]``; no gradient flows into it.
        student_grid: grid of the student's head maps; its features cover the same range.
        teacher_grid: the same of the teacher.

    Raises:
        ConfigError: if something is no map over the grid's range, or the ranges do not overlap.
    """
    mine = feature_grid(student, student_grid, "student")
    theirs = feature_grid(teacher, teacher_grid, "teacher")
    check_shared_range(mine, theirs)
    teacher = teacher.detach()
    if mine.cell_x * mine.cell_y >= theirs.cell_x * theirs.cell_y:
        factor = _cells_per_cell(theirs, mine)
        if factor is not None:
            return FeaturePair(student, teacher, factor, mine, None)
        teacher, inside = _bring(teacher, theirs, mine)
        return FeaturePair(student, teacher, (1, 1), mine, inside)
    student, inside = _bring(student, mine, theirs)
    return FeaturePair(student, teacher, (1, 1), theirs, inside)


def feature_grid(features: Tensor, grid: BEVGrid, owner: str = "network") -> BEVGrid:
    """Give the grid of a feature map that covers the range of a network's head maps.

    Args:
        features: ``[B, C, H, W]``, with rows along y and columns along x.
        grid: the grid of the head maps.
        owner: whose features, for the message.

    Raises:
        ConfigError: if the features are no such map.
    """
    if not isinstance(features, Tensor) or features.ndim != 4 or not features.is_floating_point():
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ConfigError(
            f"the {owner}'s tapped module gives {shape}, not a map [B, C, H, W].",
            where=f"{owner}_tap",
            hint="Tap a module that gives a bird's-eye-view map, 'backbone_2d' in kd3d's own.",
        )
    height, width = features.shape[2:]
    if height * grid.width != width * grid.height:
        raise ConfigError(
            f"the {owner}'s tapped map of {height} rows and {width} columns does not cover the "
            f"range of its head maps of {grid.height} and {grid.width}.",
            where=f"{owner}_tap",
            hint="Tap a map over the same range; rows follow y, columns follow x.",
        )
    return BEVGrid(
        grid.x_min,
        grid.y_min,
        grid.cell_x * grid.width / width,
        grid.cell_y * grid.height / height,
        width,
        height,
    )


def check_channels_equal(student: int, teacher: int) -> None:
    """Raise `ConfigError` unless both numbers of channels agree."""
    if student != teacher:
        raise ConfigError(
            f"the student's features have {student} channels, the teacher's {teacher}.",
            where="channels",
            hint="Use adapter='unequal': a 1x1 convolution, trained with the student, brings the "
            "student's channels to the teacher's.",
        )


def _bring(maps: Tensor, source: BEVGrid, target: BEVGrid) -> tuple[Tensor, Tensor | None]:
    """Bring maps to a coarser grid; with them, which cells are inside, if not all of them are."""
    if not _same_range(source, target):
        maps, inside = sample_at_centers(maps, source, target)
        return maps, inside.float()
    factor = _cells_per_cell(source, target)
    if factor is not None:
        return F.avg_pool2d(maps, factor), None
    return F.interpolate(maps, size=target.shape, mode="bilinear", align_corners=False), None


def _cells_per_cell(source: BEVGrid, target: BEVGrid) -> tuple[int, int] | None:
    """Give how many source cells (along y, x) make a target cell; None if no whole number does."""
    high, wide = source.height // target.height, source.width // target.width
    whole = high * target.height == source.height and wide * target.width == source.width
    return (high, wide) if whole and _same_range(source, target) else None


def _same_range(one: BEVGrid, other: BEVGrid) -> bool:
    slack_x, slack_y = _SAME * max(one.cell_x, other.cell_x), _SAME * max(one.cell_y, other.cell_y)
    return (
        abs(one.x_min - other.x_min) < slack_x
        and abs(one.y_min - other.y_min) < slack_y
        and abs(one.cell_x * one.width - other.cell_x * other.width) < slack_x
        and abs(one.cell_y * one.height - other.cell_y * other.height) < slack_y
    )
