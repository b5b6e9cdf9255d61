"""What every distillation objective is."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kd3d.distill.objectives.schedule import ScheduleLike, as_schedule
from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError, TeacherError
from kd3d.geometry import BEVGrid
from kd3d.structures import AnchorTargets, CenterTargets, Detections, TargetBoxes

if TYPE_CHECKING:
    from kd3d.distill.batches import BatchView
    from kd3d.distill.channels import Channels
    from kd3d.distill.teacher import Teacher

__all__ = ["Objective", "StepContext"]


class StepContext:
    """One training step as objectives see it; what is costly is computed once, when asked for.

    Args:
        batch: the batch as it came, with the ground truth.
        teacher: the teacher's network; None if there is no teacher.
        outputs: what the teacher gave for this batch; None if no active objective needs it.
        batch_view: how to read the batch.
        classes: class names in the order of the class ids.
        student_grid: the grid of the student's maps, if it is known before the student runs.
    """

    def __init__(
        self,
        batch: Any,  # noqa: ANN401 - any batch
        teacher: "Teacher | None",
        outputs: Outputs | None,
        batch_view: "BatchView",
        classes: Sequence[str] = (),
        student_grid: BEVGrid | None = None,
    ) -> None:
        self.batch = batch
        self.teacher = teacher
        self.outputs = outputs
        self.batch_view = batch_view
        self.classes = tuple(classes)
        self.student_grid = student_grid
        #: What the student is to find, once an objective has put it in place of the ground truth.
        self.targets: TargetBoxes | None = None
        #: Values to log beside the losses, by name.
        self.observed: dict[str, Tensor] = {}

    @property
    def boxes(self) -> Tensor:
        """Ground truth boxes ``[B, M, 7 or more]``, metres and radians."""
        return self._truth[0]

    @property
    def labels(self) -> Tensor:
        """Class ids ``[B, M]`` int64 of the ground truth, -1 in empty slots."""
        return self._truth[1]

    @cached_property
    def frame_ids(self) -> Sequence[str]:
        """The name of every frame of the batch."""
        return self.batch_view.read_frame_ids(self.batch)

    @cached_property
    def teacher_targets(self) -> CenterTargets | AnchorTargets:
        """The ground truth drawn on the teacher's grid, or assigned to its anchors."""
        if self.teacher is None:
            raise _no_teacher("teacher_targets")
        return self.teacher.assign_targets(self.boxes, self.labels)

    @property
    def positive_anchors(self) -> Tensor:
        """The teacher's anchors ``[B, N]`` bool that stand for a ground truth box."""
        targets = self.teacher_targets
        if not isinstance(targets, AnchorTargets):
            raise ConfigError(
                "the teacher has no anchor head.",
                where="StepContext.positive_anchors",
                hint="Use objectives of center heads.",
            )
        return targets.positive

    @cached_property
    def teacher_heat(self) -> Tensor:
        """The ground truth's heat ``[B, C, H, W]`` on the grid of the teacher's maps."""
        if self.teacher is None or self.outputs is None:
            raise _no_teacher("teacher_heat")
        return self.teacher.heat_of(self.boxes, self.labels, self.outputs)

    @cached_property
    def teacher_boxes(self) -> list[Detections]:
        """The teacher's boxes per frame, without suppression of overlaps."""
        if self.teacher is None or self.outputs is None:
            raise _no_teacher("teacher_boxes")
        return self.teacher.boxes_of(self.outputs)

    @cached_property
    def _truth(self) -> tuple[Tensor, Tensor]:
        return self.batch_view.read_truth(self.batch)


def _no_teacher(asked: str) -> TeacherError:
    return TeacherError(
        "this step has no teacher.",
        where=f"StepContext.{asked}",
        hint="Let the objective's needs_teacher be True, and give KDCallback a teacher.",
    )


class Objective(nn.Module):
    """One term of distillation.

    A subclass implements `forward` (a term of the loss), `amend` (another batch for the student),
    or both. It is active while neither its weight nor the factor of its schedule is zero. Layers
    that are to be trained with the student (projections of features, say) come from
    `build_adapters`.

    Args:
        weight: factor of the term, `default_weight` if None; may be changed during training.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if the weight is negative or no number, or the schedule cannot be.

    Example:
        >>> class FeatureKD(Objective):
        ...     name = "feature"
        ...     student_taps = teacher_taps = ("backbone_2d",)
        ...
        ...     def build_adapters(self, channels):
        ...         student = channels.student("backbone_2d")
        ...         return {"project": nn.Conv2d(student, channels.teacher("backbone_2d"), 1)}
        ...
        ...     def forward(self, student, teacher, context):
        ...         mine = self.adapters["project"](student.taps["backbone_2d"].float())
        ...         distance = mine - teacher.taps["backbone_2d"].float()
        ...         return self.weight * distance.square().mean()
    """

    #: Name in logs when objectives come as a list.
    name: str = "objective"
    #: Module paths whose outputs the objective reads, in `Outputs.taps`.
    student_taps: Sequence[str] = ()
    teacher_taps: Sequence[str] = ()
    #: Maps that the objective reads, in `Outputs.maps`, if it has no taps.
    map_names: Sequence[str] = ("heatmap",)
    #: Methods of the teacher that the objective calls.
    teacher_methods: Sequence[str] = ()
    #: Weight of an objective that is given none: published, or chosen in docs/weight-study.md.
    default_weight: float = 1.0
    #: Whether the teacher must run; if not, `forward` may be given None for its outputs.
    needs_teacher: bool = True
    #: Whether `forward` gives a term; if not, the student is not listened to.
    has_loss: bool = True

    def __init__(
        self,
        weight: float | None = None,
        *,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__()
        self.weight = self.default_weight if weight is None else weight
        self.schedule = as_schedule(schedule)
        #: The schedule's factor in this step. The step multiplies what `forward` gives by it; an
        #: `amend` that depends on the weight uses it itself.
        self.factor = 1.0
        #: What `build_adapters` gave, while a Trainer fits. They belong to the student's module.
        self.adapters: Mapping[str, nn.Module] = {}

    @property
    def weight(self) -> float:
        """The plain factor of the term, whatever the schedule."""
        return self._weight

    @weight.setter
    def weight(self, value: float) -> None:
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(
                f"a weight cannot be negative or infinite, nor NaN ({value}).",
                where=f"{type(self).__name__}.weight",
                hint="Give a number; 0 switches the objective off.",
            )
        self._weight = float(value)

    def factor_at(self, epoch: int, step: int) -> float:
        """Give the schedule's factor after so many epochs and optimiser steps."""
        return 1.0 if self.schedule is None else self.schedule.factor(epoch, step)

    @property
    def comparison(self) -> str:
        """How student and teacher are compared, in a few words, for the table of connections."""
        return "compared by its forward()" if self.has_loss else "done by its amend()"

    def build_adapters(self, channels: "Channels") -> Mapping[str, nn.Module]:
        """Make the layers that are to be trained with the student, by name; none by default.

        Called once per fit, before the optimisers are made.

        Args:
            channels: tells how many channels a tapped module of the student or teacher gives.
        """
        return {}

    def amend(self, context: StepContext, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch that the student is to train on; the same one by default."""
        return batch

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted term, a float32 scalar; zero, never NaN, if nothing is compared."""
        raise NotImplementedError(f"{type(self).__name__} sets has_loss but has no forward().")

    def extra_repr(self) -> str:
        """Show weight and schedule."""
        schedule = f", {self.schedule}" if self.schedule is not None else ""
        return f"weight={self.weight:g}{schedule}"
