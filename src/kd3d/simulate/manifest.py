"""The file beside simulated segments that says how they were made and which are finished."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.files import write_text
from kd3d.simulate.sensors import Sensor

__all__ = [
    "MANIFEST_NAME",
    "SPLITS",
    "Manifest",
    "Segment",
    "Settings",
    "fingerprint",
    "load_manifest",
    "open_manifest",
    "segment_context",
    "segment_name",
    "write_manifest",
]

MANIFEST_NAME = "simulation.json"
SPLITS = ("training", "validation", "test")
"""The splits in the order of their numbers, which enter the seeds."""

Settings = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment file.

    Args:
        frames: number of its frames.
        boxes: labelled boxes with at least one point, per class name.
        bytes: size of the file.
        sha256: of the file, in hexadecimal digits.
    """

    frames: int
    boxes: dict[str, int]
    bytes: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """Settings of a dataset, what it is to hold, and its finished segments.

    Args:
        settings: everything that a segment's bytes depend on; of a preset also its name and
            version.
        scenes: segments that each split is to have.
        segments: finished segments by their path below the root.
    """

    settings: Settings
    scenes: dict[str, int]
    segments: dict[str, Segment] = field(default_factory=dict)

    def is_finished(self, root: Path, name: str) -> bool:
        """Whether a segment is listed and its file has the size it had when it was written."""
        path, segment = root / name, self.segments.get(name)
        return segment is not None and path.is_file() and path.stat().st_size == segment.bytes

    def planned(self) -> list[str]:
        """Paths below the root of all segments that there should be."""
        seed = int(self.settings["seed"])
        return [
            segment_name(split, segment_context(seed, split, scene))
            for split, count in self.scenes.items()
            for scene in range(count)
        ]


def segment_context(seed: int, split: str, scene: int) -> str:
    """Name a segment as its frames do."""
    return f"simulated_{seed}_{split}_{scene:05d}"


def segment_name(split: str, context: str) -> str:
    """Path of a segment below the dataset's root."""
    return f"{split}/segment-{context}_with_camera_labels.tfrecord"


def fingerprint(sensors: Sequence[Sensor]) -> str:
    """A short name for a set of sensors; other places, beams or shapes give another one."""
    digest = hashlib.sha256()
    for sensor in sensors:
        calibration, beams = sensor.calibration, sensor.calibration.beam_inclinations
        bounds = [calibration.beam_inclination_min, calibration.beam_inclination_max]
        digest.update(f"{calibration.name} {sensor.rows} {sensor.columns}".encode())
        for values in (calibration.extrinsic, bounds if beams is None else beams):
            digest.update(np.asarray(values, "<f8").tobytes())
    return digest.hexdigest()[:16]


def load_manifest(root: Path) -> Manifest:
    """Read the manifest of a simulated dataset.

    Raises:
        DatasetError: there is none, the file is not a manifest, or an older kd3d wrote it, without
            checksums.
        OutputError: it cannot be read.
    """
    path = root / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings, entries = dict(content["settings"]), dict(content["segments"])
        if "scenes" not in content or any("sha256" not in entry for entry in entries.values()):
            raise DatasetError(
                "was written by an older kd3d: it has no checksums.",
                where=str(path),
                hint="Delete the folder and simulate it again, or name another folder.",
            )
        scenes = {split: int(content["scenes"][split]) for split in SPLITS}
        segments = {name: Segment(**entry) for name, entry in entries.items()}
        int(settings["seed"])
    except FileNotFoundError:
        raise DatasetError(
            f"there is no {MANIFEST_NAME}: this is no simulated dataset.",
            where=str(root),
            hint="Name the folder that was given as out=... to kd3d-data simulate.",
        ) from None
    except OSError as error:
        raise _unusable(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"is not the settings file of a simulation ({error!r}).",
            where=str(path),
            hint="Name another folder, or delete this one and simulate again.",
        ) from error
    return Manifest(settings, scenes, segments)


def open_manifest(root: Path, settings: Settings, scenes: Mapping[str, int]) -> Manifest:
    """Read the manifest of a folder that is to be filled; a new one where there is none.

    Args:
        root: folder of the dataset.
        settings: what the folder should have been made with.
        scenes: segments that each split of a new dataset is to have.

    Raises:
        ConfigError: it was made with other settings.
        DatasetError: as for `load_manifest`, but for a folder that has none.
        OutputError: it cannot be read.
    """
    if not (root / MANIFEST_NAME).exists():
        return Manifest(settings, dict(scenes))
    found = load_manifest(root)
    other = sorted(
        key for key in found.settings | settings if found.settings.get(key) != settings.get(key)
    )
    if other:
        raise ConfigError(
            "the folder was simulated with other settings: "
            f"{_told(found.settings, other)} there; asked: {_told(settings, other)}.",
            where=str(root / MANIFEST_NAME),
            hint="Name another folder, or delete this one.",
        )
    return found


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest under a temporary name, then rename it.

    Raises:
        OutputError: the folder cannot be written.
    """
    segments = {name: asdict(manifest.segments[name]) for name in sorted(manifest.segments)}
    content = {"settings": manifest.settings, "scenes": manifest.scenes, "segments": segments}
    write_text(root / MANIFEST_NAME, json.dumps(content, indent=2) + "\n")


def _told(settings: Settings, keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {settings[key]}" if key in settings else f"no {key}" for key in keys)


def _unusable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be read ({error.strerror or error}).",
        where=str(path),
        hint="Name a folder that you may read and write.",
    )
