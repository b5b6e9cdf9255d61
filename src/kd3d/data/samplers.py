"""Which frames a process reads in an epoch, and in which order."""

import math
from collections.abc import Iterator, Sized

from torch.utils.data import DistributedSampler

from kd3d.data.keyed import keyed_generator

__all__ = ["FrameKey", "TrainingSampler", "ValidationSampler"]

FrameKey = tuple[int, int]
"""(epoch, frame number): the epoch travels with the key, so persistent workers know it too."""


class TrainingSampler(DistributedSampler[FrameKey]):
    """Every frame once per epoch in random order; the last global batch filled from its start.

    The order is a function of `seed` and the epoch alone. Global batch ``s`` is the ``s``-th run of
    ``batch_size * world_size`` frames of it, and each rank takes its part of every global batch.
    Lightning leaves a `DistributedSampler` in place and calls its `set_epoch`.

    Args:
        frames: the dataset, or anything else that has its length.
        batch_size: frames per step and rank.
        seed: of the order.
        rank: which part to yield.
        world_size: number of parts.
    """

    def __init__(
        self,
        frames: Sized,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(frames, num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.num_frames = len(frames)
        self.batch_size = batch_size
        self.steps = math.ceil(self.num_frames / (batch_size * world_size))
        #: frames that an epoch sees a second time, because its last global batch is filled up
        self.filled = self.steps * batch_size * world_size - self.num_frames

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[FrameKey]:
        order = keyed_generator("order", self.seed, self.epoch).permutation(self.num_frames)
        epoch, size, stride = self.epoch, self.batch_size, self.batch_size * self.num_replicas
        for start in range(self.rank * size, self.steps * stride, stride):
            for place in range(start, start + size):
                yield epoch, int(order[place % self.num_frames])


class ValidationSampler(DistributedSampler[FrameKey]):
    """Every frame exactly once over all ranks, in order; ranks may differ by one frame.

    The epoch of the keys is always 0: a frame is the same in every validation.

    Args:
        frames: the dataset, or anything else that has its length.
        rank: which part to yield.
        world_size: number of parts.
    """

    def __init__(self, frames: Sized, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(frames, num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._mine = range(rank, len(frames), world_size)

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[FrameKey]:
        return ((0, number) for number in self._mine)
