"""Small constants on a tensor's device."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["constant"]


def constant(values: Sequence[float], like: Tensor) -> Tensor:
    """Make a vector of numbers without a copy from the host.

    Equal to ``like.new_tensor(values)``, which on CUDA waits until everything queued before it is
    done; here every number is written by a fill on the device itself.

    Args:
        values: at least one number.
        like: gives dtype and device.

    Returns:
        ``[len(values)]`` in the dtype and on the device of `like`.
    """
    return torch.stack([like.new_full((), value) for value in values])
