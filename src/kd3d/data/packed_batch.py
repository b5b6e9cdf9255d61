"""Batches on their way from a worker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kd3d.data.arrange import ArrangedPoints, lay_out
from kd3d.structures import PointBatch
from kd3d.structures.joining import number_rows
from kd3d.structures.moving import Movable

__all__ = ["PackedBatch"]


@dataclass(frozen=True, slots=True)
class PackedBatch(Movable):
    """A `PointBatch` without the frame of each point, which is made where the batch is used.

    It would be a quarter of what a worker writes, and of what is copied to the device.

    Args:
        batch: the batch, its `batch_index` empty.
        counts: points of each frame.
    """

    batch: PointBatch
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.batch)

    @classmethod
    def collate(cls, clouds: Sequence[ArrangedPoints], batch: PointBatch) -> "PackedBatch":
        """Put the points of frames together; `batch` is everything but these."""
        points = lay_out(clouds)
        return cls(replace(batch, points=points), tuple(len(cloud) for cloud in clouds))

    def decode(self) -> PointBatch:
        """Return the whole batch, on the device that this one is on."""
        points = self.batch.points
        numbers = number_rows(self.counts, points.device)
        if points.is_pinned():
            numbers = numbers.pin_memory()
        return replace(self.batch, batch_index=numbers)
