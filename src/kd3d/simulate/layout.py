"""Where a scene's streets lie, and how the recording car drives through them."""

from dataclasses import replace

import numpy as np

from kd3d.simulate.ground import sample_ground
from kd3d.simulate.placing import Placer
from kd3d.simulate.scene import EgoPath, Scene
from kd3d.simulate.street import LANE, Street, StreetFiller

__all__ = ["sample_scene"]


def sample_scene(rng: np.random.Generator, *, duration: float, extent: float) -> Scene:
    """Draw a street, in six of ten scenes with a crossing, and everything on it.

    Args:
        rng: source of all chance; the same state gives the same scene.
        duration: of the segment, seconds.
        extent: objects lie within this many metres of the recording car's way.

    Returns:
        The scene at time 0.
    """
    speed = 0.0 if rng.random() < 0.15 else float(rng.uniform(2.0, 13.0))
    ego = EgoPath(
        lane=-LANE / 2,
        speed=speed,
        sway=min(0.2, 0.02 * speed),
        period=float(rng.uniform(5.0, 9.0)),
        phase=float(rng.uniform(0.0, 2 * np.pi)),
    )
    end = speed * duration
    main = _sample_street(rng, 0.0, 0.0, -extent, end + extent, lanes=1 + int(rng.random() < 0.25))
    placer = Placer(ego, duration)
    filler = StreetFiller(rng, placer, duration, extent)
    if rng.random() < 0.6:
        place = float(rng.uniform(-0.5 * extent, end + 0.7 * extent))
        side = _sample_street(rng, place, np.pi / 2, -extent, extent, lanes=1)
        half = max(side.kerb) + 2.0
        main = replace(main, gap=(place - half, place + half))
        side = replace(side, gap=(-max(main.kerb) - 2.0, max(main.kerb) + 2.0))
        filler.fill(side, waits=True)
    filler.fill(main, lead_speed=speed)
    lines = np.concatenate([[0.0], *[[-n * LANE, n * LANE] for n in range(1, main.lanes + 1)]])
    kerb = max(main.kerb)
    return Scene(
        ground=sample_ground(rng, lines, kerb, kerb + 4.0),
        actors=tuple(placer.actors),
        ego=ego,
        bearing=float(rng.uniform(-np.pi, np.pi)),
        offset=np.array([*rng.uniform(-4000.0, 4000.0, 2), rng.uniform(-50.0, 150.0)]),
    )


def _sample_street(
    rng: np.random.Generator, x: float, heading: float, start: float, stop: float, lanes: int
) -> Street:
    strips = tuple(float(rng.choice([0.0, 2.4, 5.2], p=[0.15, 0.6, 0.25])) for _ in range(2))
    return Street(x, heading, start, stop, (np.inf, -np.inf), lanes, (strips[0], strips[1]))
