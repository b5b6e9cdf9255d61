"""What is checked before the first step, so that distillation cannot start wrong."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from kd3d.distill.objectives.base import Objective
from kd3d.distill.teacher import Teacher
from kd3d.distill.views import Outputs
from kd3d.errors import CheckpointError, ConfigError, TeacherError

__all__ = [
    "check_classes",
    "check_needs",
    "check_objectives",
    "check_resumable",
    "check_schedules",
    "check_separate",
    "check_trainer",
    "check_values",
    "named",
]

_SHARDED = {"FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"}


def named(objectives: Mapping[str, Objective | None] | Sequence[Objective]) -> dict[str, Objective]:
    """Give each objective its name; those set to None (switched off in a config) are left out.

    Raises:
        ConfigError: if something is no objective, or two share a name.
    """
    if isinstance(objectives, Mapping):
        pairs = [(str(name), item) for name, item in objectives.items() if item is not None]
    else:
        pairs = [(getattr(item, "name", ""), item) for item in objectives]
    for name, item in pairs:
        if not isinstance(item, Objective):
            raise ConfigError(
                f"{type(item).__name__} is no kd3d.distill.Objective.",
                where=f"objectives.{name}" if name else "objectives",
                hint="Pass objectives as a mapping of names, or as a list.",
            )
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ConfigError(
            "two objectives have the same name.",
            where="objectives",
            hint="Pass a mapping of names to objectives.",
        )
    return result


def check_trainer(trainer: Any, pl_module: Any) -> None:  # noqa: ANN401 - either Lightning package
    """Check that the run's optimisation can be distilled.

    Raises:
        ConfigError: on manual optimisation, sharded parameters, or a step that takes an iterator.
    """
    if not pl_module.automatic_optimization:
        raise ConfigError(
            "KDCallback adds to the loss that training_step returns; this module optimises itself.",
            where="automatic_optimization=False",
            hint="Use automatic optimisation, or call the losses of kd3d.distill.functional.",
        )
    names = {kind.__name__ for kind in type(trainer.strategy).__mro__}
    if names & _SHARDED:
        raise ConfigError(
            "KDCallback does not work with sharded parameters.",
            where=f"strategy={type(trainer.strategy).__name__}",
            hint="Use 'auto' or 'ddp'.",
        )
    if "dataloader_iter" in inspect.signature(pl_module.training_step).parameters:
        raise ConfigError(
            "this training step takes an iterator, so there is no batch to give to the teacher.",
            where="training_step(dataloader_iter)",
            hint="Take (batch, batch_idx).",
        )


def check_separate(teacher: nn.Module, student: nn.Module) -> None:
    """Raise `TeacherError` if the teacher's weights are also the student's."""
    own = {id(parameter) for parameter in student.parameters()}
    if any(id(parameter) in own for parameter in teacher.parameters()):
        raise TeacherError(
            "the teacher shares parameters with the student, so it would be trained and saved.",
            where="teacher",
            hint="Pass a copy (copy.deepcopy), and do not keep the teacher inside the student.",
        )


def check_classes(teacher: Sequence[str], student: Sequence[str]) -> None:
    """Raise `TeacherError` unless both class lists agree in names and order."""
    if tuple(teacher) != tuple(student):
        raise TeacherError(
            f"the teacher's classes {list(teacher)} are not the student's {list(student)}.",
            where="classes",
            hint="Build both with the same class names in the same order.",
        )


def check_needs(objectives: Mapping[str, Objective], teacher: object | None) -> None:
    """Raise `ConfigError` if there is no teacher and an objective needs one."""
    needy = [name for name, objective in objectives.items() if objective.needs_teacher]
    if teacher is None and needy:
        raise ConfigError(
            f"no teacher for the objectives that need one ({', '.join(needy)}).",
            where="teacher",
            hint="Give a network or the path of a checkpoint.",
        )


def check_objectives(objectives: Mapping[str, Objective], teacher: Teacher | None) -> None:
    """Check that the teacher, if there is one, offers what the objectives call.

    Raises:
        TeacherError: if a method is missing.
        ConfigError: if an objective has weights of its own, which nothing would train.
    """
    for name, objective in objectives.items():
        for method in objective.teacher_methods:
            if teacher is not None and not _offers(teacher, method):
                by_view = " or pass teacher_view=View(decode=...)," if method == "decode" else ""
                raise TeacherError(
                    f"the teacher ({type(teacher.network).__name__}) has no method {method}().",
                    where=f"objectives.{name}",
                    hint=f"Add the method (see kd3d.distill.CenterDetector),{by_view} or drop the "
                    "objective.",
                )
        if any(parameter.requires_grad for parameter in objective.parameters()):
            raise ConfigError(
                "this objective has trainable parameters, which no optimiser would train.",
                where=f"objectives.{name}",
                hint="Make them in build_adapters(), and read self.adapters.",
            )


def _offers(teacher: Teacher, method: str) -> bool:
    by_view = method == "decode" and teacher.decodes
    return by_view or callable(getattr(teacher.network, method, None))


def check_values(teacher: Outputs) -> None:
    """Check that what the teacher gave are numbers. Waits for the teacher's device.

    Raises:
        TeacherError: if a map or a tapped output holds NaN.
    """
    values = {field.name: getattr(teacher.maps, field.name) for field in fields(teacher.maps)}
    for name, value in (values | dict(teacher.taps)).items():
        if isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any()):
            raise TeacherError(
                "the teacher gives NaN.",
                where=name or "the teacher's output",
                hint="Check its checkpoint and the batch; in 16-bit precision, its value range.",
            )


def check_schedules(objectives: Mapping[str, Objective], trainer: Any) -> None:  # noqa: ANN401
    """Check that every schedule fits into the run, as far as its length is known by now.

    A run that only tries the code (``fast_dev_run``) is as long as it is.

    Raises:
        ConfigError: if the run ends before a warm-up does, or before an objective stops.
    """
    scheduled = {
        name: item.schedule for name, item in objectives.items() if item.schedule and item.weight
    }
    if not scheduled or getattr(trainer, "fast_dev_run", False):
        return
    epochs, steps = _run_length(trainer)
    for name, schedule in scheduled.items():
        try:
            schedule.check_run(epochs, steps)
        except ConfigError as error:
            where = f"objectives.{name}.{error.where}"
            raise ConfigError(error.what, where=where, hint=error.hint) from error


def _run_length(trainer: Any) -> tuple[float, float]:  # noqa: ANN401 - either Lightning package
    """Give the epochs and the optimiser steps of a run; infinite if that is not known."""
    epochs = _limit(trainer.max_epochs)
    steps = _limit(trainer.max_steps)
    batches = getattr(trainer, "num_training_batches", math.inf)  # of an epoch, once loaders exist
    if 0 < batches < math.inf:
        per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        epochs = min(epochs, math.ceil(steps / per_epoch) if steps < math.inf else math.inf)
        steps = min(steps, epochs * per_epoch)
    return epochs, steps


def _limit(value: int | None) -> float:
    return math.inf if value is None or value < 0 else value


def check_resumable(checkpoint: Mapping[str, Any], key: str) -> None:
    """Raise `CheckpointError` if a run with adapters resumes from one that had none."""
    if key not in checkpoint.get("callbacks", {}):
        raise CheckpointError(
            "the checkpoint has no adapters of this callback.",
            where=f"callbacks.{key}",
            hint="Resume with the callbacks of the checkpoint's run, or load its weights only.",
        )
