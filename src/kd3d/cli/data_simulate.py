"""``kd3d-data simulate``: simulated LiDAR scenes as Waymo records."""

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from kd3d.cli.data_task import DataTask

__all__ = ["SIMULATE", "SimulateOptions"]


@dataclass
class SimulateOptions:
    """What ``kd3d-data simulate`` takes, each as ``name=value``."""

    out: str = field(default=MISSING, metadata={"help": "folder to write"})
    scenes: int = field(default=8, metadata={"help": "training segments"})
    val_scenes: int = field(default=2, metadata={"help": "validation segments"})
    frames: int = field(default=10, metadata={"help": "frames per segment, 10 a second"})
    seed: int = field(default=0, metadata={"help": "the same seed makes the same bytes"})
    resolution: float = field(default=1.0, metadata={"help": "share of the columns to keep"})
    extent: float = field(default=75.0, metadata={"help": "metres around the car with objects"})
    calibration: str | None = field(
        default=None, metadata={"help": "a tfrecord whose laser calibrations to copy"}
    )
    workers: int | None = field(default=None, metadata={"help": "processes; all cores by default"})


def _simulate(options: SimulateOptions) -> None:
    from kd3d.simulate import simulate_dataset

    summary = simulate_dataset(
        Path(options.out),
        scenes=options.scenes,
        val_scenes=options.val_scenes,
        frames=options.frames,
        seed=options.seed,
        resolution=options.resolution,
        extent=options.extent,
        calibration=Path(options.calibration) if options.calibration else None,
        workers=options.workers,
    )
    boxes = ", ".join(f"{count} {name}" for name, count in summary.boxes.items())
    print(
        f"{summary.root}: {summary.segments} segments ({summary.written} new), "
        f"{summary.frames} frames, boxes with points: {boxes}"
    )


SIMULATE = DataTask(
    "simulate",
    "Write simulated LiDAR scenes as Waymo records: OUT/training and OUT/validation",
    SimulateOptions,
    _simulate,
)
