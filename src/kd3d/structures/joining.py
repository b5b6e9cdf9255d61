"""Joining tensors of frames, in a loader's worker right where the other process will read them."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["handed_over", "hands_over", "join", "number_rows"]


def join(frames: Sequence[Tensor]) -> Tensor:
    """Concatenate ``[N_i, F]`` tensors along their rows; the result is `handed_over`."""
    return handed_over(torch.cat(list(frames)))


def number_rows(counts: Sequence[int], device: torch.device) -> Tensor:
    """Say for every row of joined frames which one it came from.

    Args:
        counts: rows of each frame.
        device: where the result is made, without waiting for it.

    Returns:
        ``[N]`` int64, ascending; `handed_over`.
    """
    numbers = torch.empty(sum(counts), dtype=torch.int64, device=device)
    for place, part in enumerate(torch.split(numbers, list(counts))):
        part.fill_(place)
    return handed_over(numbers)


def hands_over(tensor: Tensor) -> bool:
    """Tell whether `handed_over` copies tensors like this one: in a worker of a ``DataLoader``."""
    return (
        get_worker_info() is not None
        and tensor.device.type == "cpu"
        and hasattr(os, "memfd_create")  # on Linux
    )


def handed_over(tensor: Tensor) -> Tensor:
    """In a worker, bring a tensor to memory that the other process can read.

    Left to itself, torch does so when the tensor is sent, and touches that memory page by page for
    the first time: a fault for each, which takes longer than the copy. Written as a file it has
    none.

    Returns:
        the same values in shared memory; outside of a worker the tensor itself.
    """
    if not hands_over(tensor) or not tensor.numel():
        return tensor
    content = tensor.contiguous().flatten().numpy().data.cast("B")
    file = os.memfd_create("kd3d")
    try:
        written = 0
        while written < len(content):
            written += os.write(file, content[written:])
        storage = torch.UntypedStorage._new_shared_fd_cpu(  # type: ignore[attr-defined]
            file, len(content)
        )
    finally:
        os.close(file)  # the storage has one of its own
    return torch.empty(0, dtype=tensor.dtype).set_(storage).view(tensor.shape)
