"""The sensors of a record: calibrations, and range images that are inflated one at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.waymo import schema
from kd3d.waymo.matrix import MatrixStream
from kd3d.waymo.raw import LASER_NAMES, TOP, LaserCalibration, RawLaser
from kd3d.waymo.rigid import is_rigid

__all__ = ["LaserStreams", "damaged", "lasers_of", "raw_laser", "transform_of"]

_Named = TypeVar("_Named", schema.LaserCalibration, schema.Laser)


@dataclass(frozen=True, eq=False)
class LaserStreams:
    """One sensor of a record, its images not yet inflated.

    Attributes:
        calibration: where it sits and where its beams point.
        returns: the images of return 1 and 2; ``None`` where there is none.
        pixel_pose: TOP only, the pose of every pixel.
        where: record and sensor, for messages.
    """

    calibration: LaserCalibration
    returns: tuple[MatrixStream | None, ...]
    pixel_pose: MatrixStream | None
    where: str

    @property
    def num_pixels(self) -> int:
        """How many pixels the images of both returns say they have."""
        return sum(stream.num_values // 4 for stream in self.returns if stream is not None)

    def read_pixel_pose(self) -> NDArray[np.float32] | None:
        """Inflate the poses ``[H, W, 6]``, if there are any.

        Raises:
            RecordError: the stream is damaged.
        """
        return None if self.pixel_pose is None else self.pixel_pose.read()

    def read_returns(
        self, pixel_pose: NDArray[np.float32] | None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Inflate the returns one after the other.

        Args:
            pixel_pose: what `read_pixel_pose` gave.

        Yields:
            The number of a return that is there, and its image ``[H, W, 4]``.

        Raises:
            RecordError: a stream is damaged, or does not fit the others, the beams or the poses.
        """
        size: tuple[int, ...] | None = None
        for number, stream in enumerate(self.returns, start=1):
            if stream is None:
                continue
            image = stream.read()
            if size is None:
                size = image.shape[:2]
                self._check_size(size, pixel_pose)
            if image.shape[:2] != size:
                raise damaged(f"shape {image.shape} beside {(*size, 4)} of return 1.", stream.where)
            self._check_ranges(image[..., 0], pixel_pose, stream.where)
            yield number, image

    def _check_size(self, size: tuple[int, ...], pixel_pose: NDArray[np.float32] | None) -> None:
        beams = self.calibration.beam_inclinations
        if beams is not None and len(beams) != size[0]:
            raise damaged(f"{size[0]} rows but {len(beams)} beam inclinations.", self.where)
        if pixel_pose is not None and pixel_pose.shape[:2] != size:
            raise damaged(f"poses {pixel_pose.shape} beside an image {(*size, 4)}.", self.where)

    def _check_ranges(
        self, ranges: NDArray[np.float32], pixel_pose: NDArray[np.float32] | None, where: str
    ) -> None:
        if np.isnan(ranges).any():
            pixel = tuple(np.argwhere(np.isnan(ranges))[0].tolist())
            raise damaged(f"the range of pixel {pixel} is not a number.", where)
        if self.calibration.name == TOP and pixel_pose is None and (ranges > 0).any():
            raise damaged("points but no pose per pixel (it is a part of return 1).", self.where)


def lasers_of(message: schema.Frame, where: str) -> tuple[LaserStreams, ...]:
    """Return the calibrated sensors of a record in ascending number.

    Args:
        message: the record.
        where: its name for messages.

    Raises:
        RecordError: a sensor is unknown, comes twice or has images but no calibration; a
            calibration is not sound; a stream is none, or says that it is too large.
    """
    calibrations = _by_name(message.context.laser_calibrations, "calibration", where)
    # Real records list sensors without any data, and without a name.
    filled = (laser for laser in message.lasers if any(_images_of(laser)))
    images = _by_name(filled, "range images", where)
    for name in images.keys() - calibrations.keys():
        raise damaged("range images but no calibration.", f"{where}, laser {LASER_NAMES[name]}")
    return tuple(
        _streams(calibration, images.get(name), f"{where}, laser {LASER_NAMES[name]}")
        for name, calibration in sorted(calibrations.items())
    )


def raw_laser(streams: LaserStreams) -> RawLaser:
    """Inflate all images of a sensor.

    A first return that is absent before a second one becomes an image of empty pixels.

    Raises:
        RecordError: as `LaserStreams` says.
    """
    calibration = streams.calibration
    pixel_pose = streams.read_pixel_pose()
    images = dict(streams.read_returns(pixel_pose))
    if images.keys() == {2}:
        images = {1: np.full_like(images[2], -1.0), 2: images[2]}
    return RawLaser(
        name=calibration.name,
        extrinsic=calibration.extrinsic,
        beam_inclinations=calibration.beam_inclinations,
        beam_inclination_min=calibration.beam_inclination_min,
        beam_inclination_max=calibration.beam_inclination_max,
        returns=tuple(images.values()),
        pixel_pose=pixel_pose,
    )


def transform_of(message: schema.Transform, where: str) -> NDArray[np.float64]:
    """Return the ``[4, 4]`` float64 matrix of a message.

    Raises:
        RecordError: it is no rotation and translation.
    """
    values = np.array(message.transform, np.float64)
    if values.size != 16:
        raise damaged(f"{values.size} values where a 4 x 4 matrix has 16.", where)
    transform = values.reshape(4, 4)
    if not is_rigid(transform):
        raise damaged("not a rotation and a translation.", where)
    return transform


def damaged(what: str, where: str) -> RecordError:
    """Return the error for a record whose parts are not sound."""
    return RecordError(
        what,
        where=where,
        hint="The record is damaged or of another dataset: download the file again or leave it"
        " out.",
    )


def _by_name(entries: Iterable[_Named], what: str, where: str) -> dict[int, _Named]:
    named: dict[int, _Named] = {}
    for entry in entries:
        if entry.name not in LASER_NAMES:
            raise damaged(f"{what} of laser {entry.name}, which is none of 1 to 5.", where)
        if entry.name in named:
            raise damaged(f"{what} twice.", f"{where}, laser {LASER_NAMES[entry.name]}")
        named[entry.name] = entry
    return named


def _images_of(laser: schema.Laser) -> tuple[bytes, bytes]:
    return laser.ri_return1.range_image_compressed, laser.ri_return2.range_image_compressed


def _streams(
    calibration: schema.LaserCalibration, images: schema.Laser | None, where: str
) -> LaserStreams:
    returns = () if images is None else _images_of(images)
    names = [f"{where}, return {number}" for number in (1, 2)]
    poses = b""
    if images is not None and images.name == TOP:
        poses = images.ri_return1.range_image_pose_compressed
    return LaserStreams(
        calibration=_calibration(calibration, where),
        returns=tuple(
            MatrixStream(stream, 4, name) if stream else None
            for stream, name in zip(returns, names, strict=False)
        ),
        pixel_pose=MatrixStream(poses, 6, f"{where}, pose per pixel") if poses else None,
        where=where,
    )


def _calibration(message: schema.LaserCalibration, where: str) -> LaserCalibration:
    beams = np.array(message.beam_inclinations, np.float64)
    low, high = message.beam_inclination_min, message.beam_inclination_max
    if not np.isfinite([*beams, low, high]).all():
        raise damaged("a beam inclination is not a number or infinite.", where)
    return LaserCalibration(
        name=message.name,
        extrinsic=transform_of(message.extrinsic, f"{where}, extrinsic"),
        beam_inclinations=beams if len(beams) else None,
        beam_inclination_min=low,
        beam_inclination_max=high,
    )
