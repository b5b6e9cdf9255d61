"""Batches whose points are still pixels of range images, to be placed where they are used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd3d.data.arrange import ArrangedPoints, Arrangement, PointSteps, lay_out
from kd3d.data.pixels import PixelScan, RangePixels, move_points, with_age
from kd3d.errors import RecordError
from kd3d.structures import PointBatch
from kd3d.structures.joining import handed_over, number_rows
from kd3d.structures.moving import Movable

__all__ = ["PixelBatch", "PixelFrame"]


@dataclass(frozen=True, slots=True, eq=False)
class PixelFrame:
    """The points of one sample, to be.

    Args:
        scan: their pixels.
        arrangement: what becomes of them.
        name: what messages call the frame.
    """

    scan: PixelScan
    arrangement: Arrangement
    name: str


@dataclass(frozen=True, slots=True)
class PixelBatch(Movable):
    """A `PointBatch` whose points are still pixels.

    A worker hands over every tensor by a file of its own, so there are few: the first five fields
    hold what belongs to all frames, one after the other.

    Args:
        pixels: of all sweeps.
        motions: ``[S, 4, 4]`` float64, of all sweeps.
        orders: int64, of the arrangements, as are the next two.
        pasted: ``[P, F]`` float32.
        cleared: ``[K, 7]`` float32.
        frames: the frames, for the lengths of their parts of these and all that is no tensor.
        batch: everything but the points.
    """

    pixels: RangePixels
    motions: Tensor
    orders: Tensor
    pasted: Tensor
    cleared: Tensor
    frames: tuple["_Part", ...]
    batch: PointBatch

    def __len__(self) -> int:
        return len(self.batch)

    @classmethod
    def collate(cls, frames: Sequence[PixelFrame], batch: PointBatch) -> "PixelBatch":
        """Put frames together; `batch` is everything but their points."""
        scans = [frame.scan for frame in frames]
        arrangements = [frame.arrangement for frame in frames]
        whole = cls(
            pixels=RangePixels.concatenate([scan.pixels for scan in scans]),
            motions=torch.cat([scan.motions for scan in scans]),
            orders=torch.cat([one.order for one in arrangements]),
            pasted=torch.cat([one.pasted for one in arrangements]),
            cleared=torch.cat([one.cleared for one in arrangements]),
            frames=tuple(_Part.of(frame) for frame in frames),
            batch=batch,
        )
        return whole._map(handed_over)

    def decode(self) -> PointBatch:
        """Place and arrange the points on the device that this batch is on.

        Raises:
            RecordError: if a frame is left without points.
        """
        clouds = iter(self._sweeps())
        orders = torch.split(self.orders, [frame.points for frame in self.frames])
        pasted = torch.split(self.pasted, [frame.pasted for frame in self.frames])
        cleared = torch.split(self.cleared, [frame.cleared for frame in self.frames])
        arranged = []
        for frame, *tensors in zip(self.frames, orders, pasted, cleared, strict=True):
            recorded = torch.cat([next(clouds) for _ in range(frame.sweeps)])
            arranged.append(Arrangement(frame.steps, *tensors).apply(recorded))
            frame.check_any(arranged[-1])
        points = lay_out(arranged)
        numbers = number_rows([len(cloud) for cloud in arranged], points.device)
        return replace(self.batch, points=points, batch_index=numbers)

    def _sweeps(self) -> list[Tensor]:
        """Points of every sweep, where the vehicle is in its frame, with their age."""
        ages = [age for frame in self.frames for age in frame.ages]
        current = [place == 0 for frame in self.frames for place in range(frame.sweeps)]
        clouds = self.pixels.points()
        for place, (age, motion) in enumerate(zip(ages, self.motions, strict=True)):
            if not current[place]:
                clouds[place] = move_points(clouds[place], motion)
            if age is not None:
                clouds[place] = with_age(clouds[place], age)
        return clouds


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What of a `PixelFrame` is no tensor, and the lengths of its tensors."""

    sweeps: int
    ages: tuple[float | None, ...]
    points: int
    pasted: int
    cleared: int
    steps: PointSteps
    name: str

    @classmethod
    def of(cls, frame: PixelFrame) -> "_Part":
        given, sweeps = frame.arrangement, len(frame.scan.motions)
        return cls(
            sweeps=sweeps,
            ages=frame.scan.ages or (None,) * sweeps,
            points=len(given.order),
            pasted=len(given.pasted),
            cleared=len(given.cleared),
            steps=given.steps,
            name=frame.name,
        )

    def check_any(self, points: ArrangedPoints) -> None:
        if not len(points):
            raise RecordError(
                f"none of the frame's {self.points} points is within data.point_range.",
                where=self.name,
                hint="Leave such frames out with data.on_error=skip data.decode_on=worker.",
            )
