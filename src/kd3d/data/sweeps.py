"""Several sweeps as one scan: what was seen just before, moved to where the vehicle is now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.data.derived import DerivedFrames
from kd3d.data.lookahead import ReadsAhead
from kd3d.data.pixels import PixelScan, RangePixels, move_points, pixel_source, with_age
from kd3d.data.source import Scan
from kd3d.errors import ConfigError, RecordError

__all__ = ["SweptFrames", "between_poses"]


@dataclass(frozen=True, slots=True, eq=False)
class SweptFrames(DerivedFrames):
    """Frames with the points of those recorded just before; a `kd3d.data.FrameSource`.

    The current frame's points come first, then those of the frame before, and so on back in time.
    Older points are moved by ``inv(pose now) @ pose then`` in float64: what stands still stays
    where it is, what moves leaves a trail. A last feature tells each point's time in seconds, 0 for
    the current frame and below for the older ones. Sweeps never reach over a segment's beginning,
    so a segment's first frames have fewer. Boxes, labels and names are the current frame's.

    Each frame that is read decodes up to `sweeps` frames. If one of them is damaged, so is this.

    Args:
        source: all recorded frames, each with a pose and a time. To train on some of them, choose
            afterwards, so that the frames before are still those that were recorded before.
        sweeps: how many frames make one, the current one included.

    Raises:
        ConfigError: if `sweeps` is below 1.
    """

    sweeps: int

    def __post_init__(self) -> None:
        if self.sweeps < 1:
            raise ConfigError(f"{self.sweeps} is below 1.", where="data.sweeps")
        object.__setattr__(self, "_segments", self.source.segments)

    def expect(self, frames: Sequence[int]) -> None:
        """Tell the source which frames are read next, earlier ones included."""
        if isinstance(self.source, ReadsAhead):
            self.source.expect([each for frame in frames for each in self.members(frame)])

    def members(self, frame: int) -> list[int]:
        """Frames of `source` that make a frame, the current one first."""
        reach = range(frame, max(frame - self.sweeps, -1), -1)
        return [then for then in reach if self._segments[then] == self._segments[frame]]

    def read(self, frame: int) -> Scan:
        """Read a frame and the ones before it.

        Returns:
            The current frame's scan, its points ``[N, F + 1]``.

        Raises:
            RecordError: if one of the frames is damaged, or has no pose or no time.
        """
        members = self.members(frame)
        now = self.source.read(members[0])
        clouds = [with_age(now.points, 0.0)]
        for member in members[1:]:
            then = self.source.read(member)
            motion, age = self._relation(now, then, member)
            clouds.append(with_age(move_points(then.points, motion), age))
        return replace(now, points=torch.cat(clouds))

    def read_pixels(self, frame: int) -> tuple[Scan, PixelScan]:
        """Read a frame and the ones before it, their points left to the device.

        Raises:
            ConfigError: if the source has no range images.
            RecordError: as `read` does.
        """
        members = self.members(frame)
        now, current = pixel_source(self.source).read_pixels(members[0])
        pixels, motions, ages = [current.pixels], [torch.eye(4, dtype=torch.float64)], [0.0]
        for member in members[1:]:
            then, earlier = pixel_source(self.source).read_pixels(member)
            motion, age = self._relation(now, then, member)
            pixels.append(earlier.pixels)
            motions.append(motion)
            ages.append(age)
        scan = replace(now, points=with_age(now.points, 0.0))
        sweeps = RangePixels.concatenate(pixels)
        return scan, PixelScan(sweeps, torch.stack(motions), tuple(ages))

    def _relation(self, now: Scan, then: Scan, member: int) -> tuple[Tensor, float]:
        """Give the motion from an earlier frame to the current one, and its age (below 0)."""
        if now.pose is None or then.pose is None or now.time is None or then.time is None:
            raise RecordError(
                "several sweeps need the pose and the time of every frame, which are missing.",
                where=self.source.name(member),
                hint="Set data.sweeps=1, or store pose and time with each frame.",
            )
        return torch.from_numpy(between_poses(now.pose, then.pose)), then.time - now.time


def between_poses(now: NDArray[np.float64], then: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give ``inv(now) @ then``, exact far from the origin: positions are subtracted first.

    Args:
        now: ``[4, 4]`` float64, vehicle to a fixed frame.
        then: ``[4, 4]`` float64, the same at another time.

    Returns:
        ``[4, 4]`` float64, from the vehicle's frame then to its frame now.
    """
    motion = np.eye(4)
    shifted = np.concatenate([then[:3, :3], then[:3, 3:] - now[:3, 3:]], axis=1)
    motion[:3] = np.linalg.solve(now[:3, :3], shifted)
    return motion
