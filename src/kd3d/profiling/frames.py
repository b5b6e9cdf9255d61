"""A frame to profile on where no dataset is at hand."""

import numpy as np
import torch

from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.structures import PointBatch
from kd3d.waymo import points_of

__all__ = ["simulated_frame"]


def simulated_frame(seed: int = 0, *, resolution: float = 1.0, extent: float = 75.0) -> PointBatch:
    """Simulate one frame of all lidars and both returns, without labels.

    Points come in a random but fixed order, as `kd3d.data.FrameDataset` gives them.

    Args:
        seed: of scene, noise and order.
        resolution: fraction of the range images' columns.
        extent: objects stand within this many metres of the recording car's way.

    Returns:
        a batch of one frame.
    """
    scene = sample_scene(np.random.default_rng(seed), duration=0.1, extent=extent)
    sensors = default_sensors(resolution)
    (frame,) = render_frames(scene, sensors, frames=1, name=f"simulated_{seed}", seed=(seed,))
    points = torch.from_numpy(points_of(frame).points)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    return PointBatch.from_points([points[order]], frame_ids=[frame.context_name])
