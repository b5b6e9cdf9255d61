"""Weights of OpenPCDet and its forks."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.detectors import Detector
from kd3d.errors import CheckpointError

__all__ = ["ImportReport", "import_openpcdet"]

HEAD = "dense_head.heads_list.0."
NOT_WEIGHTS = ("global_step",)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of every key.

    Args:
        taken: their key -> our key, of the tensors that were copied.
        missing: our keys that got nothing.
        unexpected: their keys that have no place in the detector.
        mismatched: their key -> (their shape, our shape).
        ignored: their keys that are no weights, such as step counters.
    """

    taken: dict[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    ignored: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every tensor of either side found its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.taken)} tensors taken, {len(self.ignored)} ignored"]
        lines += [f"missing: {key}" for key in self.missing]
        lines += [f"unexpected: {key}" for key in self.unexpected]
        lines += [
            f"shape mismatch: {key} is {theirs}, the detector has {ours}"
            for key, (theirs, ours) in self.mismatched.items()
        ]
        return "\n".join(lines)


def import_openpcdet(
    state_dict: Mapping[str, Tensor], detector: Detector, *, strict: bool = True
) -> ImportReport:
    """Copy the weights of an OpenPCDet detector into the same detector of ours.

    The pillar family differs in names alone.

    Args:
        state_dict: OpenPCDet's tensors by key (``checkpoint["model_state"]``).
        detector: the detector that takes them, in place.
        strict: refuse, and change nothing, unless every tensor of either side finds its place.

    Raises:
        CheckpointError: if `strict` and some tensor does not; the message holds the report.
    """
    own = detector.state_dict()
    taken: dict[str, str] = {}
    unexpected: list[str] = []
    ignored: list[str] = []
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for key, tensor in state_dict.items():
        name = _rename(key)
        if key in NOT_WEIGHTS:
            ignored.append(key)
        elif name not in own:
            unexpected.append(key)
        elif own[name].shape != tensor.shape:
            mismatched[key] = (tuple(tensor.shape), tuple(own[name].shape))
        else:
            taken[key] = name
    filled = {*taken.values(), *map(_rename, mismatched)}
    report = ImportReport(
        taken=taken,
        missing=tuple(name for name in own if name not in filled),
        unexpected=tuple(unexpected),
        mismatched=mismatched,
        ignored=tuple(ignored),
    )
    if strict and not report.complete:
        raise CheckpointError(
            f"the weights are not those of {detector.name} as it was created.\n{report}\n",
            where="state_dict",
            hint="Create the detector with the checkpoint's classes, features and widths, "
            "or pass strict=False.",
        )
    with torch.no_grad():
        for key, name in taken.items():
            own[name].copy_(state_dict[key])
    return report


def _rename(key: str) -> str:
    """Give our name of one of OpenPCDet's keys."""
    if not key.startswith(HEAD):
        return key
    branch = key.removeprefix(HEAD)
    if branch.startswith("hm."):
        branch = "heatmap." + branch.removeprefix("hm.")
    return "dense_head.branches." + branch
