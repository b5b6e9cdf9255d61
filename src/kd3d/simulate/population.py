"""Puts labelled objects and clutter on streets, given in the streets' own coordinates."""

from collections.abc import Callable, Iterator

import numpy as np

from kd3d.simulate.placing import Placer
from kd3d.simulate.scene import Actor
from kd3d.simulate.shapes import Shape
from kd3d.simulate.street import Street

__all__ = ["CLUTTER", "CYCLIST", "PEDESTRIAN", "VEHICLE", "Mixture", "Population", "pick"]

#: The dataset's types; 0 for what is not labelled.
VEHICLE, PEDESTRIAN, CYCLIST, CLUTTER = 1, 2, 4, 0
_NAMES = {VEHICLE: "vehicle", PEDESTRIAN: "pedestrian", CYCLIST: "cyclist", CLUTTER: "clutter"}

#: Functions that draw a shape, each with its share.
Mixture = tuple[tuple[Callable[[np.random.Generator], Shape], float], ...]


def pick(rng: np.random.Generator, mixture: Mixture) -> Shape:
    """Draw a kind by its share, then a shape of that kind."""
    chosen = rng.choice(len(mixture), p=[share for _, share in mixture])
    return mixture[chosen][0](rng)


class Population:
    """The growing set of actors of one scene.

    Args:
        rng: source of all chance.
        placer: takes those whose way is free.
        duration: of the segment, seconds.
    """

    def __init__(self, rng: np.random.Generator, placer: Placer, duration: float) -> None:
        self.rng, self.placer, self.duration = rng, placer, duration

    def put(
        self,
        street: Street,
        waymo_type: int,
        shape: Shape,
        place: tuple[float, float],
        heading: float = 0.0,
        *,
        speed: float = 0.0,
        sway: float = 0.0,
        margin: float = 0.3,
    ) -> bool:
        """Offer one actor.

        Args:
            street: whose coordinates are meant.
            waymo_type: 1, 2 or 4; 0 for clutter.
            shape: of the actor.
            place: along and across the street, metres.
            heading: relative to the street, radians.
            speed: metres per second; along a bend the actor follows it.
            sway: turn rate beside the bend's, radians per second.
            margin: free space around it, metres.

        Returns:
            Whether its way was free.
        """
        x, y, ahead = street.locate(*place)
        bend = street.curvature / (1.0 - street.curvature * place[1]) * float(np.cos(heading))
        return self.put_free(
            waymo_type,
            shape,
            (x, y, ahead + heading),
            speed=speed,
            turn_rate=speed * bend + sway,
            margin=margin,
        )

    def put_free(
        self,
        waymo_type: int,
        shape: Shape,
        pose: tuple[float, float, float],
        *,
        speed: float = 0.0,
        turn_rate: float = 0.0,
        margin: float = 0.3,
    ) -> bool:
        """Offer one actor at x, y, heading of the scene; tell whether its way was free."""
        name = f"{_NAMES[waymo_type]}-{len(self.placer.actors):04d}"
        return self.placer.add(Actor(name, waymo_type, shape, *pose, speed, turn_rate), margin)

    def spread(self, start: float, stop: float, mean: float, least: float) -> Iterator[float]:
        """Places along a line with random gaps (metres): `least` and an exponential rest."""
        place = start + float(self.rng.uniform(0.0, mean))
        while place < stop:
            yield place
            place += least + float(self.rng.exponential(max(mean - least, 1e-3)))

    def scatter(self, start: float, stop: float, rate: float) -> list[float]:
        """Places of a Poisson process of `rate` per 100 m between two metres."""
        count = self.rng.poisson(rate * max(stop - start, 0.0) / 100.0)
        return [float(place) for place in self.rng.uniform(start, max(start, stop), count)]
