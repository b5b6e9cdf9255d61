"""Profile a network: the function behind `kd3d.profile`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import InputError
from kd3d.profiling.cost import Convention, check_convention
from kd3d.profiling.counting import count_modules
from kd3d.profiling.latency import Latency, time_passes
from kd3d.profiling.memory import measure_peak
from kd3d.profiling.result import Profile
from kd3d.profiling.rules import Rule, rule_table
from kd3d.profiling.stages import Call, make_pass
from kd3d.profiling.state import evaluating
from kd3d.structures import PointBatch

__all__ = ["profile"]


def profile(
    model: nn.Module,
    batch: Any,  # noqa: ANN401 - whatever the model takes
    *,
    call: Call | None = None,
    convention: Convention = "true",
    repeats: int = 10,
    warmup: int = 2,
    memory: bool = True,
    rules: Mapping[type[nn.Module], Rule] | None = None,
    name: str | None = None,
) -> Profile:
    """Count what a network costs on a batch, and measure how long it takes.

    Works on any module, by forward hooks: nothing is patched, and the model keeps its modes,
    buffers and hooks. It runs in evaluation mode without gradients: once to be counted, once for
    the memory, and for the latency. Counted are convolutions and transposed convolutions, linear
    layers, norms, the sparse convolutions of kd3d and of spconv (by the pairs of cells that really
    meet, whatever engine and device), and the encoder of pillars; see `Cost` for the two
    conventions. A module with parameters that no rule covers, or that is never called, is named in
    `Profile.gaps`. What a model computes outside of modules is not seen.

    A `Detector` goes from raw points to boxes, and a `CenterPoint` is timed in its stages:
    voxelise, encode, backbone, head, decode, nms. Every other model is ``model(batch)``.

    Args:
        model: any module, on its device. Profile it before ``torch.compile``.
        batch: what it takes. Tensors and `PointBatch` are moved to the model's device.
        call: how the model is run, ``call(model, batch)``, if not as above.
        convention: what `Profile.macs`, `flops` and `activations` give; both are always counted.
        repeats: timed passes; 0 measures no latency.
        warmup: passes before them.
        memory: whether to measure the peak of memory.
        rules: cost of one call for further kinds of modules, or instead of the built-in rules.
        name: what the network is called in the result; by default a detector's own name, or its
            class.

    Raises:
        ConfigError: if there is no such convention.
        InputError: if the batch is empty, the model is lazy and has no shapes yet, or `repeats` or
            `warmup` is negative.
    """
    check_convention(convention)
    _check_batch(batch)
    if repeats < 0:
        raise InputError(f"cannot be {repeats}.", where="repeats", hint="0 measures no latency.")
    device = _device_of(model, batch)
    if repeats and device.type == "meta":
        raise InputError(
            "nothing runs on the meta device, so there is no latency.",
            where="model",
            hint="Ask for repeats=0.",
        )
    if isinstance(batch, Tensor | PointBatch):
        batch = batch.to(device)
    run = make_pass(model, batch, call)
    latency: dict[str, Latency] = {}
    with evaluating(model):
        root = count_modules(model, lambda: run(_unmarked), rule_table(rules))
        peak = measure_peak(model, lambda: run(_unmarked), device) if memory else None
        if repeats:
            latency = time_passes(run, device, repeats=repeats, warmup=warmup)
    return Profile(
        name=name or str(getattr(model, "name", type(model).__name__)),
        root=root,
        convention=convention,
        batch_size=_batch_size(batch),
        device=_device_name(device),
        latency=latency,
        memory=peak,
    )


def _unmarked(stage: str) -> None:
    """Mark nothing: for passes that are not timed."""


def _check_batch(batch: Any) -> None:  # noqa: ANN401
    size = _batch_size(batch)
    if size == 0 or (isinstance(batch, PointBatch) and not len(batch.points)):
        what = "no frame" if size == 0 else "no point"
        raise InputError(
            f"holds {what}, so there is nothing to count.",
            where="batch",
            hint="Give at least one frame with points.",
        )


def _batch_size(batch: Any) -> int | None:  # noqa: ANN401
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else None
    return len(batch) if isinstance(batch, PointBatch) else None


def _device_of(model: nn.Module, batch: Any) -> torch.device:  # noqa: ANN401
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    device = getattr(batch, "device", None)
    return device if isinstance(device, torch.device) else torch.device("cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
