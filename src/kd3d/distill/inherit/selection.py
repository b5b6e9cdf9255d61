"""Which of the teacher's channels a student keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.distill.inherit.channels import Axis, Flow, Layer, Run, interleaved, part_of
from kd3d.errors import ConfigError

__all__ = ["choose_channels", "matched"]

Node = tuple[str, str]
"""Whose group ("student" or "teacher"), and its name."""


@dataclass(frozen=True, slots=True)
class Tie:
    """Groups that share one choice, because data flows from one to the other unmixed.

    Args:
        groups: the teacher's groups, in the order of its data.
        teacher_width: channels of each of them.
        student_width: channels of the student's groups that correspond.
    """

    groups: tuple[str, ...]
    teacher_width: int
    student_width: int


def matched(mine: Axis, theirs: Axis) -> Iterator[tuple[int, Run, Run]]:
    """Pair what lies along a dimension in the student with what lies there in the teacher.

    Groups in the same place correspond if they come from the same part of their network: a 2D
    backbone reads pillars in one network and a volume in the other, and these do not.

    Returns:
        the place among the runs, the student's run, the teacher's.
    """
    for place, (own, other) in enumerate(zip(mine, theirs, strict=False)):
        if part_of(own.group) == part_of(other.group):
            yield place, own, other


def choose_channels(
    student: Flow,
    teacher: Flow,
    weights: Mapping[str, Tensor],
    strategy: str,
    *,
    allow_wider: bool = False,
) -> dict[str, Tensor]:
    """Choose the teacher's channels that the student keeps, once for each group.

    Where widths are equal, that is all of them, whatever the strategy. With "bn_scale" channels
    count by the magnitude of their scales, summed over all norms of the groups that share the
    choice; with "l1_norm" by the L1 norm of the filters that write them, over the inputs that are
    kept as far as these are chosen already; otherwise the first ones count most.

    Args:
        student: the student's channels.
        teacher: the teacher's.
        weights: the teacher's tensors.
        strategy: "bn_scale", "l1_norm", or anything else for the first channels.
        allow_wider: leave groups out in which the student is wider, rather than raise.

    Returns:
        the teacher's group to int64 channels on the CPU, ascending.

    Raises:
        ConfigError: if the student is wider, or importance is asked of channels whose layers are
            not known.
    """
    kept: dict[str, Tensor] = {}
    for tie in _ties(student, teacher):
        if tie.student_width > tie.teacher_width:
            if allow_wider:
                continue
            raise ConfigError(
                f"the student has {tie.student_width} channels, the teacher {tie.teacher_width}.",
                where=tie.groups[0],
                hint="A student inherits from a teacher that is at least as wide everywhere.",
            )
        channels = torch.arange(tie.student_width)
        if tie.student_width < tie.teacher_width and strategy in ("bn_scale", "l1_norm"):
            scores = _importance(tie, teacher, weights, strategy, kept)
            # equal scores: the lower channel; ascending, so that nothing is permuted
            best = torch.sort(scores, descending=True, stable=True).indices
            channels = best[: tie.student_width].sort().values
        kept |= dict.fromkeys(tie.groups, channels)
    return kept


def _ties(student: Flow, teacher: Flow) -> list[Tie]:
    """Find the groups that share a choice, in the order of the teacher's data.

    What a tensor of both networks reads in the student corresponds to what it reads in the teacher.
    So where a student lacks some layers, the channels before and after them share their choice.
    """
    sets: dict[Node, set[Node]] = {}
    for name, dims in student.axes.items():
        for mine, theirs in zip(dims, teacher.axes.get(name, ()), strict=False):
            for _, own, other in matched(mine, theirs):
                nodes: tuple[Node, Node] = ("student", own.group), ("teacher", other.group)
                merged = set().union(*(sets.get(node, {node}) for node in nodes))
                sets |= dict.fromkeys(merged, merged)
    written = [run.group for layer in teacher.layers for run in layer.writes]
    order = list(dict.fromkeys((*written, *teacher.widths)))
    ties: dict[int, Tie] = {}
    for group in order:
        members = sets.get(("teacher", group))
        if members and id(members) not in ties:
            groups = tuple(one for one in order if ("teacher", one) in members)
            widths = (
                _common_width(teacher, groups),
                _common_width(student, [name for owner, name in members if owner == "student"]),
            )
            ties[id(members)] = Tie(groups, *widths)
    return list(ties.values())


def _common_width(flow: Flow, groups: Sequence[str]) -> int:
    widths = {group: flow.widths[group] for group in groups}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"have to keep the same channels, but have different numbers of them: {widths}.",
            where=", ".join(sorted(widths)),
            hint="Layers that one network has and the other has not must not change the width.",
        )
    return next(iter(widths.values()))


def _importance(
    tie: Tie,
    teacher: Flow,
    weights: Mapping[str, Tensor],
    strategy: str,
    kept: Mapping[str, Tensor],
) -> Tensor:
    """Score the channels of tied groups, float64 on the CPU."""
    writers = [
        layer for layer in teacher.layers if any(run.group in tie.groups for run in layer.writes)
    ]
    if strategy == "bn_scale":
        writers = [layer for layer in writers if f"{layer.norm}.weight" in weights]
    if not writers:
        raise ConfigError(
            f"cannot tell which of {tie.teacher_width} channels matter: no layer is known to "
            f"write them{' that has a norm' if strategy == 'bn_scale' else ''}.",
            where=tie.groups[0],
            hint=f"strategy={strategy!r} works for networks with the tensor names of kd3d's "
            "detectors; use strategy='prefix' for others.",
        )
    if strategy == "bn_scale":
        scales = [weights[f"{layer.norm}.weight"].detach().cpu().double() for layer in writers]
        return torch.stack(scales).abs().sum(0)
    return torch.stack([_filter_norms(layer, teacher, weights, kept) for layer in writers]).sum(0)


def _filter_norms(
    layer: Layer, teacher: Flow, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]
) -> Tensor:
    """Give the L1 norm of each filter of a layer over the inputs that are kept."""
    weight = weights[layer.weight].detach().cpu().double()
    if layer.reads and all(run.group in kept for run in layer.reads):
        places = [
            start + interleaved(kept[run.group], teacher.widths[run.group], run.depths, run.depths)
            for start, run in zip(teacher.starts(layer.reads), layer.reads, strict=True)
        ]
        weight = weight.index_select(layer.inputs, torch.cat(places))
    return weight.abs().movedim(layer.outputs, 0).flatten(1).sum(1)
