"""Cutting a teacher's tensor to what the student keeps of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.distill.inherit.channels import Axis, Flow
from kd3d.distill.inherit.selection import matched
from kd3d.errors import ConfigError

__all__ = ["Cutter", "Share", "cut"]

Placing = Callable[[Tensor, int, int, int], Tensor]
"""Where channels lie along a dimension, see `kd3d.distill.inherit.channels.interleaved`."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one dimension of a student's tensor takes over.

    Args:
        places: int64 places of the student that are filled.
        sources: the teacher's places that fill them.
        size: places of the student.
        teacher_size: places of the teacher.
        note: what else is to be said about it.
    """

    places: Tensor
    sources: Tensor
    size: int
    teacher_size: int
    note: str = ""

    @property
    def filled(self) -> bool:
        """Whether every place of the student is filled."""
        return len(self.places) == self.size

    @property
    def whole(self) -> bool:
        """Whether the dimension is taken as it is."""
        return self.filled and torch.equal(self.sources, torch.arange(self.teacher_size))


@dataclass(frozen=True, slots=True)
class Cutter:
    """Tells what each tensor of a student takes from its teacher.

    Args:
        student: the student's channels.
        teacher: the teacher's.
        kept: of the teacher's groups, the channels that the student keeps.
        place: where channels lie along a dimension.
        lenient: skip tensors whose kernels or outputs differ, rather than raise.
    """

    student: Flow
    teacher: Flow
    kept: dict[str, Tensor]
    place: Placing
    lenient: bool = False

    def shares(
        self, name: str, shape: Sequence[int], teacher_shape: Sequence[int]
    ) -> tuple[Share, ...] | str:
        """Give what each dimension of a tensor takes, or why it takes nothing.

        Raises:
            ConfigError: if kernels, or outputs that are never cut, differ.
        """
        mine, theirs = self.student.axes[name], self.teacher.axes[name]
        rigid = [not own and not other for own, other in zip(mine, theirs, strict=False)]
        sizes = list(zip(shape, teacher_shape, strict=False))
        if len(shape) != len(teacher_shape) or any(
            size != other for (size, other), fixed in zip(sizes, rigid, strict=True) if fixed
        ):
            return self._misfit(name, tuple(shape), tuple(teacher_shape))
        shares = []
        for own, other, (size, teacher_size) in zip(mine, theirs, sizes, strict=True):
            share = self._share(own, other, size, teacher_size)
            if size and not len(share.places):
                return self._reason(own, other)
            shares.append(share)
        return tuple(shares)

    def _share(self, mine: Axis, theirs: Axis, size: int, teacher_size: int) -> Share:
        if not mine and not theirs:
            return Share(torch.arange(size), torch.arange(size), size, teacher_size)
        starts, teacher_starts = self.student.starts(mine), self.teacher.starts(theirs)
        nowhere = torch.zeros(0, dtype=torch.int64)
        places, sources, note = [nowhere], [nowhere], ""
        for run, own, other in matched(mine, theirs):
            if other.group not in self.kept:
                continue
            channels = self.kept[other.group]
            common = min(own.depths, other.depths)
            width, teacher_width = self.student.widths[own.group], self.teacher.widths[other.group]
            own_places = self.place(torch.arange(width), width, own.depths, common)
            places.append(starts[run] + own_places)
            other_places = self.place(channels, teacher_width, other.depths, common)
            sources.append(teacher_starts[run] + other_places)
            if own.depths != other.depths:
                note = f"{common} of its {own.depths} heights from the teacher's {other.depths}"
        return Share(torch.cat(places), torch.cat(sources), size, teacher_size, note)

    def _misfit(self, name: str, shape: tuple[int, ...], teacher_shape: tuple[int, ...]) -> str:
        if self.lenient:
            return f"{teacher_shape} cannot be cut to {shape}"
        raise ConfigError(
            f"the teacher's {teacher_shape} cannot be cut to {shape}.",
            where=name,
            hint="The student must be at most as wide as the teacher, with the same kernels.",
        )

    def _reason(self, mine: Axis, theirs: Axis) -> str:
        for _, own, other in matched(mine, theirs):
            width, teacher_width = self.student.widths[own.group], self.teacher.widths[other.group]
            return f"{width} channels of {own.group}, the teacher has {teacher_width}"
        ours, others = (", ".join(run.group for run in axis) or "none" for axis in (mine, theirs))
        return f"its channels come from {ours}, the teacher's from {others}"


def cut(value: Tensor, shares: Sequence[Share], into: Tensor) -> Tensor:
    """Take the teacher's places of a tensor.

    Args:
        value: the teacher's tensor.
        shares: what each dimension takes; at most one of them leaves places of the student open.
        into: the student's tensor, whose values stay in open places.

    Returns:
        a new tensor of the student's shape, or `value` itself where everything is taken.
    """
    for dim, share in enumerate(shares):
        if not share.whole:
            value = value.index_select(dim, share.sources.to(value.device))
    for dim, share in enumerate(shares):
        if not share.filled:
            value = into.index_copy(dim, share.places.to(into.device), value.to(into))
    return value
