"""Actors that never meet: a candidate is taken only if its way is free during the whole segment."""

import numpy as np
import numpy.typing as npt

from kd3d.simulate.scene import Actor, EgoPath, advance

__all__ = ["Placer"]

FloatArray = npt.NDArray[np.float64]

#: Ways are compared this often (seconds): as often as frames are taken.
_STEP = 0.1
#: Length and width of the recording car, and the middle of its body ahead of the vehicle frame.
_OWN_SIZE, _OWN_MIDDLE = (5.2, 2.2), 1.45


class Placer:
    """Collects actors whose footprints never overlap.

    Args:
        ego: the way of the recording car, which is kept free as well.
        duration: of the segment, seconds.
        reach: actors that are never within this many metres of the recording car's way are
            refused.
    """

    def __init__(self, ego: EgoPath, duration: float, reach: float = np.inf) -> None:
        self.actors: list[Actor] = []
        self._reach, self._lane, self._end = reach, ego.lane, ego.speed * duration
        self._times = np.linspace(0.0, duration, max(2, int(np.ceil(duration / _STEP)) + 1))
        self._count = 0
        self._tracks = np.empty((64, 3, len(self._times)))
        self._sizes = np.empty((64, 2))
        self._bounds = np.empty((64, 2, 2))
        x, y, heading = ego.at(self._times)
        own = x + _OWN_MIDDLE * np.cos(heading), y + _OWN_MIDDLE * np.sin(heading), heading
        self._take(np.stack(own), np.array(_OWN_SIZE))

    def add(self, actor: Actor, margin: float = 0.3) -> bool:
        """Take an actor that comes near and meets nobody.

        Args:
            actor: the candidate.
            margin: metres by which its footprint grows on every side for the test.

        Returns:
            Whether it was taken.
        """
        ones = np.ones_like(self._times)
        track = np.stack(
            advance(
                actor.x * ones,
                actor.y * ones,
                actor.heading * ones,
                actor.speed * ones,
                actor.turn_rate * ones,
                self._times,
            )
        )
        size = np.array(actor.shape.size[:2])
        if not self._comes_near(track) or self._meets(track, size + 2 * margin):
            return False
        self._take(track, size)
        self.actors.append(actor)
        return True

    def _comes_near(self, track: FloatArray) -> bool:
        """Whether a track is within reach of the recording car's way at any time."""
        along = np.maximum(np.maximum(-track[0], track[0] - self._end), 0.0)
        return bool((np.hypot(along, track[1] - self._lane) <= self._reach).any())

    def _take(self, track: FloatArray, size: FloatArray) -> None:
        """Store a track; the arrays double when they are full."""
        if self._count == len(self._tracks):
            self._tracks = np.concatenate([self._tracks, np.empty_like(self._tracks)])
            self._sizes = np.concatenate([self._sizes, np.empty_like(self._sizes)])
            self._bounds = np.concatenate([self._bounds, np.empty_like(self._bounds)])
        self._tracks[self._count], self._sizes[self._count] = track, size
        self._bounds[self._count] = _bounds(track, size)
        self._count += 1

    def _meets(self, track: FloatArray, size: FloatArray) -> bool:
        """Whether a footprint on a track overlaps any taken one (separating axes)."""
        low, high = _bounds(track, size)
        bounds = self._bounds[: self._count]
        near = np.flatnonzero(((bounds[:, 0] < high) & (bounds[:, 1] > low)).all(axis=1))
        if not len(near):
            return False
        tracks, sizes = self._tracks[near], self._sizes[near]
        gap = tracks[:, :2] - track[:2]
        reach = (np.hypot(*sizes.T) + np.hypot(*size)) / 2
        who, when = np.nonzero(np.hypot(gap[:, 0], gap[:, 1]) < reach[:, None])
        gap = gap[who, :, when]
        turn = tracks[who, 2, when] - track[2, when]
        cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        ours, theirs = size / 2, sizes[who].T / 2
        apart = np.zeros(len(who), dtype=np.bool_)
        for heading, one, other in (
            (track[2, when], ours, theirs),
            (tracks[who, 2, when], theirs, ours),
        ):
            along = np.abs(np.cos(heading) * gap[:, 0] + np.sin(heading) * gap[:, 1])
            across = np.abs(np.cos(heading) * gap[:, 1] - np.sin(heading) * gap[:, 0])
            apart |= along > one[0] + other[0] * cos + other[1] * sin
            apart |= across > one[1] + other[0] * sin + other[1] * cos
        return bool((~apart).any())


def _bounds(track: FloatArray, size: FloatArray) -> FloatArray:
    """``[2, 2]`` lowest and highest x, y that a footprint can reach on its track, metres."""
    radius = np.hypot(*size) / 2
    return np.stack([track[:2].min(axis=1) - radius, track[:2].max(axis=1) + radius])
