"""Everything that carries a label: vehicles, people on foot, cyclists."""

from kd3d.simulate.persons import bystander, cyclist, pedestrian
from kd3d.simulate.vehicles import bus, car, pickup, tractor, trailer, truck, van

__all__ = [
    "bus",
    "bystander",
    "car",
    "cyclist",
    "pedestrian",
    "pickup",
    "trailer",
    "tractor",
    "truck",
    "van",
]
