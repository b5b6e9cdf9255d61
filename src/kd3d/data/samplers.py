"""Which frames a process reads in an epoch, and in which order."""

import math
from collections.abc import Iterator, Mapping, Sequence, Sized

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import DistributedSampler

from kd3d.data.orders import FrameOrder

__all__ = ["FrameKey", "TrainingSampler", "ValidationSampler"]

FrameKey = tuple[int, int]
"""(epoch, frame number): the epoch travels with the key, so persistent workers know it too."""


class TrainingSampler(DistributedSampler[FrameKey]):
    """Every frame once per epoch in random order; the last global batch filled from its start.

    The order is a function of `seed`, `order` and the epoch alone. Global batch ``s`` is the
    ``s``-th run of ``batch_size * world_size`` frames of it, and each rank takes its part of every
    global batch. Lightning leaves a `DistributedSampler` in place and calls its `set_epoch`.

    Args:
        frames: the dataset, or anything else that has its length.
        batch_size: frames per step and rank.
        seed: of the order.
        rank: which part to yield.
        world_size: number of parts.
        order: how to shuffle; all frames by default.
        segments: ``[N]`` int64, the segment of each frame, which ``"segment_blocks"`` asks for; one
            by default.
    """

    def __init__(
        self,
        frames: Sized,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        order: FrameOrder | None = None,
        segments: ArrayLike | None = None,
    ) -> None:
        super().__init__(frames, num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.num_frames = len(frames)
        self.batch_size = batch_size
        self.steps = math.ceil(self.num_frames / (batch_size * world_size))
        #: frames that an epoch sees a second time, because its last global batch is filled up
        self.filled = self.steps * batch_size * world_size - self.num_frames
        self.order = order if order is not None else FrameOrder()
        self.segments = np.zeros(self.num_frames, np.int64) if segments is None else segments
        self._given = (0, 0)
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[FrameKey]:
        # As a generator this asks for the epoch with its first key, not before.
        epoch = self.epoch
        first = 0
        if self._resume is not None:
            first = self._resume[1] if self._resume[0] == epoch else 0
            self._resume = None
        for given, frame in enumerate(self.share(epoch)[first:].tolist(), first + 1):
            self._given = (epoch, given)
            yield epoch, frame

    def state_dict(self) -> dict[str, int]:
        """Tell the epoch of the last key, and how many of its keys were given."""
        return {"epoch": self._given[0], "given": self._given[1]}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Begin the next iteration after so many keys, if it is of the same epoch."""
        self._given = self._resume = (state["epoch"], state["given"])

    def share(self, epoch: int) -> NDArray[np.int64]:
        """Give this rank's frames of an epoch, ``[steps * batch_size]``."""
        order = self.order.frames(self.segments, seed=self.seed, epoch=epoch)
        filled = np.resize(order, (self.steps, self.num_replicas, self.batch_size))
        mine: NDArray[np.int64] = filled[:, self.rank].reshape(-1)
        return mine


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

    def share(self, epoch: int) -> Sequence[int]:
        """Give this rank's frames, the same in every epoch."""
        return self._mine

    def __iter__(self) -> Iterator[FrameKey]:
        return ((0, number) for number in self._mine)
