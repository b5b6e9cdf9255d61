"""Memory that is used again for every frame.

Memory that a process touches for the first time costs a page fault for every 4 KiB, and is in no
cache: laying out the points of a frame takes half of the time where others were laid out before.
"""

import threading

import torch
from torch import Tensor

__all__ = ["Scratch"]


class Scratch(threading.local):
    """Room for one tensor at a time; every thread has its own, as large as it ever needed."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def room(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Give an uninitialised tensor that is good until the next call.

        Args:
            like: whose type and device it has. Only on the CPU memory is kept.
            shape: its shape.
        """
        if like.device.type != "cpu":
            return like.new_empty(shape)
        size = torch.Size(shape).numel() * like.element_size()
        if size > len(self._memory):
            self._memory = torch.empty(size + size // 4, dtype=torch.uint8)
        return self._memory[:size].view(like.dtype).view(shape)
