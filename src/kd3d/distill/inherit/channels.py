"""Which channels lie along which dimension of which tensor.

Channels that must stay together are a *group*: what a layer writes, its norm scales and the next
layers read; in a residual stage, whatever is added up. A dimension of a tensor holds a sequence of
groups (`Axis`), or nothing that can be cut: classes, features of a point, taps of a kernel.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from kd3d.errors import ConfigError

__all__ = [
    "Axis",
    "Flow",
    "Layer",
    "Run",
    "Shapes",
    "interleaved",
    "nearest",
    "part_of",
    "trace_channels",
]

Shapes = Mapping[str, tuple[int, ...]]
"""Tensors of a network by their names in its state dict."""


@dataclass(frozen=True, slots=True)
class Run:
    """The channels of one group, side by side along a dimension.

    Args:
        group: the group's name.
        depths: places that each channel takes, one after the other: the layers of a volume that
            was stacked into a map, ``channel * depths + depth``.
    """

    group: str
    depths: int = 1


Axis = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer or convolution, with the norm behind it.

    Args:
        weight: the name of its weight.
        reads: what lies along its inputs.
        writes: what lies along its outputs: one group, or nothing that can be cut.
        norm: the path of its norm, if it has one.
        inputs: the dimension of the weight that counts inputs.
        outputs: the one that counts outputs.
    """

    weight: str
    reads: Axis
    writes: Axis
    norm: str | None = None
    inputs: int = 1
    outputs: int = 0

    def axes(self, shapes: Shapes) -> dict[str, tuple[Axis, ...]]:
        """Give what lies along every dimension of its tensors and its norm's."""
        weight: list[Axis] = [()] * len(shapes[self.weight])
        weight[self.inputs], weight[self.outputs] = self.reads, self.writes
        found = {self.weight: tuple(weight)}
        bias = self.weight.removesuffix("weight") + "bias"
        for name, shape in shapes.items():
            if name == bias or (self.norm and name.startswith(f"{self.norm}.")):
                found[name] = (self.writes,) * len(shape)
        return found


@dataclass(frozen=True, slots=True)
class Flow:
    """The channels of a network.

    Args:
        layers: the layers that are known, in the order of the data.
        axes: of every tensor, what lies along each of its dimensions.
        widths: channels of each group.
        layer_of: the weight of the layer that a bias or a tensor of a norm belongs to.
    """

    layers: tuple[Layer, ...]
    axes: Mapping[str, tuple[Axis, ...]]
    widths: Mapping[str, int]
    layer_of: Mapping[str, str]

    @property
    def parts(self) -> list[str]:
        """The network's parts that have known layers, in the order of the data."""
        return list(dict.fromkeys(part_of(layer.weight) for layer in self.layers))

    def length(self, axis: Axis) -> int:
        """Count the places along a dimension."""
        return sum(self.widths[run.group] * run.depths for run in axis)

    def starts(self, axis: Axis) -> list[int]:
        """Give the place where each run of a dimension begins."""
        return [self.length(axis[:i]) for i in range(len(axis))]


def part_of(name: str) -> str:
    """Give the part of the network that a tensor or a group belongs to."""
    return name.partition(".")[0]


def interleaved(channels: Tensor, width: int, depths: int, common: int) -> Tensor:
    """Give the places of some channels of a group along a dimension.

    Args:
        channels: int64 ascending, below `width`.
        width: channels of the group. Places do not depend on it here; they do where all channels of
            one depth come first.
        depths: places that each channel takes.
        common: how many of them are asked for, from the first.

    Returns:
        ``[len(channels) * common]`` places, channel by channel.
    """
    return (channels[:, None] * depths + torch.arange(common)).flatten()


def trace_channels(
    shapes: Shapes,
    layers: Sequence[Layer],
    owner: str,
    concatenations: Mapping[str, Sequence[str]] | None = None,
) -> Flow:
    """Find what lies along every dimension of every tensor.

    Tensors of no known layer get groups of their own along their first two dimensions.

    Args:
        shapes: the network's tensors.
        layers: its known layers, in the order of the data.
        owner: "student" or "teacher", for messages.
        concatenations: see `kd3d.distill.inherit_weights`.

    Raises:
        ConfigError: if a tensor is not as long as the groups it should hold.
    """
    axes: dict[str, tuple[Axis, ...]] = {}
    layer_of: dict[str, str] = {}
    for layer in layers:
        axes |= (own := layer.axes(shapes))
        layer_of |= dict.fromkeys(own, layer.weight)
    for name, shape in shapes.items():
        if name not in axes:
            unknown = [(Run(f"{name}:{dim}"),) for dim in range(min(len(shape), 2))]
            axes[name] = (*unknown, *[()] * (len(shape) - len(unknown)))
    for name, parts in (concatenations or {}).items():
        if name in axes:
            axes[name] = _reading(name, parts, axes)
    flow = Flow(tuple(layers), axes, _widths(shapes, layers, axes), layer_of)
    for name, shape in shapes.items():
        _check_lengths(flow, name, shape, owner)
    return flow


def _reading(
    name: str, parts: Sequence[str], axes: Mapping[str, tuple[Axis, ...]]
) -> tuple[Axis, ...]:
    """Give what lies along a weight's dimensions if it reads a concatenation."""
    for part in parts:
        if part not in axes or not axes[part]:
            raise ConfigError(
                f"there is no tensor {part!r} in both networks that has channels.",
                where=f"concatenations of {name}",
                hint=nearest(part, axes),
            )
    if len(axes[name]) < 2:
        raise ConfigError("is no weight with inputs.", where=f"concatenations of {name}")
    outputs, _, *taps = axes[name]
    return (outputs, tuple(run for part in parts for run in axes[part][0]), *taps)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give a hint at the known name that is most like another, if any is."""
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else None


def _widths(
    shapes: Shapes, layers: Sequence[Layer], axes: Mapping[str, tuple[Axis, ...]]
) -> dict[str, int]:
    """Count the channels of every group where it is written, else where it lies alone."""
    widths: dict[str, int] = {}
    for layer in layers:
        for run in layer.writes:
            widths.setdefault(run.group, shapes[layer.weight][layer.outputs])
    for name, dims in axes.items():
        for size, axis in zip(shapes[name], dims, strict=True):
            if len(axis) == 1:
                widths.setdefault(axis[0].group, size)
    return widths


def _check_lengths(flow: Flow, name: str, shape: tuple[int, ...], owner: str) -> None:
    for size, axis in zip(shape, flow.axes[name], strict=True):
        if axis and flow.length(axis) != size:
            lengths = [flow.widths[run.group] * run.depths for run in axis]
            raise ConfigError(
                f"the {owner} reads {size} channels, but its parts have {lengths}.",
                where=f"inputs of {name}",
                hint="Describe what it reads with concatenations={...}.",
            )
