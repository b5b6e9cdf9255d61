"""The callback that distils."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from typing_extensions import override

from kd3d.distill.checks import (
    check_classes,
    check_objectives,
    check_separate,
    check_trainer,
    named,
)
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.step import unwrap_training_step, wrap_training_step
from kd3d.distill.taps import find_module
from kd3d.distill.teacher import Teacher, TeacherMode, check_mode, load_teacher
from kd3d.distill.teacher_check import TeacherScore, check_teacher, waymo_score
from kd3d.distill.views import View, ViewedNetwork
from kd3d.errors import ConfigError

__all__ = ["DistillationCallback", "KDCallback"]


class KDCallback(Callback):
    """Distil a teacher into the LightningModule that a Trainer fits.

    The callback wraps the module's ``training_step`` for the time of the fit: the teacher runs on
    the step's batch without gradients, the student's head maps are captured by a forward hook, and
    every objective's term joins the returned loss, inside the same graph. Gradient accumulation,
    mixed precision, loss scaling, data-parallel training and logging therefore treat it as they
    treat the loss. The teacher stays outside the student: it is frozen, never in the student's
    checkpoints, and keeps no state. Terms are logged as ``kd/<name>`` and ``kd/total``.

    Args:
        teacher: a detector, a LightningModule with one as its ``detector``, or the path of a kd3d
            checkpoint (read when fitting starts).
        objectives: objectives by name (None switches one off), or a list of them. An objective
            whose weight is 0 costs nothing; with all at 0 the run equals the plain one bit by bit.
        teacher_mode: "eval"; "batch_stats" (norms use the batch's statistics, running buffers stay:
            the paper's setting in effect); or "train" (training mode, buffers drift: the paper's
            code).
        student_path: dotted path of the detector inside the LightningModule; "" is the module
            itself.
        student_view: how to read a student that does not return `HeadMaps`.
        teacher_view: how to read a teacher that does not return `HeadMaps`.
        teacher_check_frames: score the teacher on about so many validation frames (per process)
            before the first step and print the result; 0 to skip it.
        teacher_min_score: stop if the score is less.
        teacher_score: function of the teacher and an iterable of batches that gives the score;
            Waymo L2 mAP by default.

    Raises:
        ConfigError: if an option is wrong; when fitting starts, if the module optimises by hand or
            the strategy shards parameters.
        CheckpointError: when fitting starts, if the teacher's checkpoint cannot be used.
        TeacherError: when fitting starts, if the classes differ, the teacher shares parameters with
            the student, lacks what an objective needs, or scores less than `teacher_min_score`.
        TapError: when fitting starts, if a path does not exist; in a step, if a module did not run.

    Example:
        >>> callback = KDCallback(
        ...     "teacher.ckpt",
        ...     {"logit": PivotalLogitKD(7.0), "label": LabelKD([0.6, 0.5, 0.5])},
        ...     teacher_mode="batch_stats",
        ... )
        >>> trainer = lightning.Trainer(callbacks=[callback])
        >>> trainer.fit(student, datamodule)
    """

    def __init__(
        self,
        teacher: nn.Module | str | Path,
        objectives: Mapping[str, Objective | None] | Sequence[Objective],
        *,
        teacher_mode: TeacherMode = "eval",
        student_path: str = "detector",
        student_view: View | None = None,
        teacher_view: View | None = None,
        teacher_check_frames: int = 16,
        teacher_min_score: float | None = None,
        teacher_score: TeacherScore = waymo_score,
    ) -> None:
        check_mode(teacher_mode)
        if teacher_check_frames < 0:
            raise ConfigError(f"{teacher_check_frames} frames.", where="teacher_check_frames")
        if teacher_min_score is not None and not teacher_check_frames:
            raise ConfigError(
                "a least score needs frames to score.",
                where="teacher_min_score",
                hint="Set teacher_check_frames.",
            )
        self.objectives = named(objectives)
        self.teacher_mode: TeacherMode = teacher_mode
        self.student_path = student_path
        self.student_view = student_view
        self.teacher_view = teacher_view
        self.teacher_check_frames = teacher_check_frames
        self.teacher_min_score = teacher_min_score
        self.teacher_score = teacher_score
        #: The teacher's score on validation frames, once it has been checked.
        self.teacher_result: float | None = None
        self._source = teacher
        self._teacher: Teacher | None = None
        self._student: ViewedNetwork | None = None
        self._context: StepContext | None = None
        self._module: Any = None

    @override
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse runs that cannot be distilled, and load the teacher."""
        if stage == "fit":
            check_trainer(trainer, pl_module)
            self._source = load_teacher(self._source)

    @override
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Resolve taps and wrap the training step; the student is complete and on its device."""
        self._release()
        network = load_teacher(self._source)
        check_separate(network, pl_module)
        check_objectives(self.objectives, network)
        network.to(trainer.strategy.root_device)
        wanted = self.objectives.values()
        self._teacher = Teacher(
            network,
            self.teacher_mode,
            self.teacher_view,
            [path for objective in wanted for path in objective.teacher_taps],
        )
        self._student = ViewedNetwork(
            find_module(pl_module, self.student_path, "student"),
            self.student_view,
            "student",
            [path for objective in wanted for path in objective.student_taps],
        )
        check_classes(self._teacher.classes, self._student.classes)
        self._student.taps.attach()
        self._module = pl_module
        wrap_training_step(pl_module, self)

    @override
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Score the teacher on validation frames."""
        if self.teacher_check_frames and self._teacher is not None:
            self.teacher_result = check_teacher(
                trainer,
                self._teacher,
                frames=self.teacher_check_frames,
                min_score=self.teacher_min_score,
                score=self.teacher_score,
            )

    @override
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the student as it was found."""
        self._release()

    @override
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the student as it was found; Lightning calls no teardown after an exception."""
        self._release()

    def before_step(self, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Run the teacher, and let objectives choose what the student trains on."""
        assert self._teacher is not None
        assert self._student is not None
        active = self._active()
        if not active:
            return batch
        self._context = StepContext(batch, self._teacher, self._teacher.teach(batch))
        with self._float32():
            for objective in active.values():
                batch = objective.amend(self._context, batch)
        if any(objective.has_loss for objective in active.values()):
            self._student.taps.listen()
        return batch

    def after_step(self, output: Any) -> Any:  # noqa: ANN401 - any step output
        """Add the objectives' terms to the loss of a step, and log them."""
        context, self._context = self._context, None
        if context is None or output is None:
            return output
        terms = self._terms(context)
        for name, value in (context.observed | terms).items():
            self._log(name, value, context)
        if not terms:
            return output
        total = torch.stack(list(terms.values())).sum()
        self._log("total", total, context)
        if isinstance(output, Mapping):
            return {**output, "loss": output["loss"] + total}
        return output + total

    def _terms(self, context: StepContext) -> dict[str, Tensor]:
        assert self._student is not None
        active = {name: item for name, item in self._active().items() if item.has_loss}
        if not active:
            return {}
        student = self._student.read()
        with self._float32():
            return {
                name: objective(student, context.outputs, context)
                for name, objective in active.items()
            }

    def _active(self) -> dict[str, Objective]:
        return {name: item for name, item in self.objectives.items() if item.weight != 0}

    def _float32(self) -> torch.autocast:
        return torch.autocast(self._module.device.type, enabled=False)

    def _log(self, name: str, value: Tensor, context: StepContext) -> None:
        frames = len(context.outputs.maps.heatmap)
        self._module.log(f"kd/{name}", value.detach(), batch_size=frames)

    def _release(self) -> None:
        """Undo everything that `on_fit_start` did to the student; harmless if nothing was done."""
        if self._module is not None:
            unwrap_training_step(self._module, self)
        if self._student is not None:
            self._student.taps.detach()
        if self._teacher is not None:
            self._teacher.viewed.taps.detach()
        self._module = self._student = self._teacher = self._context = None


#: Another name of `KDCallback`, in full.
DistillationCallback = KDCallback
