"""Starting a student from its teacher's weights."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from kd3d.distill.teacher import detector_of, load_teacher
from kd3d.errors import ConfigError, TeacherError

__all__ = ["InheritanceReport", "InheritedTensor", "Strategy", "inherit_weights"]

Strategy = Literal["copy", "prefix"]
Action = Literal["copied", "sliced", "skipped"]


@dataclass(frozen=True, slots=True)
class InheritedTensor:
    """What became of one tensor.

    Args:
        name: its name in the state dict.
        action: "copied" whole, "sliced" from a larger one, or "skipped".
        shape: the student's shape; None if the student has no such tensor.
        teacher_shape: the teacher's shape; None if the teacher has no such tensor.
    """

    name: str
    action: Action
    shape: tuple[int, ...] | None
    teacher_shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class InheritanceReport:
    """What became of every tensor of student and teacher.

    Args:
        tensors: one entry per tensor; the student's in its own order, then the teacher's others.
    """

    tensors: tuple[InheritedTensor, ...]

    def names(self, action: Action) -> list[str]:
        """Give the names of the tensors that were "copied", "sliced" or "skipped"."""
        return [tensor.name for tensor in self.tensors if tensor.action == action]

    def __str__(self) -> str:
        counts = Counter(tensor.action for tensor in self.tensors)
        lines = [", ".join(f"{counts[action]} {action}" for action in get_args(Action))]
        for tensor in self.tensors:
            if tensor.action != "copied":
                shapes = f"{tensor.teacher_shape or 'absent'} -> {tensor.shape or 'absent'}"
                lines.append(f"  {tensor.action}  {tensor.name}  {shapes}")
        return "\n".join(lines)


def inherit_weights(
    student: nn.Module,
    teacher: nn.Module | str | Path,
    strategy: Strategy = "copy",
    *,
    concatenations: Mapping[str, Sequence[str]] | None = None,
) -> InheritanceReport:
    """Give a student its teacher's weights: teacher-guided initialisation.

    Parameters and buffers (running statistics too) are matched by name. From "Towards Efficient 3D
    Object Detection with Knowledge Distillation" (NeurIPS 2022, arXiv 2205.15156).

    * ``copy``: both networks have the same tensors; all are copied.
    * ``prefix``: a narrower student keeps the first channels of every layer. Where a layer reads a
      concatenation, it keeps the first channels of *each* part. Layers that only one of them has
      are skipped and reported.

    Nothing is changed if anything does not fit.

    Args:
        student: a detector, or a LightningModule with one as its ``detector``.
        teacher: likewise, or the path of a kd3d checkpoint.
        strategy: "copy" or "prefix".
        concatenations: for networks that kd3d does not know: the name of each weight that reads a
            concatenation, to the names of one tensor per part whose first dimension is that part's
            channels (its norm's weight, say), in order. By default those of kd3d's pillar detectors
            and other networks with OpenPCDet's names.

    Returns:
        What became of every tensor.

    Raises:
        ConfigError: if shapes or names do not fit the strategy.
        TeacherError: if classes or point features differ, or no tensor has the same name.
        CheckpointError: if the teacher's checkpoint cannot be used.
    """
    if strategy not in get_args(Strategy):
        raise ConfigError(
            f"{strategy!r} is not one of {list(get_args(Strategy))}.", where="strategy"
        )
    taker, giver = detector_of(student), load_teacher(teacher)
    _check_same_task(taker, giver)
    target, source = taker.state_dict(), giver.state_dict()
    common = [name for name in target if name in source]
    if not common:
        raise TeacherError(
            "no tensor of the teacher has the name of one of the student's.", where="teacher"
        )
    if concatenations is None:
        concatenations = _pillar_concatenations(target)
    values = {name: _slice(name, target, source, concatenations.get(name, ())) for name in common}
    report = _report(target, source, values)
    if strategy == "copy":
        _check_all_copied(report)
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)
    return report


def _slice(
    name: str,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    parts: Sequence[str],
) -> Tensor:
    """Cut the teacher's tensor to the student's shape."""
    value, shape = source[name], target[name].shape
    if parts:
        value = value.index_select(1, _kept_inputs(name, target, source, parts))
    fits = value.ndim == len(shape) and all(
        have == want if dim >= 2 else have >= want  # kernels are not cut
        for dim, (have, want) in enumerate(zip(value.shape, shape, strict=True))
    )
    if not fits:
        raise ConfigError(
            f"the teacher's {tuple(source[name].shape)} cannot be cut to {tuple(shape)}.",
            where=name,
            hint="The student must be at most as wide as the teacher, with the same kernels.",
        )
    return value[tuple(slice(size) for size in shape)]


def _kept_inputs(
    name: str,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    parts: Sequence[str],
) -> Tensor:
    """Find which of the teacher's inputs a layer keeps that reads a concatenation."""
    for part in parts:
        if part not in target or part not in source or len(target[part]) > len(source[part]):
            raise ConfigError(
                f"there is no tensor {part!r} in both networks, at most as wide in the student.",
                where=f"inputs of {name}",
            )
    have, want = ([len(state[part]) for part in parts] for state in (source, target))
    starts = [sum(have[:part]) for part in range(len(parts))]
    kept = [
        start + channel for start, size in zip(starts, want, strict=True) for channel in range(size)
    ]
    for owner, state, sizes in (("teacher", source, have), ("student", target, want)):
        if sum(sizes) != state[name].shape[1]:
            raise ConfigError(
                f"the {owner} reads {state[name].shape[1]} channels, but its parts have {sizes}.",
                where=f"inputs of {name}",
                hint="Describe what it reads with concatenations={...}.",
            )
    return torch.tensor(kept, device=source[name].device)


def _pillar_concatenations(names: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Find the layers of a pillar detector that read a concatenation."""
    found: dict[str, list[str]] = {}
    for name in names:
        layer = re.fullmatch(r"(vfe\.pfn_layers\.)([1-9]\d*)(\.linear\.weight)", name)
        if layer:  # each point's features beside their maximum over the pillar
            found[name] = [f"{layer[1]}{int(layer[2]) - 1}.norm.weight"] * 2
    branches = [
        name for name in names if re.fullmatch(r"backbone_2d\.deblocks\.\d+\.1\.weight", name)
    ]
    if branches and "dense_head.shared_conv.0.weight" in names:
        order = sorted(branches, key=lambda name: int(name.split(".")[2]))
        found["dense_head.shared_conv.0.weight"] = order
    return found


def _report(
    target: Mapping[str, Tensor], source: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> InheritanceReport:
    entries = []
    for name in dict.fromkeys((*target, *source)):
        shape = tuple(target[name].shape) if name in target else None
        teacher_shape = tuple(source[name].shape) if name in source else None
        action: Action = "skipped"
        if name in values:
            action = "copied" if shape == teacher_shape else "sliced"
        entries.append(InheritedTensor(name, action, shape, teacher_shape))
    return InheritanceReport(tuple(entries))


def _check_all_copied(report: InheritanceReport) -> None:
    others = report.names("sliced") + report.names("skipped")
    if others:
        raise ConfigError(
            f"{len(others)} tensors differ between student and teacher, the first is {others[0]}.",
            where="strategy='copy'",
            hint="Use strategy='prefix' for a narrower or shallower student.",
        )


def _check_same_task(student: nn.Module, teacher: nn.Module) -> None:
    for what in ("classes", "point_features"):
        mine, theirs = getattr(student, what, None), getattr(teacher, what, None)
        if mine is not None and theirs is not None and mine != theirs:
            raise TeacherError(
                f"the teacher has {theirs}, the student {mine}.",
                where=what,
                hint="Channels would be mixed up; build both alike.",
            )
