"""Joining tensors of frames, in a loader's worker right where the other process will read them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["join", "number_rows"]


def join(frames: Sequence[Tensor]) -> Tensor:
    """Concatenate ``[N_i, F]`` tensors along their rows.

    In a worker of a ``DataLoader`` the result lies in shared memory from the start, so that handing
    it over does not copy it once more (what torch's own collation does for stacks).
    """
    rows = sum(len(frame) for frame in frames)
    out = _shared(frames[0], (rows, *frames[0].shape[1:]))
    return torch.cat(list(frames)) if out is None else torch.cat(list(frames), out=out)


def number_rows(frames: Sequence[Tensor]) -> Tensor:
    """Say for every row of `join` which frame it came from: ``[N]`` int64."""
    counts = [len(frame) for frame in frames]
    number = torch.zeros(0, dtype=torch.int64, device=frames[0].device)
    out = _shared(number, (sum(counts),))
    if out is None:
        out = number.new_empty(sum(counts))
    for place, part in enumerate(torch.split(out, counts)):
        part.fill_(place)
    return out


def _shared(like: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Make an empty tensor in shared memory; None outside of a worker."""
    if get_worker_info() is None or like.device.type != "cpu":
        return None
    count = torch.Size(shape).numel()
    size = count * like.element_size()
    storage = torch.UntypedStorage._new_shared(size, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=like.dtype).set_(storage).view(shape)
