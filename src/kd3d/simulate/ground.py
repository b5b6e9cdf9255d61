"""The ground: a gentle slope with two long waves, and what it is covered with."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Ground", "sample_ground"]

FloatArray = npt.NDArray[np.floating]

#: Newton steps from the tangent plane to the true surface, and the gap (metres) that may remain.
_STEPS = 3
_TOLERANCE = 0.01
#: Paint on the road, asphalt, pavement, and whatever lies beyond.
_PAINT, _ASPHALT, _PAVEMENT, _SOIL = 0.55, 0.1, 0.28, 0.2


@dataclass(frozen=True, slots=True)
class Ground:
    """Height and reflectivity of the ground over the street's plane (x along the street).

    Args:
        slope: ``[2]`` rise per metre along x and y.
        waves: ``[K, 4]`` amplitude (m), wave number along x and y (rad/m), phase (rad).
        lines: ``[L]`` lateral positions (m) of painted lines.
        road: half width of the road (m).
        pavement: lateral distance (m) from the road's middle to where the pavement ends.
        middle: lateral position (m) of the road's middle.
    """

    slope: npt.NDArray[np.float64]
    waves: npt.NDArray[np.float64]
    lines: npt.NDArray[np.float64]
    road: float
    pavement: float
    middle: float = 0.0

    def height(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Height (m) at x, y (m)."""
        total: FloatArray = self.slope[0].astype(x.dtype) * x + self.slope[1].astype(x.dtype) * y
        for amplitude, kx, ky, phase in self.waves.astype(x.dtype):
            total = total + amplitude * np.sin(kx * x + ky * y + phase)
        return total

    def gradient(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rise per metre along x and along y, at x, y (m)."""
        slope = self.slope.astype(x.dtype)
        along_x, along_y = np.full_like(x, slope[0]), np.full_like(x, slope[1])
        for amplitude, kx, ky, phase in self.waves.astype(x.dtype):
            swing = amplitude * np.cos(kx * x + ky * y + phase)
            along_x = along_x + kx * swing
            along_y = along_y + ky * swing
        return along_x, along_y

    def cast(
        self, origin: FloatArray, direction: FloatArray, limit: float
    ) -> tuple[FloatArray, FloatArray]:
        """Distance along each ray to the ground.

        Args:
            origin: ``[N, 3]`` or ``[1, 3]`` metres.
            direction: ``[N, 3]`` unit vectors.
            limit: rays that meet the ground farther away (m) count as missing it.

        Returns:
            ``[N]`` distance in metres (infinity: no ground) and ``[N]`` cosine of incidence.
        """
        distance = np.full(len(direction), np.inf, dtype=direction.dtype)
        cosine = np.zeros_like(distance)
        x0, y0, z0 = np.broadcast_to(origin, direction.shape).T
        above = z0 - self.height(x0, y0)
        # The relief rises by less than this over the limit, so no other ray can reach it.
        falling = direction[:, 2] * limit * 1.5 < -above + 2.0
        falling &= (direction[:, 2] < 0.05) & (above > 0)
        chosen = np.flatnonzero(falling)
        x0, y0, z0, above = x0[chosen], y0[chosen], z0[chosen], above[chosen]
        dx, dy, dz = direction[chosen].T
        along_x, along_y = self.gradient(x0, y0)
        closing = np.maximum(along_x * dx + along_y * dy - dz, 1e-4)
        way = np.minimum(above / closing, 2 * limit)
        for _ in range(_STEPS):
            x, y = x0 + way * dx, y0 + way * dy
            along_x, along_y = self.gradient(x, y)
            closing = np.maximum(along_x * dx + along_y * dy - dz, 1e-4)
            way = np.clip(way + (z0 + way * dz - self.height(x, y)) / closing, 0.0, 2 * limit)
        gap = np.abs(z0 + way * dz - self.height(x0 + way * dx, y0 + way * dy))
        met = (way > 0) & (way < limit) & (gap < _TOLERANCE)
        distance[chosen[met]] = way[met]
        cosine[chosen[met]] = closing[met]
        return distance, cosine

    def reflectivity(self, y: FloatArray) -> FloatArray:
        """Reflectivity of the ground at a lateral position y (m)."""
        side = np.abs(y - y.dtype.type(self.middle))
        cover = np.where(
            side < self.road, _ASPHALT, np.where(side < self.pavement, _PAVEMENT, _SOIL)
        )
        offset = y[:, None] - self.lines.astype(y.dtype)
        cover[(np.abs(offset) < 0.08).any(axis=1)] = _PAINT
        return cover


def sample_ground(
    rng: np.random.Generator,
    lines: npt.NDArray[np.float64],
    road: float,
    pavement: float,
    middle: float = 0.0,
) -> Ground:
    """Draw a slope below 1.5 % and two waves of 40 to 90 m that rise by at most 0.6 % each.

    The other arguments are those of `Ground`.
    """
    waves = np.empty((2, 4))
    for wave in waves:
        length, bearing = rng.uniform(40.0, 90.0), rng.uniform(0.0, np.pi)
        number = 2 * np.pi / length
        wave[0] = rng.uniform(0.002, 0.006) / number
        wave[1:3] = number * np.cos(bearing), number * np.sin(bearing)
        wave[3] = rng.uniform(0.0, 2 * np.pi)
    return Ground(rng.uniform(-0.015, 0.015, 2), waves, lines, road, pavement, middle)
