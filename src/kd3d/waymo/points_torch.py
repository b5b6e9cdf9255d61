"""Range images to points in torch, on any device: what `kd3d.waymo.points` does after the inflate.

What inflates a record keeps the pixels that are points, their places in the image, and small tables
of the sensors' directions (see `kd3d.waymo.points` for the formulas). Everything per point is left
to the device: two look-ups, a product, and for TOP the vehicle's motion, all in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.structures.moving import Movable
from kd3d.waymo.frame import Frame
from kd3d.waymo.laser_reader import LaserStreams, damaged, lasers_of
from kd3d.waymo.payload import parse_frame
from kd3d.waymo.range_image import azimuths_of, inclinations_of
from kd3d.waymo.raw import LaserCalibration
from kd3d.waymo.raw_reader import pose_of
from kd3d.waymo.reader import decode_frame

__all__ = ["RangePixels", "decode_pixels"]

_LARGEST = 1e30  # beyond it a coordinate may not be a float32 any more


@dataclass(frozen=True, slots=True)
class RangePixels(Movable):
    """The pixels of K frames that are points, in the order of `kd3d.waymo.points_of`.

    Args:
        values: ``[N, 3]`` float32, range in metres, raw intensity, elongation.
        rows: ``[N]`` int32, each point's place in `beams`.
        columns: ``[N]`` int32, each point's place in `directions`.
        beams: ``[R, 8]`` float64, per row of a sensor: cosine and sine of its inclination, then the
            sensor's upward direction and its position in the vehicle's frame.
        directions: ``[C, 3]`` float64, where a column looks in the sensor's plane.
        poses: ``[P, 6]`` float32, roll, pitch, yaw, x, y, z of the vehicle when a point was
            measured, for the points of TOP, which come first in their frame.
        frames: ``[K, 3, 4]`` float64, the inverse of the frame's rotation beside its position.
        sizes: for each frame its points, and how many of them have poses.
    """

    values: Tensor
    rows: Tensor
    columns: Tensor
    beams: Tensor
    directions: Tensor
    poses: Tensor
    frames: Tensor
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return sum(points for points, _ in self.sizes)

    @classmethod
    def concatenate(cls, parts: Sequence["RangePixels"]) -> "RangePixels":
        """Put the frames of several together, in order."""
        row, column = 0, 0
        rows, columns = [], []
        for part in parts:
            rows.append(part.rows + row)
            columns.append(part.columns + column)
            row, column = row + len(part.beams), column + len(part.directions)
        return cls(
            values=torch.cat([part.values for part in parts]),
            rows=torch.cat(rows),
            columns=torch.cat(columns),
            beams=torch.cat([part.beams for part in parts]),
            directions=torch.cat([part.directions for part in parts]),
            poses=torch.cat([part.poses for part in parts]),
            frames=torch.cat([part.frames for part in parts]),
            sizes=tuple(size for part in parts for size in part.sizes),
        )

    def points(self) -> list[Tensor]:
        """Place the points, without waiting for the device.

        Returns:
            per frame ``[N_k, 5]`` float32: x, y, z in metres in the vehicle's frame, intensity,
            elongation. They differ from those of `kd3d.waymo.decode_frame` by rounding, at most a
            float32 step.
        """
        beams = self.beams.index_select(0, self.rows)
        reach = beams[:, :2] * self.values[:, :1]
        xyz = self.directions.index_select(0, self.columns) * reach[:, :1]
        xyz += reach[:, 1:] * beams[:, 2:5] + beams[:, 5:]
        clouds, first, first_pose = [], 0, 0
        for (count, posed), frame in zip(self.sizes, self.frames, strict=True):
            poses = self.poses[first_pose : first_pose + posed]
            placed = xyz[first : first + count]
            placed = torch.cat((_undo_motion(placed[:posed], poses, frame), placed[posed:]))
            features = self.values[first : first + count, 1:]
            clouds.append(torch.cat((placed.float(), features), dim=1))
            first, first_pose = first + count, first_pose + posed
        return clouds


def decode_pixels(payload: bytes, where: str) -> tuple[Frame, RangePixels]:
    """Inflate a record, but leave the points to `RangePixels.points`.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Returns:
        The frame without points, and its pixels.

    Raises:
        RecordError: as `kd3d.waymo.decode_frame` does.
    """
    message = parse_frame(payload, where)
    lasers = lasers_of(message, where)
    pose = pose_of(message, where, needed=any(one.pixel_pose is not None for one in lasers))
    with np.errstate(all="ignore"):  # what overflows or is not a number is refused here
        pixels = _pixels(lasers, pose, where)
    message.ClearField("lasers")
    return decode_frame(message.SerializeToString(), where), pixels


class _Table:
    """Collects the parts of a `RangePixels`, image by image."""

    def __init__(self) -> None:
        self.values = [np.empty((0, 3), np.float32)]
        self.rows = [np.empty(0, np.int32)]
        self.columns = [np.empty(0, np.int32)]
        self.poses = [np.empty((0, 6), np.float32)]
        self.beams = [np.empty((0, 8))]
        self.directions = [np.empty((0, 3))]
        self.num_rows = self.num_columns = 0

    def add(self, image: NDArray[np.float32], poses: NDArray[np.float32] | None) -> None:
        """Add the points of an image of the sensor that `add_sensor` tells next."""
        pixels = np.flatnonzero(image[..., 0] > 0)
        rows, columns = np.divmod(pixels.astype(np.int32), np.int32(image.shape[1]))
        self.values.append(_take(image, pixels)[:, :3])
        self.rows.append(rows + np.int32(self.num_rows))
        self.columns.append(columns + np.int32(self.num_columns))
        if poses is not None:
            self.poses.append(_take(poses, pixels))

    def add_sensor(self, laser: LaserCalibration, height: int, width: int) -> None:
        """Add the directions of a sensor, after its images."""
        inclinations, azimuths = inclinations_of(laser, height), azimuths_of(laser, width)
        rotation, origin = laser.extrinsic[:3, :3], laser.extrinsic[:3, 3]
        turns = np.stack([np.cos(inclinations), np.sin(inclinations)], axis=1)
        placed = np.broadcast_to(np.concatenate([rotation[:, 2], origin]), (height, 6))
        self.beams.append(np.concatenate([turns, placed], axis=1))
        around = rotation[:, :2] @ np.stack([np.cos(azimuths), np.sin(azimuths)])
        self.directions.append(around.T)
        self.num_rows, self.num_columns = self.num_rows + height, self.num_columns + width


def _take(image: NDArray[np.float32], pixels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the channels of some pixels ``[K, C]``; a pixel is one block of bytes."""
    channels = image.shape[2]
    blocks = image.reshape(-1, channels).view(f"V{image.itemsize * channels}")
    taken: NDArray[np.float32] = blocks[:, 0].take(pixels).view(image.dtype)
    return taken.reshape(-1, channels)


