"""Starting a network from whatever fits of a checkpoint."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kd3d.detectors.checkpoint import read_checkpoint
from kd3d.errors import CheckpointError
from kd3d.training.globs import check_globs, matching

__all__ = ["StartedTensor", "WarmStartReport", "warm_start"]

Outcome = Literal["loaded", "shape", "missing", "excluded", "unused"]

_CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")
"""Where checkpoints keep their weights: Lightning, OpenPCDet, and what others write."""

_WORDS: dict[Outcome, str] = {
    "loaded": "loaded",
    "shape": "of another shape",
    "missing": "not in the checkpoint",
    "excluded": "excluded",
    "unused": "of the checkpoint without a place",
}


@dataclass(frozen=True, slots=True)
class StartedTensor:
    """What became of one tensor.

    Args:
        name: in the network's state dict; of an ``unused`` one, in the checkpoint's.
        outcome: ``loaded``, or why not: another ``shape``, ``missing`` in the checkpoint, or
            ``excluded`` by the patterns; ``unused`` if the network has no such tensor.
        shape: the network's; None if it has no such tensor.
        found: the checkpoint's; None if it has no such tensor.
    """

    name: str
    outcome: Outcome
    shape: tuple[int, ...] | None
    found: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class WarmStartReport:
    """What `warm_start` loaded, what it left, and why.

    Args:
        source: the checkpoint.
        tensors: one entry per tensor, the network's in its own order, then the checkpoint's others.
    """

    source: str
    tensors: tuple[StartedTensor, ...]

    def names(self, outcome: Outcome) -> list[str]:
        """Give the names of the tensors with an outcome."""
        return [tensor.name for tensor in self.tensors if tensor.outcome == outcome]

    def __str__(self) -> str:
        counts = Counter(tensor.outcome for tensor in self.tensors)
        total = sum(tensor.shape is not None for tensor in self.tensors)
        others = [f"{counts[kind]} {_WORDS[kind]}" for kind in _WORDS if kind != "loaded"]
        told = [text for text in others if not text.startswith("0 ")]
        return ", ".join(
            [f"{counts['loaded']} of {total} tensors loaded from {self.source}", *told]
        )

    def table(self) -> str:
        """Give one line per tensor: what became of it, its name and both shapes."""
        lines = [str(self), ""]
        for tensor in self.tensors:
            shapes = " <- ".join(
                "none" if shape is None else str(list(shape))
                for shape in (tensor.shape, tensor.found)
            )
            lines.append(f"{tensor.outcome:<9} {tensor.name}  {shapes}")
        return "\n".join(lines) + "\n"


def warm_start(
    network: nn.Module,
    checkpoint: str | Path,
    *,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> WarmStartReport:
    """Load the weights of a checkpoint whose names and shapes fit, and leave everything else.

    Parameters and buffers (running statistics too) are matched by name. The checkpoint may be of
    another network, of other classes, or wrapped: a prefix of all its names, such as ``detector.``,
    is found by itself.

    Args:
        network: changed in place.
        checkpoint: a file of plain tensors: of kd3d, Lightning, OpenPCDet, or a state dict.
        include: patterns of the network's names that may be loaded.
        exclude: patterns of those that may not; they win over `include`.

    Returns:
        what became of every tensor.

    Raises:
        CheckpointError: if the file is missing, damaged or unsafe, or nothing in it fits.
        ConfigError: if a pattern matches no tensor of the network.
    """
    target = network.state_dict()
    chosen = _matched(target, include, "init.include") - _matched(target, exclude, "init.exclude")
    given, prefix = _weights(read_checkpoint(checkpoint), target)
    source = {
        name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)
    }
    entries = [
        StartedTensor(
            name,
            _outcome(name, value, source, chosen),
            tuple(value.shape),
            tuple(source[name].shape) if name in source else None,
        )
        for name, value in target.items()
    ]
    report = WarmStartReport(Path(checkpoint).name, (*entries, *_unused(given, prefix, target)))
    loaded = report.names("loaded")
    if not loaded:
        raise CheckpointError(
            f"nothing in it fits: {report}.",
            where=str(checkpoint),
            hint=_why_nothing(given, target),
        )
    with torch.no_grad():
        for name in loaded:
            target[name].copy_(source[name])
    return report


def _matched(target: Mapping[str, Tensor], globs: Sequence[str], where: str) -> set[str]:
    return {name for glob in check_globs(globs, where) for name in matching(target, glob, where)}


def _outcome(name: str, value: Tensor, source: Mapping[str, Tensor], chosen: set[str]) -> Outcome:
    if name not in chosen:
        return "excluded"
    if name not in source:
        return "missing"
    return "loaded" if source[name].shape == value.shape else "shape"


def _unused(
    given: Mapping[str, Tensor], prefix: str, target: Mapping[str, Tensor]
) -> list[StartedTensor]:
    return [
        StartedTensor(name, "unused", None, tuple(value.shape))
        for name, value in given.items()
        if not name.startswith(prefix) or name.removeprefix(prefix) not in target
    ]


def _weights(
    content: Mapping[str, Any], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Find a checkpoint's tensors by name, and the prefix under which most are the network's."""
    held = next(
        (content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), content
    )
    given = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    prefixes = Counter(
        name[: len(name) - len(own)]
        for own in target
        for name in given
        if name == own or name.endswith(f".{own}")
    )
    best = max(prefixes, key=lambda prefix: (prefixes[prefix], -len(prefix)), default="")
    return given, best


def _why_nothing(given: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    if not given:
        return f"It holds no tensors under {', '.join(_CONTAINERS)}, nor at its top."
    return (
        f"Its names are like {next(iter(given))}, the network's like {next(iter(target))}. Weights "
        "of OpenPCDet's sparse layers go through kd3d-convert."
    )
