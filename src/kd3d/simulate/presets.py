"""The fixed benchmarks: simulated datasets with a name and a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from kd3d.errors import ConfigError

__all__ = ["PRESETS", "Preset", "preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A dataset with a name: everything that `simulate_dataset` asks for, and what it costs.

    Args:
        name: what commands and results call it.
        version: goes up whenever the same name gives other bytes.
        purpose: what it is for, in a few words.
        seed: of everything random.
        scenes: training segments.
        val_scenes: validation segments.
        test_scenes: test segments.
        frames: frames per segment.
        interval: seconds between two frames of a segment.
        resolution: fraction of the range images' columns that is kept.
        extent: objects stand within this many metres of the recording car's way.
        frame_megabytes: size of a frame, 10^6 bytes, as benchmarks/simulate_frames.py measured it.
        frame_seconds: seconds of one core per frame, likewise.
    """

    name: str
    version: int
    purpose: str
    seed: int
    scenes: int
    val_scenes: int
    test_scenes: int
    frames: int
    interval: float
    resolution: float
    extent: float
    frame_megabytes: float
    frame_seconds: float

    @property
    def total_frames(self) -> int:
        """Frames of all splits."""
        return (self.scenes + self.val_scenes + self.test_scenes) * self.frames

    @property
    def gigabytes(self) -> float:
        """Estimated size on disk, 10^9 bytes."""
        return self.total_frames * self.frame_megabytes / 1e3

    @property
    def core_minutes(self) -> float:
        """Estimated minutes of one core; divide by the number of cores."""
        return self.total_frames * self.frame_seconds / 60

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.purpose}; {self.scenes} training, {self.val_scenes} validation "
            f"and {self.test_scenes} test segments of {self.frames} frames, about "
            f"{self.gigabytes:.2g} GB and {self.core_minutes:.2g} minutes of one core"
        )


_SMALL = Preset(
    name="kd3d-sim-small",
    version=1,
    purpose="for CPUs: all beams, a quarter of the columns, objects within 45 m",
    seed=1,
    scenes=720,
    val_scenes=80,
    test_scenes=240,
    frames=3,
    interval=0.5,
    resolution=0.25,
    extent=45.0,
    frame_megabytes=0.40,
    frame_seconds=0.09,
)
_LARGE = Preset(
    name="kd3d-sim",
    version=1,
    purpose="for GPUs: the full sensors, objects within 75 m",
    seed=2,
    scenes=1280,
    val_scenes=160,
    test_scenes=320,
    frames=4,
    interval=0.5,
    resolution=1.0,
    extent=75.0,
    frame_megabytes=2.94,
    frame_seconds=0.38,
)

PRESETS: Mapping[str, Preset] = MappingProxyType({one.name: one for one in (_SMALL, _LARGE)})
"""The presets by their names."""


def preset(name: str) -> Preset:
    """Give a preset.

    Raises:
        ConfigError: there is none of this name; the message names the nearest.
    """
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS, n=len(PRESETS), cutoff=0.3) or list(PRESETS)
        raise ConfigError(
            f"there is no preset {name!r}.",
            where="preset",
            hint=f"Nearest: {', '.join(near)}. Or give scenes, frames and so on yourself.",
        )
    return PRESETS[name]
