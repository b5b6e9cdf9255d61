"""The callback that distils."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import nn
from torch.export import ExportedProgram
from typing_extensions import override

from kd3d.distill.adapters import AdapterSet, build_adapters, has_adapters
from kd3d.distill.batches import BatchView
from kd3d.distill.channels import Channels, example_probe
from kd3d.distill.checks import (
    check_classes,
    check_needs,
    check_objectives,
    check_resumable,
    check_schedules,
    check_separate,
    check_trainer,
    named,
)
from kd3d.distill.connections import Wiring
from kd3d.distill.distilled_step import DistilledStep
from kd3d.distill.objectives.base import Objective
from kd3d.distill.splits import check_splits
from kd3d.distill.step import when_complete
from kd3d.distill.taps import find_student
from kd3d.distill.teacher import Teacher, TeacherMode, check_mode, load_teacher
from kd3d.distill.teacher_check import TeacherScore, check_teacher, waymo_score
from kd3d.distill.views import View, ViewedNetwork
from kd3d.distill.wiring import WiringCheck
from kd3d.errors import ConfigError

__all__ = ["DistillationCallback", "KDCallback"]


class KDCallback(Callback):
    """Distil a teacher into the LightningModule that a Trainer fits.

    The callback wraps the module's ``training_step`` for the time of the fit: the teacher runs on
    the step's batch without gradients, the student's head maps are captured by a forward hook, and
    every objective's term joins the returned loss, inside the same graph. Gradient accumulation,
    mixed precision, loss scaling, data-parallel training and logging therefore treat it as they
    treat the loss. The teacher stays outside the student: it is frozen, never in the student's
    checkpoints, and keeps no state. Layers that objectives train (`Objective.build_adapters`) are
    children of the student's module during the fit, new in every fit that does not resume, and are
    saved in the callback's state alone. Terms are logged as ``kd/<name>`` and ``kd/total``.

    Args:
        teacher: a detector, a LightningModule with one as its ``detector``, any other module or a
            `torch.export.ExportedProgram` with a `teacher_view`, or the path of a kd3d checkpoint
            (read when fitting starts); None if no objective needs a teacher.
        objectives: objectives by name (None switches one off), or a list of them. An objective
            whose weight is 0 costs nothing, nor does one outside its schedule; with all at 0 the
            run equals the plain one bit by bit.
        teacher_mode: "eval"; "batch_stats" (norms use the batch's statistics, running buffers stay:
            the paper's setting in effect); or "train" (training mode, buffers drift: the paper's
            code).
        student_path: dotted path of the detector inside the LightningModule; "" is the module
            itself.
        student_view: how to read a student that does not return `HeadMaps`.
        teacher_view: how to read a teacher that does not return `HeadMaps`.
        batch_view: how to read batches that have no ``boxes``, ``labels`` and the like.
        teacher_check_frames: score the teacher on about so many validation frames (per process)
            before the first step and print the result; 0 to skip it.
        teacher_min_score: stop if the score is less.
        teacher_score: function of the teacher and an iterable of batches that gives the score;
            Waymo L2 mAP by default.
        watch_every_n_steps: in the first step and in every so-manyth (batches, not optimiser steps)
            each objective's share of the gradient is logged as ``kd_share/<name>`` beside the
            student's own loss (``kd_share/detection``), and the agreement with the teacher as
            ``kd/agreement_pivots`` and ``kd/agreement_scores``; see `kd3d.distill.watch`. In these
            steps the teacher's outputs are searched for NaN too (on the CPU they always are), which
            on CUDA waits for the device; nothing else does. 0: the search in the first step only.

    Raises:
        ConfigError: if an option is wrong; when fitting starts, if the module optimises by hand,
            the strategy shards parameters, or a schedule does not fit into the run.
        CheckpointError: when fitting starts, if the teacher's checkpoint cannot be used.
        TeacherError: when fitting starts, if the classes differ, the teacher shares parameters with
            the student, lacks what an objective needs, or scores less than `teacher_min_score`; in
            a step, if it gives NaN.
        TapError: when fitting starts, if a path does not exist; in a step, if a module did not run,
            or an in-place operation overwrote what it gave.
        InputError: in the first step, if maps or terms have shapes that cannot be compared.

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
        teacher: nn.Module | ExportedProgram | str | Path | None = None,
        objectives: Mapping[str, Objective | None] | Sequence[Objective] = (),
        *,
        teacher_mode: TeacherMode = "eval",
        student_path: str = "detector",
        student_view: View | None = None,
        teacher_view: View | None = None,
        batch_view: BatchView | None = None,
        teacher_check_frames: int = 16,
        teacher_min_score: float | None = None,
        teacher_score: TeacherScore = waymo_score,
        watch_every_n_steps: int = 50,
    ) -> None:
        check_mode(teacher_mode)
        if teacher_check_frames < 0:
            raise ConfigError(f"{teacher_check_frames} frames.", where="teacher_check_frames")
        if watch_every_n_steps < 0:
            raise ConfigError(f"{watch_every_n_steps} steps.", where="watch_every_n_steps")
        if teacher_min_score is not None and not teacher_check_frames:
            raise ConfigError(
                "a least score needs frames to score.",
                where="teacher_min_score",
                hint="Set teacher_check_frames.",
            )
        self.objectives = named(objectives)
        check_needs(self.objectives, teacher)
        self.teacher_mode: TeacherMode = teacher_mode
        self.student_path = student_path
        self.student_view = student_view
        self.teacher_view = teacher_view
        self.batch_view = batch_view if batch_view is not None else BatchView()
        self.teacher_check_frames = teacher_check_frames
        self.teacher_min_score = teacher_min_score
        self.teacher_score = teacher_score
        self.watch_every_n_steps = watch_every_n_steps
        #: The teacher's score on validation frames, once it has been checked.
        self.teacher_result: float | None = None
        self._source = teacher
        self._key = f"{type(self).__qualname__}#{id(self)}"  # until the trainer is known
        self._module: Any = None
        self._adapters: AdapterSet | None = None
        self._step: DistilledStep | None = None
        self._teacher: Teacher | None = None
        self._found: Wiring | None = None
        self._cancel: Callable[[], None] | None = None

    def summary(self) -> str:
        """Tell what is connected to what, as it was printed in the first training step.

        Per objective: paths, modules, shapes and cells of what is read of student and teacher, how
        the two are brought together, and the adapters. Before that step, a line that says so.
        """
        found = self._found if self._step is None else self._step.wiring.found
        if found is None:
            return "Nothing is connected yet: that is known in the first training step of a fit."
        return str(found)

    @property
    @override
    def state_key(self) -> str:
        """Name of the callback's state in checkpoints: its place among callbacks of its kind."""
        return self._key

    @property
    def teacher(self) -> Teacher | None:
        """The teacher while a Trainer fits; None before, afterwards, and without a teacher."""
        return None if self._step is None else self._step.teacher

    @override
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse runs that cannot be distilled, load the teacher, and have adapters built."""
        self._key = _key_among(trainer.callbacks, self)
        if stage != "fit":
            return
        self._release()
        check_trainer(trainer, pl_module)
        if self._source is not None:
            self._source = load_teacher(self._source)
        self._module = pl_module
        self._adapters = None
        if has_adapters(self.objectives):
            self._cancel = when_complete(pl_module, lambda: self._build_adapters(trainer))

    @override
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Resolve taps and wrap the training step; the student is complete and on its device."""
        self._found = None
        check_schedules(self.objectives, trainer)
        self._teacher = teacher = self._make_teacher(pl_module, trainer.strategy.root_device)
        check_objectives(self.objectives, teacher)
        student = ViewedNetwork(
            find_student(pl_module, self.student_path),
            self.student_view,
            "student",
            [path for objective in self.objectives.values() for path in objective.student_taps],
        )
        if teacher is not None:
            check_classes(teacher.classes, student.classes)
        adapters = self._adapters or AdapterSet({})
        adapters.check_optimised(trainer.optimizers)
        wiring = WiringCheck(
            self.objectives, student, teacher, adapters, student_path=self.student_path
        )
        wiring.at_start()
        self._step = DistilledStep(
            pl_module,
            self.objectives,
            student=student,
            teacher=teacher,
            adapters=adapters,
            batch_view=self.batch_view,
            wiring=wiring,
            watch_every_n_steps=self.watch_every_n_steps,
        )
        self._step.attach()

    @override
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Look into files of predictions, and score the teacher on validation frames."""
        check_schedules(self.objectives, trainer)  # by now it is known how long an epoch is
        if self._step is not None:
            check_splits(self.objectives, self._step.student.classes, trainer)
        if self.teacher_check_frames and self._step is not None and self._step.teacher is not None:
            self.teacher_result = check_teacher(
                trainer,
                self._step.teacher,
                frames=self.teacher_check_frames,
                min_score=self.teacher_min_score,
                score=self.teacher_score,
                batch_view=self.batch_view,
            )

    @override
    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a run with adapters from one without."""
        if self._adapters and self._module is not None:
            check_resumable(checkpoint, self.state_key)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Give the adapters' weights, after a fit its last ones; nothing without adapters."""
        return self._adapters.state_dict() if self._adapters else {}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the adapters' weights back when a fit resumes."""
        if self._adapters and self._module is not None:
            self._adapters.load_state_dict(state_dict)

    @override
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the student as it was found."""
        self._release()

    @override
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the student as it was found; Lightning calls no teardown after an exception."""
        self._release()

    def _build_adapters(self, trainer: Any) -> None:  # noqa: ANN401 - either Lightning package
        """Build adapters, in time for checkpoints, data-parallel wrapping and optimisers."""
        channels = Channels(
            find_student(self._module, self.student_path),
            None if self._source is None else load_teacher(self._source),
            example_probe(self._module, trainer.strategy.root_device),
        )
        self._adapters = build_adapters(self.objectives, channels)
        self._adapters.join(self._module, self.state_key, trainer.callbacks)

    def _make_teacher(self, pl_module: nn.Module, device: torch.device) -> Teacher | None:
        if self._source is None:
            return None
        network = load_teacher(self._source)
        check_separate(network, pl_module)
        taps = [path for item in self.objectives.values() for path in item.teacher_taps]
        return Teacher(network.to(device), self.teacher_mode, self.teacher_view, taps)

    def _release(self) -> None:
        """Undo everything that was done to the student; harmless if nothing was done."""
        if self._cancel is not None:
            self._cancel()
        if self._step is not None:
            self._found = self._step.wiring.found
            self._step.detach()
        if self._teacher is not None:
            self._teacher.viewed.taps.detach()
        if self._adapters is not None and self._module is not None:
            self._adapters.leave(self._module, self.state_key)
        self._module = self._step = self._teacher = self._cancel = None


def _key_among(callbacks: Sequence[object], callback: KDCallback) -> str:
    """Name a callback by its kind and its place among those of its kind."""
    kind = type(callback)
    alike = [item for item in callbacks if type(item) is kind]
    place = alike.index(callback) if callback in alike else 0
    return f"{kind.__qualname__}#{place + 1}" if place else kind.__qualname__


#: Another name of `KDCallback`, in full.
DistillationCallback = KDCallback
