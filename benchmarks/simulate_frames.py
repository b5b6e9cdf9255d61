"""Simulated frames per second on one core, at full sensor resolution and at the demo's.

Times rendering (scene to range images and labels) and writing (range images to record bytes)
separately, over frames of several scenes; drawing the scenes is part of rendering. The times are
the process's own seconds of processor time, so other work on the machine does not count.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from _timing import machine

from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.waymo import decode_frame, encode_frame


@dataclass(frozen=True)
class Setting:
    """A size of frames.

    Args:
        name: what the row is called.
        resolution: fraction of the columns.
        extent: objects stand within this many metres.
    """

    name: str
    resolution: float
    extent: float


SETTINGS = (
    Setting("full sensor, 75 m", 1.0, 75.0),
    Setting("quarter of the columns, 30 m", 0.25, 30.0),
    Setting("eighth of the columns, 30 m", 0.125, 30.0),
)


def main() -> None:
    """Print one row per setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=4, help="scenes per row")
    parser.add_argument("--frames", type=int, default=3, help="frames per scene")
    arguments = parser.parse_args()
    print(f"machine: {machine()}; one process")
    print(f"{'frames':30} {'points':>9} {'boxes':>6} {'render':>9} {'write':>9} {'frames/s':>9}")
    for setting in SETTINGS:
        print(row(setting, arguments.scenes, arguments.frames))


def row(setting: Setting, scenes: int, frames: int) -> str:
    """Time one setting."""
    sensors = default_sensors(setting.resolution)
    rendering = writing = 0.0
    points, boxes, count = 0, 0, scenes * frames
    for number in range(scenes):
        start = time.process_time()
        scene = sample_scene(
            np.random.default_rng(number), duration=0.1 * frames, extent=setting.extent
        )
        raw = list(render_frames(scene, sensors, frames=frames, name="made", seed=(number,)))
        middle = time.process_time()
        payloads = [encode_frame(frame) for frame in raw]
        rendering += middle - start
        writing += time.process_time() - middle
        made = [decode_frame(payload, "made") for payload in payloads]
        points += sum(len(frame.points) for frame in made)
        boxes += sum(int((frame.num_points > 0).sum()) for frame in made)
    return (
        f"{setting.name:30} {points // count:9,} {boxes / count:6.0f}"
        f" {1e3 * rendering / count:6.0f} ms {1e3 * writing / count:6.0f} ms"
        f" {count / (rendering + writing):9.1f}"
    )


if __name__ == "__main__":
    main()
