"""Starting a student from its teacher's weights."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from kd3d.distill.inherit.centerpoint import centerpoint_layers
from kd3d.distill.inherit.channels import Flow, interleaved, nearest, trace_channels
from kd3d.distill.inherit.cutting import Cutter, Share, cut
from kd3d.distill.inherit.reference import depth_major
from kd3d.distill.inherit.report import InheritanceReport, InheritedTensor
from kd3d.distill.inherit.selection import choose_channels
from kd3d.distill.teacher import detector_of, load_teacher
from kd3d.errors import ConfigError, TeacherError

__all__ = ["Strategy", "inherit_weights"]

Strategy = Literal["copy", "prefix", "bn_scale", "l1_norm", "reference_prefix"]
Plan = tuple[Share, ...] | str
"""What each dimension of a tensor takes, or why the tensor takes nothing."""


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
    * ``prefix``: a narrower student keeps the first channels of every layer.
    * ``bn_scale``: it keeps those whose norms have the largest scales.
    * ``l1_norm``: it keeps those whose filters have the largest L1 norm over the inputs kept.
    * ``reference_prefix``: what was published, for comparison: as ``prefix``, but a 2D backbone
      above a narrower 3D backbone gets other channels' weights for half of its inputs.

    The choice is made once for each group of channels and followed through the network: a norm and
    the next layers keep what a layer keeps, residual sums what is added up, a layer that reads a
    concatenation or a stacked volume the kept channels of every part or height. Channels stay in
    order; where both networks are equally wide, nothing moves. A teacher whose other channels are
    silent is thus computed exactly by its student.

    Layers that only one network has are skipped and reported. If volumes have different numbers of
    heights, the lowest ones that both have are taken. Between a pillar and a voxel network only
    ``backbone_2d`` and ``dense_head`` are inherited, as far as blocks, upsampling branches and head
    branches of the same name exist and the teacher's are wide enough; the first 2D layer is not,
    as it reads another kind of map.

    Nothing is changed if anything does not fit.

    Args:
        student: a detector, or a LightningModule with one as its ``detector``.
        teacher: likewise, or the path of a kd3d checkpoint.
        strategy: "copy", "prefix", "bn_scale", "l1_norm" or "reference_prefix".
        concatenations: for networks that kd3d does not know: the name of each weight that reads a
            concatenation, to the names of one tensor per part whose first dimension is that part's
            channels (its norm's weight, say), in order. kd3d's detectors, and other networks with
            OpenPCDet's names, need none.

    Returns:
        What became of every tensor.

    Raises:
        ConfigError: if shapes, widths or names do not fit the strategy.
        TeacherError: if classes or point features differ, or nothing of the teacher fits.
        CheckpointError: if the teacher's checkpoint cannot be used.
    """
    _check_strategy(strategy)
    taker, giver = detector_of(student), load_teacher(teacher)
    target, source = taker.state_dict(), giver.state_dict()
    _check_known(concatenations or {}, {**target, **source})
    theirs = _trace(source, "teacher", strategy, concatenations)
    mine = _trace(target, "student", strategy, concatenations)
    same_family = set(mine.parts) == set(theirs.parts)
    _check_same_task(taker, giver, same_points=same_family)
    if not target.keys() & source.keys():
        raise TeacherError(
            "no tensor of the teacher has the name of one of the student's.", where="teacher"
        )
    if strategy == "copy":
        _check_equal(target, source)
    kept = choose_channels(mine, theirs, source, strategy, allow_wider=not same_family)
    place = depth_major if strategy == "reference_prefix" else interleaved
    cutter = Cutter(mine, theirs, kept, place, lenient=not same_family)
    plan = {name: _plan(name, target, source, cutter) for name in {**target, **source}}
    _write(plan, target, source)
    return InheritanceReport(
        tensors=tuple(_entry(name, shares, target, source) for name, shares in plan.items()),
        kept={
            group: tuple(channels.tolist())
            for group, channels in kept.items()
            if len(channels) < theirs.widths[group]
        },
        note="" if same_family else _note(mine, theirs),
    )


