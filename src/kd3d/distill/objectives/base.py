"""What every distillation objective is."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError
from kd3d.structures import CenterTargets, Detections

if TYPE_CHECKING:
    from kd3d.distill.teacher import Teacher

__all__ = ["Objective", "StepContext"]


class StepContext:
    """One training step as objectives see it; what is costly is computed once, when asked for.

    Args:
        batch: the batch as it came, with the ground truth.
        teacher: the teacher's network.
        outputs: what the teacher gave for this batch.
    """

    def __init__(self, batch: Any, teacher: "Teacher", outputs: Outputs) -> None:  # noqa: ANN401
        self.batch = batch
        self.teacher = teacher
        self.outputs = outputs
        #: Values to log beside the losses, by name.
        self.observed: dict[str, Tensor] = {}

    @property
    def boxes(self) -> Tensor:
        """Ground truth boxes ``[B, M, 7 or more]``, metres and radians."""
        boxes: Tensor = self._of_batch("boxes")
        return boxes

    @property
    def labels(self) -> Tensor:
        """Class ids ``[B, M]`` int64 of the ground truth, -1 in empty slots."""
        labels: Tensor = self._of_batch("labels")
        return labels

    @cached_property
    def teacher_targets(self) -> CenterTargets:
        """The ground truth drawn on the teacher's grid."""
        return self.teacher.assign_targets(self.boxes, self.labels)

    @cached_property
    def teacher_boxes(self) -> list[Detections]:
        """The teacher's boxes per frame, without suppression of overlaps."""
        return self.teacher.decode(self.outputs.maps, nms=False)

    def _of_batch(self, field: str) -> Any:  # noqa: ANN401
        if not hasattr(self.batch, field):
            raise ConfigError(
                f"a batch of {type(self.batch).__name__} has no attribute '{field}'.",
                where="batch",
                hint="Yield kd3d.PointBatch, or a dataclass with 'boxes' and 'labels'.",
            )
        return getattr(self.batch, field)


class Objective(nn.Module):
    """One term of distillation.

    A subclass implements `forward` (a term of the loss), `amend` (another batch for the student),
    or both. It is active while its weight is not zero.

    Args:
        weight: factor of the term; may be changed during training.
    """

    #: Name in logs when objectives come as a list.
    name: str = "objective"
    #: Module paths whose outputs the objective reads, in `Outputs.taps`.
    student_taps: Sequence[str] = ()
    teacher_taps: Sequence[str] = ()
    #: Methods of the teacher that the objective calls.
    teacher_methods: Sequence[str] = ()
    #: Whether `forward` gives a term; if not, the student is not listened to.
    has_loss: bool = True

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"a weight cannot be negative ({weight}).", where=self.name)
        self.weight = float(weight)

    def amend(self, context: StepContext, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch that the student is to train on; the same one by default."""
        return batch

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted term, a float32 scalar; zero, never NaN, if nothing is compared."""
        raise NotImplementedError(f"{type(self).__name__} sets has_loss but has no forward().")

    def extra_repr(self) -> str:
        """Show the weight."""
        return f"weight={self.weight:g}"