def _pixels(lasers: tuple[LaserStreams, ...], pose: NDArray[np.float64], where: str) -> RangePixels:
    table = _Table()
    for laser in lasers:
        poses = laser.read_pixel_pose()
        size: tuple[int, ...] = ()
        for _, image in laser.read_returns(poses):
            size = image.shape[:2]
            table.add(image, poses)
        if size:
            table.add_sensor(laser.calibration, *size)
    values, posed = np.concatenate(table.values), np.concatenate(table.poses)
    _check(values, where)
    _check(posed, where)
    frame = np.concatenate([np.linalg.inv(pose[:3, :3]), pose[:3, 3:]], axis=1)
    return RangePixels(
        values=torch.from_numpy(values),
        rows=torch.from_numpy(np.concatenate(table.rows)),
        columns=torch.from_numpy(np.concatenate(table.columns)),
        beams=torch.from_numpy(np.concatenate(table.beams)),
        directions=torch.from_numpy(np.concatenate(table.directions)),
        poses=torch.from_numpy(posed),
        frames=torch.from_numpy(frame[None]),
        sizes=((len(values), len(posed)),),
    )


def _check(values: NDArray[np.float32], where: str) -> None:
    if np.abs(values).max(initial=0) < _LARGEST:  # which numbers that are none are not, either
        return
    row = int(np.flatnonzero(~(np.abs(values) < _LARGEST).all(axis=1))[0])
    raise damaged(f"pixel {row} is not a number or infinite: {values[row].tolist()}.", where)


def _undo_motion(xyz: Tensor, poses: Tensor, frame: Tensor) -> Tensor:
    """Move points ``[P, 3]`` from the vehicle's frame of their instant to that of the frame."""
    x, y, z = xyz.unbind(1)
    roll, pitch, yaw, *place = poses.double().unbind(1)
    sine, cosine = roll.sin(), roll.cos()
    y, z = cosine * y - sine * z, sine * y + cosine * z
    sine, cosine = pitch.sin(), pitch.cos()
    x, z = cosine * x + sine * z, cosine * z - sine * x
    sine, cosine = yaw.sin(), yaw.cos()
    x, y = cosine * x - sine * y, sine * x + cosine * y
    moved = torch.stack((x, y, z), dim=1) + (torch.stack(place, dim=1) - frame[:, 3])
    return moved @ frame[:, :3].T
