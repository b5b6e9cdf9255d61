"""What became of the tensors of a student and its teacher."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, get_args

__all__ = ["Action", "InheritanceReport", "InheritedTensor"]

Action = Literal["copied", "sliced", "skipped"]


@dataclass(frozen=True, slots=True)
class InheritedTensor:
    """What became of one tensor.

    Args:
        name: its name in the state dict.
        action: "copied" whole, "sliced" from a larger one, or "skipped": left as it was.
        shape: the student's shape; None if the student has no such tensor.
        teacher_shape: the teacher's shape; None if the teacher has no such tensor.
        detail: how many of how many channels were taken, or why it was skipped.
    """

    name: str
    action: Action
    shape: tuple[int, ...] | None
    teacher_shape: tuple[int, ...] | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InheritanceReport:
    """What became of every tensor of student and teacher.

    Args:
        tensors: one entry per tensor; the student's in its own order, then the teacher's others.
        kept: of each group of channels that was cut, the teacher's channels that the student has,
            ascending. A group goes by the first of the teacher's layers that writes it.
        note: what holds for the whole pair, in a sentence; empty for networks of one family.
    """

    tensors: tuple[InheritedTensor, ...]
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""

    def names(self, action: Action) -> list[str]:
        """Give the names of the tensors that were "copied", "sliced" or "skipped"."""
        return [tensor.name for tensor in self.tensors if tensor.action == action]

    def __str__(self) -> str:
        counts = Counter(tensor.action for tensor in self.tensors)
        lines = [", ".join(f"{counts[action]} {action}" for action in get_args(Action))]
        lines += [self.note] if self.note else []
        # copied counters stand between tensors that are cut alike
        shown = [one for one in self.tensors if one.action != "copied" or one.shape]
        for (action, detail, _), alike in groupby(shown, _kind):
            if action != "copied":
                lines.append(f"  {action}  {_span([one.name for one in alike])}  {detail}")
        return "\n".join(lines)


def _kind(tensor: InheritedTensor) -> tuple[Action, str, str]:
    return tensor.action, tensor.detail, tensor.name.partition(".")[0]


def _span(names: list[str]) -> str:
    """Name neighbouring tensors at once: the first, and the last from where it differs."""
    first, last = names[0].split("."), names[-1].split(".")
    if len(names) == 1:
        return names[0]
    common = next(i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return f"{names[0]}..{'.'.join(last[common:])} ({len(names)} tensors)"
