"""Actors that never meet: a candidate is taken only if its way is free during the whole segment."""

import numpy as np
import numpy.typing as npt

from kd3d.simulate.scene import Actor, EgoPath, advance

__all__ = ["Placer"]

FloatArray = npt.NDArray[np.float64]

#: Ways are compared this often (seconds).
_STEP = 0.5
#: Length and width of the recording car, and the middle of its body ahead of the vehicle frame.
_OWN_SIZE, _OWN_MIDDLE = (5.2, 2.2), 1.45


class Placer:
    """Collects actors whose footprints never overlap.

    Args:
        ego: the way of the recording car, which is kept free as well.
        duration: of the segment, seconds.
    """

    def __init__(self, ego: EgoPath, duration: float) -> None:
        self.actors: list[Actor] = []
        self._times = np.linspace(0.0, duration, max(2, int(np.ceil(duration / _STEP)) + 1))
        x, y, heading = ego.at(self._times)
        tracks = [(x + _OWN_MIDDLE * np.cos(heading), y + _OWN_MIDDLE * np.sin(heading), heading)]
        self._tracks = np.stack([np.stack(track) for track in tracks])
        self._sizes = np.array([_OWN_SIZE])

    def add(self, actor: Actor, margin: float = 0.3) -> bool:
        """Take an actor if its footprint, grown by `margin` metres, stays free; tell whether."""
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
        if self._meets(track, size + 2 * margin):
            return False
        self._tracks = np.concatenate([self._tracks, track[None]])
        self._sizes = np.concatenate([self._sizes, size[None]])
        self.actors.append(actor)
        return True

    def _meets(self, track: FloatArray, size: FloatArray) -> bool:
        """Whether a footprint on a track overlaps any taken one (separating axes)."""
        gap = self._tracks[:, :2] - track[:2]
        reach = (np.hypot(*self._sizes.T) + np.hypot(*size)) / 2
        who, when = np.nonzero(np.hypot(gap[:, 0], gap[:, 1]) < reach[:, None])
        gap = gap[who, :, when]
        turn = self._tracks[who, 2, when] - track[2, when]
        cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        ours, theirs = size / 2, self._sizes[who].T / 2
        apart = np.zeros(len(who), dtype=np.bool_)
        for heading, one, other in (
            (track[2, when], ours, theirs),
            (self._tracks[who, 2, when], theirs, ours),
        ):
            along = np.abs(np.cos(heading) * gap[:, 0] + np.sin(heading) * gap[:, 1])
            across = np.abs(np.cos(heading) * gap[:, 1] - np.sin(heading) * gap[:, 0])
            apart |= along > one[0] + other[0] * cos + other[1] * sin
            apart |= across > one[1] + other[0] * sin + other[1] * cos
        return bool((~apart).any())
