"""LiDAR scenes as valid Waymo records: streets, sensors, ray casting, segments."""

from kd3d.simulate.dataset import SimulationSummary, simulate_dataset, simulate_preset
from kd3d.simulate.layout import sample_scene
from kd3d.simulate.presets import PRESETS, Preset, preset
from kd3d.simulate.render import render_frames
from kd3d.simulate.scene import Actor, EgoPath, Scene
from kd3d.simulate.sensors import Sensor, default_sensors, sensors_of
from kd3d.simulate.verify import VerifiedDataset, dataset_fingerprint, verify_dataset
from kd3d.simulate.weather import Weather, sample_weather

__all__ = [
    "PRESETS",
    "Actor",
    "EgoPath",
    "Preset",
    "Scene",
    "Sensor",
    "SimulationSummary",
    "VerifiedDataset",
    "Weather",
    "dataset_fingerprint",
    "default_sensors",
    "preset",
    "render_frames",
    "sample_scene",
    "sample_weather",
    "sensors_of",
    "simulate_dataset",
    "simulate_preset",
    "verify_dataset",
]
