"""Telling a source behind a network what its worker reads next."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from kd3d.data.samplers import FrameKey
from kd3d.data.source import FrameSource

__all__ = ["Lookahead", "ReadsAhead", "lookahead_for"]


@runtime_checkable
class ReadsAhead(Protocol):
    """A `FrameSource` that can fetch frames before they are read."""

    @property
    def reads_ahead(self) -> bool:
        """Whether it is worth telling it what comes next."""

    def expect(self, frames: Sequence[int]) -> None:
        """Hear which frames this process reads next, in order; it may fetch them meanwhile."""


class Lookahead:
    """Announces to a source the batch that a worker was asked for, and the one it reads after that.

    A loader gives its batches to its workers in turn. What comes next thus follows from the order
    of the epoch and the place of the batch in it; a wrong guess costs time, never a wrong frame.

    Args:
        source: what to tell.
        share: gives the frames that the loader's process reads in an epoch, in order.
        batch_size: frames of a batch.
        num_frames: frames of the source.
    """

    def __init__(
        self,
        source: ReadsAhead,
        share: Callable[[int], Sequence[int] | NDArray[np.int64]],
        *,
        batch_size: int,
        num_frames: int,
    ) -> None:
        self.source = source
        self.share = share
        self.batch_size = batch_size
        self.num_frames = num_frames
        self._epoch: int | None = None
        self._frames = np.empty(0, np.int64)
        self._place_of = np.empty(0, np.int64)

    def announce(self, keys: Sequence[FrameKey | int]) -> None:
        """Tell the source what follows from a batch's keys."""
        numbers = [key if isinstance(key, int) else key[1] for key in keys]
        epoch = 0 if isinstance(keys[0], int) else keys[0][0]
        worker = get_worker_info()
        stride = self.batch_size * (worker.num_workers if worker is not None else 1)
        self._turn_to(epoch)
        start = self._place_of[numbers[0]] + stride
        following = self._frames[start : start + self.batch_size].tolist()
        self.source.expect(list(chain(numbers, following)))

    def _turn_to(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._frames = np.asarray(self.share(epoch))
        self._place_of = np.full(self.num_frames, self.num_frames)
        # Backwards, so that a frame that comes again at the end keeps its first place.
        self._place_of[self._frames[::-1]] = np.arange(len(self._frames))[::-1]


def lookahead_for(
    source: FrameSource,
    share: Callable[[int], Sequence[int] | NDArray[np.int64]],
    batch_size: int,
) -> Lookahead | None:
    """Make a `Lookahead` for a source that likes to hear what comes; None for any other one."""
    if not (isinstance(source, ReadsAhead) and source.reads_ahead):
        return None
    return Lookahead(source, share, batch_size=batch_size, num_frames=len(source))