def _trace(
    state: Mapping[str, Tensor],
    owner: str,
    strategy: Strategy,
    concatenations: Mapping[str, Sequence[str]] | None,
) -> Flow:
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if strategy == "copy":  # nothing is cut, so nothing need be known
        return trace_channels(shapes, (), owner)
    return trace_channels(shapes, centerpoint_layers(shapes), owner, concatenations)


def _plan(
    name: str, target: Mapping[str, Tensor], source: Mapping[str, Tensor], cutter: Cutter
) -> Plan:
    """Give what each dimension of a tensor takes, or why it takes nothing."""
    if name not in source:
        return "the teacher has no such tensor"
    if name not in target:
        return "the student has no such tensor"
    layer = cutter.student.layer_of.get(name, name)
    if layer in target and layer in source and layer != name:
        # a bias or a norm describes the outputs of its layer's weight
        weight = cutter.shares(layer, target[layer].shape, source[layer].shape)
        if isinstance(weight, str):
            return f"{layer} is not inherited"
    return cutter.shares(name, target[name].shape, source[name].shape)


def _write(
    plan: Mapping[str, Plan], target: Mapping[str, Tensor], source: Mapping[str, Tensor]
) -> None:
    """Put the teacher's values into the student, all of them or none."""
    values = {
        name: cut(source[name], shares, target[name])
        for name, shares in plan.items()
        if not isinstance(shares, str)
    }
    if not values:
        reasons = [reason for reason in plan.values() if isinstance(reason, str)]
        raise TeacherError(
            f"nothing of the teacher fits the student, as {reasons[0]}.", where="teacher"
        )
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)


def _entry(
    name: str, shares: Plan, target: Mapping[str, Tensor], source: Mapping[str, Tensor]
) -> InheritedTensor:
    shape, teacher_shape = (
        tuple(state[name].shape) if name in state else None for state in (target, source)
    )
    if isinstance(shares, str):
        return InheritedTensor(name, "skipped", shape, teacher_shape, shares)
    cuts = [f"{len(one.sources)} of {one.teacher_size}" for one in shares if not one.whole]
    if not cuts:
        return InheritedTensor(name, "copied", shape, teacher_shape)
    open_places = sum(one.size - len(one.places) for one in shares)
    detail = ", ".join(
        [
            " by ".join(dict.fromkeys(cuts)) + " channels",
            *(one.note for one in shares if one.note),
            *([f"{open_places} of its inputs left as they were"] if open_places else []),
        ]
    )
    return InheritedTensor(name, "sliced", shape, teacher_shape, detail)


def _note(student: Flow, teacher: Flow) -> str:
    """Say what networks of different families share."""
    own = [part for part in student.parts if part not in teacher.parts]
    others = [part for part in teacher.parts if part not in student.parts]
    shared = [part for part in student.parts if part in teacher.parts]
    return (
        f"only the student has {', '.join(own) or 'no other part'}, only the teacher has "
        f"{', '.join(others) or 'no other part'}; both have {', '.join(shared) or 'nothing'}"
    )


def _check_strategy(strategy: str) -> None:
    if strategy not in get_args(Strategy):
        raise ConfigError(
            f"{strategy!r} is not one of {list(get_args(Strategy))}.",
            where="strategy",
            hint=nearest(strategy, get_args(Strategy)),
        )


def _check_known(names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"neither network has a tensor {name!r}.",
                where="concatenations",
                hint=nearest(name, known),
            )


def _check_equal(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    others = [
        name
        for name in {**target, **source}
        if name not in target or name not in source or target[name].shape != source[name].shape
    ]
    if others:
        raise ConfigError(
            f"{len(others)} tensors differ between student and teacher, the first is {others[0]}.",
            where="strategy='copy'",
            hint="Use strategy='prefix' for a narrower or shallower student.",
        )


def _check_same_task(student: nn.Module, teacher: nn.Module, *, same_points: bool) -> None:
    for what in ("classes", "point_features") if same_points else ("classes",):
        mine, theirs = getattr(student, what, None), getattr(teacher, what, None)
        if mine is not None and theirs is not None and mine != theirs:
            raise TeacherError(
                f"the teacher has {theirs}, the student {mine}.",
                where=what,
                hint="Channels would be mixed up; build both alike.",
            )
