"""LiDAR scenes as valid Waymo records: streets, sensors, ray casting, segments."""

from kd3d.simulate.dataset import SimulationSummary, simulate_dataset
from kd3d.simulate.layout import sample_scene
from kd3d.simulate.render import render_frames
from kd3d.simulate.scene import Actor, EgoPath, Scene
from kd3d.simulate.sensors import Sensor, default_sensors, sensors_of

__all__ = [
    "Actor",
    "EgoPath",
    "Scene",
    "Sensor",
    "SimulationSummary",
    "default_sensors",
    "render_frames",
    "sample_scene",
    "sensors_of",
    "simulate_dataset",
]
