"""A scene: the ground, what stands and moves on it, and the way of the recording car.

All of it lives in the street's frame (metres): x along the street, y to the left, z up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kd3d.simulate.ground import Ground
from kd3d.simulate.materials import Surface, echo_rows
from kd3d.simulate.shapes import Shape
from kd3d.simulate.weather import CLEAR, Weather

__all__ = ["Actor", "EgoPath", "PartTable", "Scene", "advance", "pose_matrix"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Actor:
    """One object: its shape and its motion on a circle (or a line) at constant speed.

    Args:
        name: the label's id, stable over the segment.
        waymo_type: 1 vehicle, 2 pedestrian, 4 cyclist; 0 for what carries no label.
        shape: parts and label size.
        x: position at time 0, metres.
        y: as `x`.
        heading: at time 0, radians, counter-clockwise from x.
        speed: metres per second along the heading.
        turn_rate: radians per second.
    """

    name: str
    waymo_type: int
    shape: Shape
    x: float
    y: float
    heading: float
    speed: float = 0.0
    turn_rate: float = 0.0


def advance(
    x: FloatArray,
    y: FloatArray,
    heading: FloatArray,
    speed: FloatArray,
    turn_rate: FloatArray,
    time: float | FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position and heading after `time` seconds at constant speed and turn rate.

    The way is the chord of the arc, ``v t sinc(w t / 2)`` in the direction of the mean heading.
    """
    half = turn_rate * time / 2
    chord = speed * time * np.sinc(half / np.pi)
    return (
        x + chord * np.cos(heading + half),
        y + chord * np.sin(heading + half),
        heading + 2 * half,
    )


@dataclass(frozen=True, slots=True)
class EgoPath:
    """The recording car keeps its lane with a slow sway.

    Args:
        lane: lateral position of the lane, metres.
        speed: metres per second along the street.
        sway: amplitude of the sway, metres.
        period: of the sway, seconds.
        phase: of the sway at time 0, radians.
    """

    lane: float
    speed: float
    sway: float
    period: float
    phase: float

    def at(self, time: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, y (metres) and heading (radians) at times in seconds."""
        rate = 2 * np.pi / self.period
        angle = rate * time + self.phase
        y = self.lane + self.sway * np.sin(angle)
        sideways = self.sway * rate * np.cos(angle)
        return self.speed * time, y, np.arctan2(sideways, max(self.speed, 1e-6))


@dataclass(frozen=True, slots=True)
class PartTable:
    """The parts of all actors in columns, each still in its actor's frame.

    Args:
        actor: ``[P]`` index of the actor.
        centre: ``[P, 3]`` metres.
        half: ``[P, 3]`` half sizes, metres (radius twice for a cylinder).
        echo: ``[P, 5]`` float32, of `kd3d.simulate.materials.echo_rows`.
        transmission: ``[P]`` float32 share of the rays that pass at normal incidence.
        is_round: ``[P]`` bool.
        free_path: ``[P]`` metres.
        lean: ``[P, 3]`` metres by which front, rear and sides have moved inwards at the top.
    """

    actor: npt.NDArray[np.int64]
    centre: FloatArray
    half: FloatArray
    echo: npt.NDArray[np.float32]
    transmission: npt.NDArray[np.float32]
    is_round: npt.NDArray[np.bool_]
    free_path: FloatArray
    lean: FloatArray


@dataclass(frozen=True)
class Scene:
    """Everything that a segment shows.

    Args:
        ground: relief and cover.
        actors: objects and clutter.
        ego: the recording car.
        bearing: heading of the street in the global frame, radians.
        offset: ``[3]`` the street's origin in the global frame, metres.
        weather: what the air and the water on the road do to the sensors.
    """

    ground: Ground
    actors: tuple[Actor, ...]
    ego: EgoPath
    bearing: float
    offset: FloatArray
    weather: Weather = CLEAR

    @cached_property
    def parts(self) -> PartTable:
        """The actors' parts in columns."""
        pairs = [(i, part) for i, actor in enumerate(self.actors) for part in actor.shape.parts]
        rows = [(*p[:6], p.is_round, p.free_path, *p.lean, *p.surface) for _, p in pairs]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 11 + len(Surface._fields))
        surfaces = table[:, 11:]
        return PartTable(
            actor=np.array([i for i, _ in pairs], dtype=np.int64),
            centre=table[:, 0:3],
            half=table[:, 3:6],
            echo=echo_rows(surfaces),
            transmission=surfaces[:, 4].astype(np.float32),
            is_round=table[:, 6] > 0,
            free_path=table[:, 7],
            lean=table[:, 8:11],
        )

    @cached_property
    def motion(self) -> FloatArray:
        """``[A, 5]`` x, y, heading, speed, turn rate of the actors at time 0."""
        rows = [(a.x, a.y, a.heading, a.speed, a.turn_rate) for a in self.actors]
        return np.array(rows, dtype=np.float64).reshape(-1, 5)

    def actors_at(self, time: float) -> FloatArray:
        """``[A, 4]`` x, y, z (on the ground, metres) and heading (radians) of the actors."""
        x, y, heading, speed, turn_rate = self.motion.T
        x, y, heading = advance(x, y, heading, speed, turn_rate, time)
        return np.stack([x, y, self.ground.height(x, y), heading], axis=1)

    def ego_angles(self, time: FloatArray) -> FloatArray:
        """``[T, 6]`` roll, pitch, yaw (radians), x, y, z (metres) of the car, street's frame.

        The car stands on the ground: it pitches and rolls with the relief.
        """
        x, y, yaw = self.ego.at(time)
        along_x, along_y = self.ground.gradient(x, y)
        forward = along_x * np.cos(yaw) + along_y * np.sin(yaw)
        left = along_y * np.cos(yaw) - along_x * np.sin(yaw)
        return np.stack(
            [np.arctan(left), -np.arctan(forward), yaw, x, y, self.ground.height(x, y)], axis=1
        )

    def to_global(self, angles: FloatArray) -> FloatArray:
        """Carry ``[T, 6]`` roll, pitch, yaw, x, y, z from the street's to the global frame."""
        cos, sin = np.cos(self.bearing), np.sin(self.bearing)
        moved: FloatArray = angles.copy()
        moved[:, 2] += self.bearing
        moved[:, 3] = cos * angles[:, 3] - sin * angles[:, 4]
        moved[:, 4] = sin * angles[:, 3] + cos * angles[:, 4]
        moved[:, 3:] += self.offset
        return moved


def pose_matrix(angles: FloatArray) -> FloatArray:
    """Matrices of ``[..., 6]`` roll, pitch, yaw, x, y, z.

    Returns:
        ``[..., 4, 4]`` float64 with rotation ``Rz(yaw) Ry(pitch) Rx(roll)``.
    """
    cr, cp, cy = np.moveaxis(np.cos(angles[..., :3]), -1, 0)
    sr, sp, sy = np.moveaxis(np.sin(angles[..., :3]), -1, 0)
    pose: FloatArray = np.zeros((*angles.shape[:-1], 4, 4))
    pose[..., 0, :3] = np.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], -1)
    pose[..., 1, :3] = np.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], -1)
    pose[..., 2, :3] = np.stack([-sp, cp * sr, cp * cr], -1)
    pose[..., :3, 3] = angles[..., 3:]
    pose[..., 3, 3] = 1.0
    return pose
