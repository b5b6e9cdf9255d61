"""What the objectives that compare feature maps share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor, nn

from kd3d.distill.functional.feature_pair import (
    FeaturePair,
    align_features,
    check_channels_equal,
    feature_grid,
)
from kd3d.distill.objectives.base import Objective
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid

if TYPE_CHECKING:
    from kd3d.distill.channels import Channels

__all__ = ["Adapter", "FeatureObjective"]

#: When the student's features are projected: if channels differ, in any case, or not at all.
Adapter = Literal["unequal", "always", "never"]

_PROJECT = "project"


class FeatureObjective(Objective):
    """Compares a feature map of the student with one of the teacher.

    Both are maps ``[B, C, H, W]`` over the ranges of their networks' head maps, of any cell size.
    The adapter is a 1x1 convolution from the student's to the teacher's channels, with a BatchNorm
    behind it if `norm`; see `Objective.build_adapters`.

    Args:
        weight: factor of the term; None is `default_weight`.
        student_tap: dotted path of the student's module whose output is compared.
        teacher_tap: the same of the teacher; the student's path by default.
        adapter: "unequal" projects the student's features if the channels differ, "always" in any
            case, "never" not at all.
        norm: whether the adapter normalises what it gives.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if an option is out of its range; in the first step, if channels differ without
            an adapter, or a module gives no map.
        TapError: when fitting starts, if a path does not exist.
    """

    def __init__(
        self,
        weight: float | None = None,
        *,
        student_tap: str = "backbone_2d",
        teacher_tap: str | None = None,
        adapter: Adapter = "unequal",
        norm: bool = False,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(weight, schedule=schedule)
        if adapter not in get_args(Adapter):
            raise ConfigError(
                f"{adapter!r} is not one of {list(get_args(Adapter))}.", where="adapter"
            )
        self.student_tap = student_tap
        self.teacher_tap = student_tap if teacher_tap is None else teacher_tap
        self.student_taps = (self.student_tap,)
        self.teacher_taps = (self.teacher_tap,)
        self.adapter: Adapter = adapter
        self.norm = norm

    def build_adapters(self, channels: "Channels") -> Mapping[str, nn.Module]:
        """Make the projection of the student's features, if there is to be one."""
        if self.adapter == "never":
            return {}
        mine, theirs = channels.student(self.student_tap), channels.teacher(self.teacher_tap)
        if mine == theirs and self.adapter == "unequal":
            return {}
        project = nn.Conv2d(mine, theirs, 1, bias=not self.norm)
        return {_PROJECT: nn.Sequential(project, nn.BatchNorm2d(theirs)) if self.norm else project}

    def aligned(self, student: Outputs, teacher: Outputs) -> FeaturePair:
        """Give both feature maps on the coarser grid, the student's projected."""
        pair = align_features(
            student.taps[self.student_tap],
            teacher.taps[self.teacher_tap],
            student.maps.grid,
            teacher.maps.grid,
        )
        pair = pair.with_student(self._projected(pair.student))
        check_channels_equal(pair.student.shape[1], pair.teacher.shape[1])
        return pair

    def on_own_grids(
        self, student: Outputs, teacher: Outputs
    ) -> tuple[Tensor, Tensor, BEVGrid, BEVGrid]:
        """Give both feature maps as they are, the student's projected, and their grids."""
        mine, theirs = student.taps[self.student_tap], teacher.taps[self.teacher_tap]
        my_grid = feature_grid(mine, student.maps.grid, "student")
        their_grid = feature_grid(theirs, teacher.maps.grid, "teacher")
        return self._projected(mine), theirs, my_grid, their_grid

    def _projected(self, features: Tensor) -> Tensor:
        if _PROJECT not in self.adapters:
            return features
        projected: Tensor = self.adapters[_PROJECT](features.float())
        return projected
