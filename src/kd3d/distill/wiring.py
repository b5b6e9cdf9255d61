"""Checking, before anything is learned, that all ends of a distillation meet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from kd3d.distill.adapters import AdapterSet
from kd3d.distill.captured import describe_tensor, tensors_in
from kd3d.distill.connections import (
    Connection,
    Wiring,
    describe_adapter,
    describe_reading,
    joined,
)
from kd3d.distill.objectives.base import Objective
from kd3d.distill.ranges import SharedRange, share_range
from kd3d.distill.teacher import Teacher
from kd3d.distill.views import Outputs, ViewedNetwork
from kd3d.errors import InputError, Kd3dError
from kd3d.geometry import BEVGrid

__all__ = ["WiringCheck", "grid_of"]


class WiringCheck:
    """Checks once what is connected to what, and writes it down.

    Args:
        objectives: objectives by name.
        student: the student.
        teacher: the teacher, if there is one.
        adapters: the objectives' adapters.
        student_path: dotted path of the student's network inside the LightningModule.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        student: ViewedNetwork,
        teacher: Teacher | None,
        adapters: AdapterSet,
        student_path: str,
    ) -> None:
        self.objectives = objectives
        self.student = student
        self.teacher = teacher
        self.adapters = adapters
        self.student_path = student_path
        #: What was found; None before the first step.
        self.found: Wiring | None = None
        self._seen: set[tuple[bool, bool]] = set()
        self._warnings: list[str] = []

    def at_start(self) -> None:
        """Check the ranges of networks that tell their ``grid`` before they run.

        Raises:
            TeacherError: if they share nothing.
        """
        self._compare(None, None)

    def in_step(self, student: Outputs | None, teacher: Outputs | None) -> Wiring | None:
        """Check what the networks gave in the first step, and in the first that shows more of it.

        Args:
            student: what the student gave; None if no active objective reads it.
            teacher: what the teacher gave; None if no active objective needs it.

        Returns:
            What was found, if it has not been told yet.

        Raises:
            TeacherError: if the ranges share nothing.
            InputError: if the maps are of different frames.
        """
        seen = (student is not None, teacher is not None)
        if any(before[0] >= seen[0] and before[1] >= seen[1] for before in self._seen):
            return None
        self._seen.add(seen)
        if student is not None and teacher is not None:
            _check_frames(student.maps.heatmap, teacher.maps.heatmap)
        ranges = self._compare(student, teacher)
        connections = tuple(
            self._connection(name, objective, student, teacher, ranges)
            for name, objective in self.objectives.items()
        )
        self.found = Wiring(connections, tuple(self._facts(ranges)))
        return self.found

    @contextmanager
    def explained(self, name: str, student: Outputs, teacher: Outputs | None) -> Iterator[None]:
        """Explain errors of an objective that come from shapes that do not fit.

        Raises:
            InputError: in place of an error of torch, if what the objective reads of student and
                teacher has different shapes.
        """
        try:
            yield
        except (Kd3dError, NotImplementedError, torch.cuda.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError) as error:
            objective = self.objectives[name]
            mine = _shapes(objective.student_taps, student, self.student_path)
            theirs = _shapes(objective.teacher_taps, teacher, "")
            if list(mine.values()) == list(theirs.values()):
                raise
            raise InputError(
                f"the student's {_listed(mine)} does not go with the teacher's {_listed(theirs)} "
                f"({error}).",
                where=f"objectives.{name}",
                hint="In the objective's forward(), bring channels together by an adapter "
                "(build_adapters) and cells by kd3d.distill.functional.sample_at_centers or "
                "torch.nn.functional.interpolate; or tap modules of equal shape.",
            ) from error

    def check_term(self, name: str, term: Tensor) -> None:
        """Check what an objective gave, without a look at the value.

        Raises:
            InputError: if it is no scalar tensor.
        """
        if not isinstance(term, Tensor) or term.ndim:
            gave = describe_tensor(term) if isinstance(term, Tensor) else type(term).__name__
            raise InputError(
                f"forward() gave {gave}, not a scalar tensor.",
                where=f"objectives.{name}",
                hint="Return the mean or the sum of the term.",
            )
        if not term.requires_grad:
            self._warn(f"objectives.{name}: its term has no gradient, so it teaches nothing.")

    def _compare(self, student: Outputs | None, teacher: Outputs | None) -> SharedRange | None:
        """Compare the ranges, as far as they are known."""
        if self.teacher is None:
            return None
        mine = student.maps.grid if student is not None else grid_of(self.student.network)
        theirs = teacher.maps.grid if teacher is not None else grid_of(self.teacher.network)
        if mine is None or theirs is None:
            return None
        ranges = share_range(mine, theirs)
        if ranges.warning is not None:
            self._warn(ranges.warning)
        for name, objective in self.objectives.items():
            if getattr(objective, "alignment", None) == "resize" and ranges.shift > 0:
                self._warn(
                    f"objectives.{name}: alignment='resize' stretches maps over each other whose "
                    f"borders are up to {ranges.shift:.3g} m apart; alignment='pivot' is right for "
                    "different ranges."
                )
        return ranges

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)
            rank_zero_warn(f"kd3d: {text}")

    def _connection(
        self,
        name: str,
        objective: Objective,
        student: Outputs | None,
        teacher: Outputs | None,
        ranges: SharedRange | None,
    ) -> Connection:
        weight = f"weight {objective.weight:g}" if objective.weight else "off (weight 0)"
        if objective.schedule is not None and objective.weight:
            weight += f", {objective.schedule}"
        how = [objective.comparison]
        if objective.has_loss and ranges is not None:
            how.append(ranges.ratio)
        how += [describe_adapter(*pair) for pair in self.adapters.of(name).items()]
        mine: tuple[str, ...] = ("the targets that its training step gets",)
        if objective.has_loss:
            taps, names = objective.student_taps, objective.map_names
            mine = describe_reading(self.student, taps, names, student, self.student_path)
        theirs = self._of_teacher(objective, teacher)
        return Connection((name, type(objective).__name__, weight), mine, theirs, tuple(how))

    def _of_teacher(self, objective: Objective, outputs: Outputs | None) -> tuple[str, ...]:
        if self.teacher is None or not objective.needs_teacher:
            return ("no network",)
        if objective.has_loss or objective.teacher_taps:
            taps, names = objective.teacher_taps, objective.map_names
            return describe_reading(self.teacher.viewed, taps, names, outputs)
        methods = ", ".join(f"{method}()" for method in objective.teacher_methods)
        return (f"{type(self.teacher.network).__name__} {methods}".rstrip(),)

    def _facts(self, ranges: SharedRange | None) -> Iterator[str]:
        if ranges is not None:
            yield str(ranges)
        yield f"Classes: {', '.join(self.student.classes)}."
        if self.teacher is not None:
            yield f"The teacher is frozen and runs in mode '{self.teacher.mode}'."
        for text in self._warnings:
            yield f"Warning: {text}"


def grid_of(network: nn.Module) -> BEVGrid | None:
    """Give the grid of a network's maps, if it has it as its attribute ``grid``."""
    grid = getattr(network, "grid", None)
    return grid if isinstance(grid, BEVGrid) else None


def _check_frames(student: Tensor, teacher: Tensor) -> None:
    if len(student) != len(teacher):
        raise InputError(
            f"the student's heatmap {describe_tensor(student)} is of {len(student)} frames, the "
            f"teacher's {describe_tensor(teacher)} of {len(teacher)}.",
            where="batch",
            hint="Both must run on the same frames; teacher_view=View(call=...) says how the "
            "teacher is run.",
        )


def _shapes(taps: Sequence[str], outputs: Outputs | None, root: str) -> dict[str, list[int]]:
    """Give the shapes that an objective reads of one network, by name."""
    if outputs is None:
        return {}
    if not taps:
        return {"heatmap": list(outputs.maps.heatmap.shape)}
    return {
        joined(joined(root, path), part): list(tensor.shape)
        for path in taps
        for part, tensor in tensors_in(outputs.taps[path])
    }


def _listed(shapes: Mapping[str, list[int]]) -> str:
    return ", ".join(f"'{path}' {shape}" for path, shape in shapes.items()) or "nothing"
