"""How the dense part of a detector is laid out and run."""

import torch
from torch import nn

__all__ = ["arrange_dense"]

DENSE_PARTS = ("backbone_2d", "dense_head")


def arrange_dense(detector: nn.Module, *, channels_last: bool, compiled: bool) -> None:
    """Lay out, and compile, the 2D backbone and the head of a detector, in place.

    Neither changes the names of weights, and values change by rounding only.

    Args:
        detector: a detector; parts that it does not have are passed over.
        channels_last: keep ``[B, C, H, W]`` tensors with the channels of a pixel side by side.
        compiled: compile each part with ``torch.compile`` when it first runs.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for name in DENSE_PARTS:
        part = getattr(detector, name, None)
        if part is None:
            continue
        # not .to(memory_format=...): that passes over a weight which is contiguous either way
        for parameter in part.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        if compiled:
            part.compile()
