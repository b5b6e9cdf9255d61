"""The file beside simulated segments that says how they were made and which are finished."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.simulate.sensors import Sensor

__all__ = ["MANIFEST_NAME", "Manifest", "Segment", "fingerprint", "read_manifest", "write_manifest"]

MANIFEST_NAME = "simulation.json"


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment file.

    Args:
        frames: number of its frames.
        boxes: labelled boxes with at least one point, per class name.
        size: of the file, bytes.
    """

    frames: int
    boxes: dict[str, int]
    size: int


@dataclass(slots=True)
class Manifest:
    """Settings of a dataset and its finished segments.

    Args:
        settings: everything that a segment's bytes depend on.
        segments: finished segments by their path below the root.
    """

    settings: dict[str, int | float | str]
    segments: dict[str, Segment] = field(default_factory=dict)

    def is_finished(self, root: Path, name: str) -> bool:
        """Whether a segment is listed and its file has the size it had when it was written."""
        path, segment = root / name, self.segments.get(name)
        return segment is not None and path.is_file() and path.stat().st_size == segment.size


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


def read_manifest(root: Path, settings: dict[str, int | float | str]) -> Manifest:
    """Read the manifest of a folder; an empty one where there is none.

    Args:
        root: folder of the dataset.
        settings: what the folder should have been made with.

    Raises:
        ConfigError: it was made with other settings.
        DatasetError: the file is not a manifest.
        OutputError: it cannot be read.
    """
    path = root / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["settings"]
        segments = {name: Segment(**entry) for name, entry in content["segments"].items()}
        other = sorted(key for key in found | settings if found.get(key) != settings.get(key))
    except FileNotFoundError:
        return Manifest(settings)
    except OSError as error:
        raise _unusable(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"is not the settings file of a simulation ({error!r}).",
            where=str(path),
            hint="Name another folder, or delete this one and simulate again.",
        ) from error
    if other:
        differences = ", ".join(f"{key} {found.get(key)} there" for key in other)
        wanted = ", ".join(f"{key} {settings.get(key)}" for key in other)
        raise ConfigError(
            f"the folder was simulated with other settings: {differences}; asked: {wanted}.",
            where=str(path),
            hint="Name another folder, or delete this one.",
        )
    return Manifest(settings, segments)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest under a temporary name, then rename it.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = root / MANIFEST_NAME
    segments = {name: asdict(manifest.segments[name]) for name in sorted(manifest.segments)}
    text = json.dumps({"settings": manifest.settings, "segments": segments}, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be read or written ({error.strerror or error}).",
        where=str(path),
        hint="Name a folder that you may write to, on a disk with room.",
    )
