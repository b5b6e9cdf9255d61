"""Run a model and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from kd3d.errors import InputError

__all__ = ["evaluating"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode without gradients, and give it its state back at the end.

    Modes come back module by module, and buffers that a pass has changed or replaced.

    Raises:
        InputError: if the model is lazy and has no shapes yet.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                "has no shape yet.", where=name, hint="Run the model once before this."
            )
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    model.eval()
    try:
        # not inference mode: a tensor that a module keeps must stay usable in training
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, version, content in buffers:
                if buffer._version != version:
                    buffer.copy_(content)
                module._buffers[name] = buffer
