"""``kd3d-data objects``: cut labelled objects out, for ground-truth sampling."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from kd3d.cli.data_index import SEGMENT_HELP
from kd3d.cli.data_task import DataTask
from kd3d.errors import ConfigError

if TYPE_CHECKING:
    from kd3d.data import FrameSource

__all__ = ["OBJECTS", "ObjectsOptions"]

_WAYMO_TRAINING = "training/*.tfrecord"


@dataclass
class ObjectsOptions:
    """What ``kd3d-data objects`` takes, each as ``name=value``."""

    root: str = field(default=MISSING, metadata={"help": "folder or URL of the dataset"})
    out: str = field(default=MISSING, metadata={"help": "folder to write"})
    format: str = field(
        default="waymo", metadata={"help": "waymo (tfrecords) or folder (your own scans)"}
    )
    train: Any = field(
        default=None,
        metadata={
            "help": f"{SEGMENT_HELP.format('training').removesuffix('; null for none')}, by default"
            f" {_WAYMO_TRAINING}; of a folder the split, by default train"
        },
    )
    intervals: dict[str, int] | None = field(
        default=None,
        metadata={
            "help": "intervals.NAME=N cuts a class from every N-th frame, others from all;"
            " by default Vehicle=4, Pedestrian=2"
        },
    )
    sweeps: int = field(
        default=1, metadata={"help": "as data.sweeps of the training that pastes the objects"}
    )
    on_error: str = field(
        default="raise", metadata={"help": "damaged records: raise, or skip them"}
    )
    workers: int | None = field(default=None, metadata={"help": "processes; all cores by default"})
    cache_dir: str | None = field(
        default=None, metadata={"help": "of the index; $KD3D_CACHE or ~/.cache/kd3d by default"}
    )


def _objects(options: ObjectsOptions) -> None:
    from kd3d.data import build_objects
    from kd3d.data.faults import known_policy
    from kd3d.data.sweeps import SweptFrames

    source = _open(options)
    summary = build_objects(
        SweptFrames(source, options.sweeps) if options.sweeps != 1 else source,
        options.out,
        intervals=options.intervals,
        on_error=known_policy(options.on_error),
        workers=options.workers,
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.objects.items())
    print(
        f"{summary.path}: {counts}, with {summary.points:,} points, from {summary.recordings:,}"
        f" recordings ({summary.made:,} read now)"
    )
    for name in summary.skipped:
        print(f"  left out: {name}")


def _open(options: ObjectsOptions) -> "FrameSource":
    from kd3d.data import FolderFrames, WaymoFrames, build_index
    from kd3d.data.faults import known_policy

    if options.format == "folder":
        return FolderFrames.open(options.root, split=options.train or "train")
    if options.format == "waymo":
        pattern = options.train or _WAYMO_TRAINING
        policy = known_policy(options.on_error)
        return WaymoFrames(
            build_index(options.root, pattern, cache_dir=options.cache_dir, on_error=policy)
        )
    raise ConfigError(
        f"{options.format!r} is no format.", where="format", hint="Give waymo or folder."
    )


OBJECTS = DataTask(
    "objects",
    "Cut the labelled objects of training frames out, for pasting them into others (data.paste)",
    ObjectsOptions,
    _objects,
)
