"""In which order an epoch goes through the frames."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kd3d.data.keyed import keyed_generator
from kd3d.errors import ConfigError

__all__ = ["FrameOrder", "Shuffle"]

Shuffle = Literal["frames", "segment_blocks", "none"]


@dataclass(frozen=True, slots=True)
class FrameOrder:
    """How to shuffle the frames of an epoch.

    ``"frames"`` draws from the whole dataset. ``"segment_blocks"`` is for spinning disks and
    buckets: each segment is cut into blocks of consecutive frames, at places that change from epoch
    to epoch; blocks come in random order, and so many of them at a time are read side by side, each
    from its first frame to its last, taking turns. Reading stays sequential within few places,
    while a batch holds frames of different blocks. ``"none"`` keeps the order of the files.

    Args:
        shuffle: ``"frames"``, ``"segment_blocks"`` or ``"none"``.
        block_frames: frames of a block, about; the blocks at a segment's ends are shorter.
        mixed_blocks: how many blocks are read side by side. With twice as many as a global batch
            has frames, a batch hardly ever holds two neighbours (but in the epoch's last blocks).

    Raises:
        ConfigError: if an option cannot work.
    """

    shuffle: Shuffle = "frames"
    block_frames: int = 20
    mixed_blocks: int = 32

    def __post_init__(self) -> None:
        known = ("frames", "segment_blocks", "none")
        if self.shuffle not in known:
            raise ConfigError(
                f"{self.shuffle!r} is no order of frames.",
                where="data.shuffle",
                hint=f"Say one of {', '.join(known)}.",
            )
        for option in ("block_frames", "mixed_blocks"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{getattr(self, option)} is below 1.", where=f"data.{option}")

    def frames(self, segments: ArrayLike, *, seed: int, epoch: int) -> NDArray[np.int64]:
        """Give the frames of an epoch in order: a function of the arguments alone.

        Args:
            segments: ``[N]`` int64, which segment each frame belongs to; the frames of a segment
                are neighbours, in time.
            seed: of the order.
            epoch: from 0.

        Returns:
            ``[N]`` int64, every frame number once.
        """
        segments = np.asarray(segments)
        if self.shuffle == "none":
            return np.arange(len(segments))
        draws = keyed_generator("order", seed, epoch)
        if self.shuffle == "frames":
            return draws.permutation(len(segments))
        return self._mix(self._blocks(segments, draws), draws)

    def _blocks(self, segments: NDArray[np.int64], draws: np.random.Generator) -> NDArray[np.int64]:
        """Number the block that each frame is in, ``[N]``, from 0 in the order of the files."""
        if not len(segments):
            return np.zeros(0, np.int64)
        new_segment = np.flatnonzero(np.diff(segments, prepend=segments[0] - 1))
        lengths = np.diff(new_segment, append=len(segments))
        shifts = draws.integers(self.block_frames, size=len(new_segment))
        place = np.arange(len(segments)) - np.repeat(new_segment - shifts, lengths)
        starts = place % self.block_frames == 0
        starts[new_segment] = True
        blocks: NDArray[np.int64] = np.cumsum(starts) - 1
        return blocks

    def _mix(self, blocks: NDArray[np.int64], draws: np.random.Generator) -> NDArray[np.int64]:
        """Order the frames: groups of random blocks, of which each takes its turns evenly."""
        lengths = np.bincount(blocks)
        group = (draws.permutation(len(lengths)) // self.mixed_blocks)[blocks]
        first = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        within = np.arange(len(blocks)) - first[blocks]
        turn = (within + draws.random(len(lengths))[blocks]) / lengths[blocks]
        return np.lexsort((blocks, turn, group))
