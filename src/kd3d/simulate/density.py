"""How streets are built and how full they are, by kind of street.

Widths follow the design guides and densities are set so that the mean number of labelled objects in
a frame is that of a public dataset; docs/simulated-benchmark.md names the source of each figure.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["KINDS", "StreetKind", "kind_of"]


@dataclass(frozen=True, slots=True)
class StreetKind:
    """One kind of street. Rates count per 100 m of one side of the street.

    Args:
        name: of the kind.
        share: of the scenes whose main street is of this kind.
        lanes: numbers of lanes along and against the street, each with its share. A street without
            lanes against it is one-way.
        median: share of the streets with two lanes or more each way that have one.
        bicycle_lanes: share of the sides with a bicycle lane.
        parking: shares of the sides without parking, with parking along the kerb, square to it.
        parked: lowest and highest share of taken parking places.
        pavement: least and greatest width, metres.
        setback: least and greatest distance from the pavement to the houses, metres.
        speed: lowest and highest speed of moving traffic, metres per second.
        spacing: mean distance from vehicle to vehicle in a moving lane, metres.
        queue: mean number of vehicles that wait in a lane before a crossing.
        people: rate of walking groups (a person alone is a group of one).
        cyclists: rate of cyclists.
        bus_stops: rate of bus stops.
        furniture: rate of small things that stand on the pavement.
        plot: shares of the scenes with a car park, with a square, beside the street.
    """

    name: str
    share: float
    lanes: tuple[tuple[tuple[int, int], float], ...]
    median: float
    bicycle_lanes: float
    parking: tuple[float, float, float]
    parked: tuple[float, float]
    pavement: tuple[float, float]
    setback: tuple[float, float]
    speed: tuple[float, float]
    spacing: float
    queue: float
    people: float
    cyclists: float
    bus_stops: float
    furniture: float
    plot: tuple[float, float]


KINDS = (
    StreetKind(
        name="residential",
        share=0.42,
        lanes=(((1, 1), 0.75), ((1, 0), 0.25)),
        median=0.0,
        bicycle_lanes=0.1,
        parking=(0.15, 0.65, 0.2),
        parked=(0.1, 0.42),
        pavement=(1.8, 3.0),
        setback=(1.5, 6.0),
        speed=(3.0, 9.0),
        spacing=65.0,
        queue=0.5,
        people=1.2,
        cyclists=0.8,
        bus_stops=0.1,
        furniture=10.0,
        plot=(0.1, 0.05),
    ),
    StreetKind(
        name="shopping",
        share=0.2,
        lanes=(((1, 1), 0.6), ((1, 0), 0.15), ((2, 0), 0.15), ((2, 2), 0.1)),
        median=0.1,
        bicycle_lanes=0.35,
        parking=(0.3, 0.5, 0.2),
        parked=(0.2, 0.6),
        pavement=(3.0, 5.0),
        setback=(0.2, 1.0),
        speed=(2.0, 9.0),
        spacing=34.0,
        queue=1.3,
        people=4.3,
        cyclists=1.4,
        bus_stops=0.5,
        furniture=16.0,
        plot=(0.1, 0.3),
    ),
    StreetKind(
        name="main road",
        share=0.38,
        lanes=(((1, 1), 0.25), ((2, 2), 0.5), ((3, 3), 0.1), ((2, 1), 0.15)),
        median=0.5,
        bicycle_lanes=0.5,
        parking=(0.55, 0.35, 0.1),
        parked=(0.15, 0.45),
        pavement=(2.0, 4.0),
        setback=(1.0, 8.0),
        speed=(5.0, 14.0),
        spacing=38.0,
        queue=1.5,
        people=1.5,
        cyclists=1.1,
        bus_stops=0.35,
        furniture=11.0,
        plot=(0.25, 0.1),
    ),
)


def kind_of(rng: np.random.Generator) -> StreetKind:
    """Draw a kind of street by its share."""
    return KINDS[rng.choice(len(KINDS), p=[kind.share for kind in KINDS])]
