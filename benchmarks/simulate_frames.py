"""Simulated frames per second on one core: full sensors, the small benchmark's, the demo's.

Times the parts of making a segment over several scenes: drawing the scene, the sensors' rays,
casting them, the returns, the labels, and writing (range images to record bytes). The times are the
process's own seconds of processor time, so other work on the machine does not count.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from _timing import machine

from kd3d.simulate import PRESETS, default_sensors, render, render_frames, sample_scene
from kd3d.waymo import decode_frame, encode_frame

#: Parts of rendering, and the functions that they consist of.
PARTS = {
    "rays": ("sensor_rays",),
    "casting": ("cast",),
    "returns": ("range_images",),
    "labels": ("points_of", "count_points"),
}
COLUMNS = ("scene", *PARTS, "writing", "rest")


@dataclass(frozen=True)
class Setting:
    """A size of frames.

    Args:
        name: what the row is called.
        resolution: fraction of the columns.
        extent: objects stand within this many metres.
        frames: frames of a scene.
        interval: seconds between them.
    """

    name: str
    resolution: float
    extent: float
    frames: int
    interval: float


SETTINGS = (
    *(
        Setting(one.name, one.resolution, one.extent, one.frames, one.interval)
        for one in reversed(PRESETS.values())
    ),
    Setting("scale=demo", 0.125, 32.0, 8, 0.1),
)


def main() -> None:
    """Print one row per setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=6, help="scenes per row")
    arguments = parser.parse_args()
    print(f"machine: {machine()}; one process; ms of one core per frame, and shares of it")
    print(
        f"{'frames':15} {'columns':>7} {'extent':>6} {'points':>8} {'boxes':>5} {'MB':>5} "
        f"{'ms':>5} {'frames/s':>8}  {'  '.join(f'{part:>7}' for part in COLUMNS)}"
    )
    for setting in SETTINGS:
        print(row(setting, arguments.scenes))


def row(setting: Setting, scenes: int) -> str:
    """Time one setting."""
    sensors = default_sensors(setting.resolution)
    seconds: Counter[str] = Counter()
    payloads = []
    with timed_parts(seconds):
        for number in range(scenes):
            with timed("scene", seconds):
                scene = sample_scene(
                    np.random.default_rng(number),
                    duration=setting.frames * setting.interval,
                    extent=setting.extent,
                )
            with timed("rendering", seconds):
                raw = list(
                    render_frames(
                        scene,
                        sensors,
                        frames=setting.frames,
                        name="made",
                        seed=(number,),
                        interval=setting.interval,
                    )
                )
            with timed("writing", seconds):
                payloads += [encode_frame(frame) for frame in raw]
    count, total = len(payloads), sum(seconds[part] for part in ("scene", "rendering", "writing"))
    seconds["rest"] = seconds["rendering"] - sum(seconds[part] for part in PARTS)
    made = [decode_frame(payload, "made") for payload in payloads]
    points = sum(len(frame.points) for frame in made) // count
    boxes = sum(int((frame.num_points > 0).sum()) for frame in made) / count
    shares = "  ".join(f"{100 * seconds[part] / total:5.0f} %" for part in COLUMNS)
    return (
        f"{setting.name:15} {setting.resolution:7g} {setting.extent:4.0f} m {points:8,}"
        f" {boxes:5.0f} {sum(map(len, payloads)) / count / 1e6:5.2f} {1e3 * total / count:5.0f}"
        f" {count / total:8.1f}  {shares}"
    )


@contextmanager
def timed_parts(seconds: Counter[str]) -> Iterator[None]:
    """Let the parts of rendering add up their seconds while the block runs."""
    with ExitStack() as stack:
        for part, names in PARTS.items():
            for name in names:
                function = adding_up(part, getattr(render, name), seconds)
                stack.enter_context(patch.object(render, name, function))
        yield


def adding_up(
    part: str, function: Callable[..., object], seconds: Counter[str]
) -> Callable[..., object]:
    """Wrap a function so that its seconds are counted."""

    def wrapped(*args: object, **kwargs: object) -> object:
        with timed(part, seconds):
            return function(*args, **kwargs)

    return wrapped


@contextmanager
def timed(part: str, seconds: Counter[str]) -> Iterator[None]:
    """Add the processor time of a block."""
    start = time.process_time()
    try:
        yield
    finally:
        seconds[part] += time.process_time() - start


if __name__ == "__main__":
    main()
