"""Range images to points in the frame's vehicle frame.

A pixel's direction in the vehicle's frame is separable: with R the rotation of the extrinsic, row
``r`` and column ``c``, component ``k`` is ``cos(inc_r) (R_k0 cos(az_c) + R_k1 sin(az_c)) +
sin(inc_r) R_k2``. So the trigonometry of a sensor costs one row and one column, not an image.

TOP's points are moved from the vehicle's place at the instant of their pixel to its place at the
frame's pose. All of it is float64 and relative to the frame's position: at 40 km from the map's
origin one float32 step is 4 mm.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kd3d.waymo.range_image import azimuths_of, inclinations_of
from kd3d.waymo.raw import LaserCalibration, RawFrame

__all__ = ["Motion", "PointBuffer", "Points", "points_of"]

_BLOCK = 16_000  # points worked on at a time, so that temporaries stay in the processor's cache
_SMALL_ANGLE = 0.1  # radians; below it the series in _sin_cos are exact to 1e-10


class Points(NamedTuple):
    """The points of a frame; the fields are those of `kd3d.waymo.Frame`."""

    points: NDArray[np.float32]
    laser: NDArray[np.uint8]
    return_index: NDArray[np.uint8]
    range: NDArray[np.float32]
    in_nlz: NDArray[np.bool_]

    def rows(self, rows: slice) -> "Points":
        """Return views of some rows."""
        return Points(
            self.points[rows],
            self.laser[rows],
            self.return_index[rows],
            self.range[rows],
            self.in_nlz[rows],
        )


def points_of(frame: RawFrame) -> Points:
    """Return the points of a frame: laser by laser, return 1 then 2, row by row.

    Args:
        frame: the frame, its arrays consistent (the reader checks a record's).

    Returns:
        One entry per pixel with a range above 0.
    """
    sizes = (image[..., 0].size for laser in frame.lasers for image in laser.returns)
    buffer = PointBuffer(sum(sizes))
    for laser in sorted(frame.lasers, key=lambda laser: laser.name):
        motion = None if laser.pixel_pose is None else Motion(laser.pixel_pose, frame.pose)
        for number, image in enumerate(laser.returns, start=1):
            buffer.add(laser, number, image, motion)
    return buffer.finish()


class PointBuffer:
    """Collects the points of a frame, image by image.

    Args:
        expected: about how many points there will be at most. Memory that they do not fill is
            never touched, and given back at the end.
    """

    def __init__(self, expected: int) -> None:
        self._points = _room_for(expected)
        self._count = 0
        self._rays: _Rays | None = None

    def add(
        self,
        laser: LaserCalibration,
        number: int,
        image: NDArray[np.float32],
        motion: "Motion | None" = None,
    ) -> None:
        """Add the points of an image.

        Args:
            laser: the sensor.
            number: 1 or 2, the return.
            image: ``[H, W, 4]``.
            motion: the vehicle's motion during the sweep, for TOP.
        """
        pixels = np.flatnonzero(image[..., 0] > 0)
        if not len(pixels):
            return
        start, stop = self._count, self._count + len(pixels)
        self._make_room(stop)
        self._points.laser[start:stop] = laser.name
        self._points.return_index[start:stop] = number
        rays = self._rays_of(laser, *image.shape[:2])
        for first in range(0, len(pixels), _BLOCK):
            block = pixels[first : first + _BLOCK]
            rows = self._points.rows(slice(start + first, start + first + len(block)))
            values = _pixels_of(image, block)
            _copy_channels(rows, values)
            xyz = rays.points(block, values[:, 0].astype(np.float64))
            if motion is not None:
                xyz = motion.undo(xyz, block)
            for axis, placed in enumerate(xyz):
                rows.points[:, axis] = placed
        self._count = stop

    def finish(self) -> Points:
        """Return the points; the buffer is empty after that."""
        points, self._points = self._points, _room_for(0)
        columns: tuple[NDArray[Any], ...] = tuple(points)
        for values in columns:  # nobody else has seen these arrays
            values.resize((self._count, *values.shape[1:]), refcheck=False)
        self._count = 0
        return points

    def _rays_of(self, laser: LaserCalibration, height: int, width: int) -> "_Rays":
        """Return a sensor's directions; its second image comes right after its first."""
        if self._rays is None or not self._rays.are_of(laser, height, width):
            self._rays = _Rays(laser, height, width)
        return self._rays

    def _make_room(self, count: int) -> None:
        if count <= len(self._points.points):
            return
        larger = _room_for(2 * count)
        had: tuple[NDArray[Any], ...] = tuple(self._points)
        have: tuple[NDArray[Any], ...] = tuple(larger)
        for old, new in zip(had, have, strict=True):
            new[: self._count] = old[: self._count]
        self._points = larger


def _room_for(count: int) -> Points:
    return Points(
        np.empty((count, 5), np.float32),
        np.empty(count, np.uint8),
        np.empty(count, np.uint8),
        np.empty(count, np.float32),
        np.empty(count, np.bool_),
    )


def _pixels_of(image: NDArray[np.float32], pixels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return ``[K, C]``, the channels of some pixels.

    A pixel is taken as one block of bytes, not channel by channel.
    """
    channels = image.shape[2]
    opaque = image.reshape(-1, channels).view(f"V{image.itemsize * channels}")
    taken: NDArray[np.float32] = opaque[:, 0].take(pixels).view(image.dtype)
    return taken.reshape(-1, channels)


def _copy_channels(target: Points, values: NDArray[np.float32]) -> None:
    target.range[:] = values[:, 0]
    target.points[:, 3] = values[:, 1]
    target.points[:, 4] = values[:, 2]
    target.in_nlz[:] = values[:, 3] > 0


class _Rays:
    """The separable directions of a sensor's pixels in the vehicle's frame.

    Args:
        laser: the sensor.
        height: rows of its range image.
        width: columns of its range image.
    """

    def __init__(self, laser: LaserCalibration, height: int, width: int) -> None:
        inclinations, azimuths = inclinations_of(laser, height), azimuths_of(laser, width)
        self.laser, self.height, self.width = laser, height, width
        self.cosines, self.sines = np.cos(inclinations), np.sin(inclinations)
        rotation, self.origin = laser.extrinsic[:3, :3], laser.extrinsic[:3, 3]
        self.around = rotation[:, :2] @ np.stack([np.cos(azimuths), np.sin(azimuths)])
        self.upward = rotation[:, 2]

    def are_of(self, laser: LaserCalibration, height: int, width: int) -> bool:
        """Tell whether these are the directions of a sensor."""
        return self.laser is laser and (self.height, self.width) == (height, width)

    def points(
        self, pixels: NDArray[np.intp], ranges: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """Return x, y and z of pixels in the vehicle's frame of their instant."""
        rows = pixels // self.width
        columns = pixels - rows * self.width
        level, height = self.cosines.take(rows), self.sines.take(rows)
        level *= ranges
        height *= ranges
        xyz = []
        for around, upward, offset in zip(self.around, self.upward, self.origin, strict=True):
            along, above = around.take(columns), height * upward
            along *= level
            above += offset
            along += above
            xyz.append(along)
        return xyz


class Motion:
    """The vehicle's motion during a sweep.

    Args:
        pixel_pose: ``[H, W, 6]``, roll, pitch, yaw, x, y, z of vehicle to global.
        pose: ``[4, 4]``, vehicle to global of the frame.
    """

    def __init__(self, pixel_pose: NDArray[np.float32], pose: NDArray[np.float64]) -> None:
        channels = pixel_pose.shape[2]
        self.channels = np.ascontiguousarray(pixel_pose.reshape(-1, channels).T)
        self.to_frame = np.linalg.inv(pose[:3, :3])
        self.position = pose[:3, 3]

    def undo(
        self, xyz: list[NDArray[np.float64]], pixels: NDArray[np.intp]
    ) -> list[NDArray[np.float64]]:
        """Move points from the vehicle's frame of their pixel's instant to that of the frame."""
        x, y, z = xyz
        poses = [channel.take(pixels).astype(np.float64) for channel in self.channels]
        y, z = _turn(y, z, poses[0])
        z, x = _turn(z, x, poses[1])
        x, y = _turn(x, y, poses[2])
        for values, place, position in zip((x, y, z), poses[3:], self.position, strict=True):
            place -= position
            values += place
        moved = []
        for row in self.to_frame:
            values = row[0] * x
            values += row[1] * y
            values += row[2] * z
            moved.append(values)
        return moved


def _turn(
    first: NDArray[np.float64], second: NDArray[np.float64], angles: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotate by angles from the first axis towards the second."""
    sine, cosine = _sin_cos(angles)
    turned = cosine * first
    turned -= sine * second
    sine *= first
    cosine *= second
    sine += cosine
    return turned, sine


def _sin_cos(angles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sine and cosine; for angles close together by the addition theorem, ten times faster.

    A car turns by a few degrees during a sweep, so each angle is a middle one plus a small rest.
    """
    low, high = angles.min(), angles.max()
    middle = 0.5 * (low + high)
    if not high - middle <= _SMALL_ANGLE:
        return np.sin(angles), np.cos(angles)
    rest = angles - middle
    square = rest * rest
    sine = _minus(1 / 6, square / 120)
    sine = _minus(1, np.multiply(square, sine, out=sine))
    sine *= rest
    cosine = _minus(1 / 24, square / 720)
    cosine = _minus(0.5, np.multiply(square, cosine, out=cosine))
    cosine = _minus(1, np.multiply(square, cosine, out=cosine))
    a, b = np.sin(middle), np.cos(middle)
    whole_sine = a * cosine
    whole_sine += b * sine
    cosine *= b
    sine *= a
    cosine -= sine
    return whole_sine, cosine


def _minus(number: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract values from a number, in their place."""
    return np.subtract(number, values, out=values)
