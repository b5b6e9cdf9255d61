"""A synthetic full-range frame: rays of a roof LiDAR over flat ground with walls and objects."""

import math

import torch
from torch import Tensor

SENSOR_HEIGHT = 1.8


def full_range_points(count: int, seed: int = 0, half_range: float = 74.0) -> Tensor:
    """Draw `count` points ``[count, 5]`` (x, y, z, raw intensity, elongation) within the range.

    Rays leave at 64 inclinations from -17.6 to 2.4 degrees and at 2650 azimuths. They end on the
    ground or on one of 180 upright surfaces, each a sector of azimuth at one distance.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    beams = torch.linspace(-17.6, 2.4, 64) * math.pi / 180
    rays = 4 * count
    inclination = beams[torch.randint(64, (rays,), generator=generator)]
    azimuth = torch.randint(2650, (rays,), generator=generator) * (2 * math.pi / 2650)

    sectors = 180
    distance = 6 + 70 * uniform(sectors) ** 1.5
    top = torch.where(uniform(sectors) < 0.5, 1.0 + uniform(sectors), 2.0 + 4 * uniform(sectors))
    sector = (azimuth / (2 * math.pi) * sectors).long()

    ground = SENSOR_HEIGHT / (-inclination).clamp(min=1e-4).tan()
    wall = distance[sector] + 0.3 * torch.randn(rays, generator=generator)
    hits_wall = (wall < ground) & (SENSOR_HEIGHT + wall * inclination.tan() < top[sector])
    reach = torch.where(hits_wall, wall, ground)
    reach = reach + 0.02 * torch.randn(rays, generator=generator)
    points = torch.stack(
        (
            reach * azimuth.cos(),
            reach * azimuth.sin(),
            SENSOR_HEIGHT + reach * inclination.tan(),
            uniform(rays),
            uniform(rays),
        ),
        dim=1,
    )
    inside = (points[:, :2].abs() < half_range).all(dim=1) & (points[:, 2] < 3.9)
    points = points[inside]
    if len(points) < count:
        raise ValueError(f"only {len(points)} of {rays} rays end within ±{half_range:g} m")
    return points[:count]
