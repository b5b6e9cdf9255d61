"""What distillation adds to one training step."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor

from kd3d.distill.adapters import AdapterSet
from kd3d.distill.batches import BatchView
from kd3d.distill.captured import untouched
from kd3d.distill.channels import check_channels
from kd3d.distill.checks import check_values
from kd3d.distill.connections import table_width
from kd3d.distill.first_run import is_compiled
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.step import unwrap_training_step, wrap_training_step
from kd3d.distill.taps import forget_compiled
from kd3d.distill.teacher import Teacher
from kd3d.distill.views import Outputs, ViewedNetwork
from kd3d.distill.watch import StepWatch
from kd3d.distill.wiring import WiringCheck, grid_of

__all__ = ["DistilledStep"]


class DistilledStep:
    """Acts before and after every training step of a LightningModule.

    Nothing here waits for a CUDA device, but the look at values in the first step and in every
    `watch_every_n_steps`-th. What the teacher gave is let go when the student's step is done, so
    that only what autograd needs is alive in the backward pass.

    Args:
        module: the LightningModule.
        objectives: objectives by name.
        student: the student inside the module.
        teacher: the teacher, if there is one.
        adapters: the objectives' adapters.
        batch_view: how to read batches.
        wiring: what is checked and told once.
        watch_every_n_steps: how often to look at values where that waits for the device, and to
            measure shares of the gradient and agreement with the teacher.
    """

    def __init__(
        self,
        module: Any,  # noqa: ANN401 - of either Lightning package
        objectives: Mapping[str, Objective],
        *,
        student: ViewedNetwork,
        teacher: Teacher | None,
        adapters: AdapterSet,
        batch_view: BatchView,
        wiring: WiringCheck,
        watch_every_n_steps: int,
    ) -> None:
        self.module = module
        self.objectives = objectives
        self.student = student
        self.teacher = teacher
        self.adapters = adapters
        self.batch_view = batch_view
        self.wiring = wiring
        self.watch = StepWatch(watch_every_n_steps)
        self._context: StepContext | None = None
        self._steps = 0
        self._active: dict[str, Objective] = {}

    def attach(self) -> None:
        """Wrap the training step, register the hooks, and hand out the adapters."""
        for name, objective in self.objectives.items():
            objective.adapters = self.adapters.of(name)
        self.student.taps.attach()
        self.student.taps.watches = not is_compiled(self.module)
        forget_compiled(self.module)
        if self.teacher is not None:
            forget_compiled(self.teacher.network)
        wrap_training_step(self.module, self)

    def detach(self) -> None:
        """Undo `attach`; harmless if nothing is attached."""
        unwrap_training_step(self.module, self)
        self.student.taps.detach()
        for objective in self.objectives.values():
            objective.adapters = {}
            objective.factor = 1.0
        self._context = None

    def before_step(self, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Run the teacher, and let objectives choose what the student trains on."""
        self._steps += 1
        self._active = self._choose()
        if not self._active:
            return batch
        needed = any(objective.needs_teacher for objective in self._active.values())
        outputs = self._teach(batch) if needed else None
        context = StepContext(
            batch,
            self.teacher,
            outputs,
            self.batch_view,
            classes=self.student.classes,
            student_grid=grid_of(self.student.network),
        )
        with self._float32():
            for name, objective in self._active.items():
                with _unchanged(name, teacher=outputs):
                    batch = objective.amend(context, batch)
        if self._compares() or self._watches_agreement(context):
            self.student.taps.listen()
        self._context = context
        return batch

    def after_step(self, output: Any) -> Any:  # noqa: ANN401 - any step output
        """Add the objectives' terms to the loss of a step, and log them."""
        context, self._context = self._context, None
        if output is None:  # Lightning skips the optimiser; there is no loss to add to
            self.student.taps.stop()
            return None
        if context is not None:
            student = self._read_student(context)
            terms = self._terms(student, context)
            self._log(context.observed | terms, context)
            self._watch(output, terms, student, context)
            if terms:
                total = torch.stack(list(terms.values())).sum()
                self._log({"total": total}, context)
                output = _add_to_loss(output, total)
        idle = self.adapters.idle(self._active)
        return output if idle is None else _add_to_loss(output, idle)

    def _teach(self, batch: Any) -> Outputs | None:  # noqa: ANN401 - any batch
        if self.teacher is None:
            return None
        outputs = self.teacher.teach(batch)
        if self._looks():
            check_values(outputs)
        check_channels("teacher", self.adapters.told["teacher"], outputs.taps)
        return outputs

    def _read_student(self, context: StepContext) -> Outputs | None:
        if not self._compares():
            self._tell(None, context.outputs)
            return None
        student = self.student.read()
        check_channels("student", self.adapters.told["student"], student.taps)
        self._tell(student, context.outputs)
        return student

    def _terms(self, student: Outputs | None, context: StepContext) -> dict[str, Tensor]:
        if student is None:
            return {}
        active = [name for name, item in self._active.items() if item.has_loss]
        with self._float32():
            return {name: self._term(name, student, context) for name in active}

    def _term(self, name: str, student: Outputs, context: StepContext) -> Tensor:
        teacher = cast("Outputs", context.outputs)  # None only for objectives that need none
        explained = self.wiring.explained(name, student, teacher)
        with explained, _unchanged(name, student=student, teacher=teacher):
            term: Tensor = self.objectives[name](student, teacher, context)
        self.wiring.check_term(name, term)
        factor = self.objectives[name].factor
        return term if factor == 1 else factor * term

    def _tell(self, student: Outputs | None, teacher: Outputs | None) -> None:
        """Check and print, once, what is connected to what."""
        found = self.wiring.in_step(student, teacher)
        if found is not None:
            self.module.print(found.text(table_width()))

    def _watch(
        self,
        output: Any,  # noqa: ANN401 - any step output
        terms: Mapping[str, Tensor],
        student: Outputs | None,
        context: StepContext,
    ) -> None:
        """Measure what people watch, in the steps that are watched."""
        if not self.watch.is_due(self._steps):
            return
        with self._float32():
            loss = _loss_of(output)
            if student is not None and loss is not None:
                self._log(self.watch.shares(loss, terms, student), context, group="kd_share")
            heard = student is not None or self._watches_agreement(context)
            if context.outputs is not None and heard:
                read = self.student.read if student is None else lambda: student
                found = self.watch.agreement(read, context.outputs, asked=student is not None)
                self._log(found, context)

    def _watches_agreement(self, context: StepContext) -> bool:
        """Tell whether the student is listened to for its agreement with the teacher alone."""
        due = self.watch.is_due(self._steps) and self.watch.can_agree()
        if not due or context.outputs is None:
            return False
        # a compiled network would be compiled anew to be listened to in some steps only
        return not any(is_compiled(module) for module in self.module.modules())

    def _compares(self) -> bool:
        return any(objective.has_loss for objective in self._active.values())

    def _choose(self) -> dict[str, Objective]:
        """Tell every objective its schedule's factor in this step; give those that act."""
        epoch, step = int(self.module.current_epoch), int(self.module.global_step)
        for objective in self.objectives.values():
            objective.factor = objective.factor_at(epoch, step)
        return {
            name: item
            for name, item in self.objectives.items()
            if item.weight != 0 and item.factor != 0
        }

    def _looks(self) -> bool:
        return self._steps == 1 or self.watch.is_due(self._steps) or not self._waits()

    def _waits(self) -> bool:
        """Tell whether looking at values waits for the device."""
        return str(self.module.device.type) != "cpu"

    def _float32(self) -> torch.autocast:
        return torch.autocast(self.module.device.type, enabled=False)

    def _log(
        self, values: Mapping[str, Tensor], context: StepContext, *, group: str = "kd"
    ) -> None:
        if context.outputs is not None:
            frames = len(context.outputs.maps.heatmap)
        else:
            frames = self.batch_view.count(context.batch)
        for name, value in values.items():
            self.module.log(f"{group}/{name}", value.detach(), batch_size=frames)


def _unchanged(name: str, **outputs: Outputs | None) -> AbstractContextManager[None]:
    hint = "Let it compute on copies: y = f(x), not f_(x) or out=x."
    return untouched(f"objectives.{name}", outputs, hint)


def _loss_of(output: Any) -> Tensor | None:  # noqa: ANN401 - any step output
    loss = output.get("loss") if isinstance(output, Mapping) else output
    return loss if isinstance(loss, Tensor) else None


def _add_to_loss(output: Any, value: Tensor) -> Any:  # noqa: ANN401 - any step output
    if isinstance(output, Tensor):
        return output + value
    if isinstance(output, Mapping) and "loss" in output:
        return {**output, "loss": output["loss"] + value}
    return output  # Lightning refuses it, and says why
