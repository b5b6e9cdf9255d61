"""``kd3d-data simulate``: simulated LiDAR scenes as Waymo records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from kd3d.cli.data_task import DataTask
from kd3d.errors import ConfigError

if TYPE_CHECKING:
    from kd3d.simulate import SimulationSummary

__all__ = ["SIMULATE", "SimulateOptions", "simulate_records"]

#: What may be given beside a preset, which settles everything else.
_BESIDE_PRESET = {"preset", "out", "workers"}


@dataclass
class SimulateOptions:
    """What ``kd3d-data simulate`` takes, each as ``name=value``.

    What is left out is None, so that what is given beside a preset can be told from a default.
    """

    out: str = field(default=MISSING, metadata={"help": "folder to write"})
    preset: str | None = field(
        default=None, metadata={"help": "a fixed benchmark, see below; beside it: out, workers"}
    )
    scenes: int | None = field(default=None, metadata={"help": "training segments (default 8)"})
    val_scenes: int | None = field(
        default=None, metadata={"help": "validation segments (default 2)"}
    )
    test_scenes: int | None = field(default=None, metadata={"help": "test segments (default 0)"})
    frames: int | None = field(default=None, metadata={"help": "frames per segment (default 10)"})
    interval: float | None = field(
        default=None, metadata={"help": "seconds between two frames (default 0.1)"}
    )
    seed: int | None = field(
        default=None, metadata={"help": "the same seed makes the same bytes (default 0)"}
    )
    resolution: float | None = field(
        default=None, metadata={"help": "share of the columns to keep (default 1.0)"}
    )
    extent: float | None = field(
        default=None, metadata={"help": "metres around the car with objects (default 75.0)"}
    )
    calibration: str | None = field(
        default=None, metadata={"help": "a tfrecord whose laser calibrations to copy"}
    )
    workers: int | None = field(default=None, metadata={"help": "processes; all cores by default"})


def simulate_records(arguments: Mapping[str, Any]) -> "SimulationSummary":
    """Make a preset, or a dataset of one's own.

    Args:
        arguments: ``preset``, ``out`` and perhaps ``workers``; or, where ``preset`` is absent or
            None, the arguments of `kd3d.simulate.simulate_dataset`.

    Raises:
        Kd3dError: as `kd3d.simulate.simulate_preset` and `kd3d.simulate.simulate_dataset`.
    """
    from kd3d.simulate import simulate_dataset, simulate_preset

    others = {name: value for name, value in arguments.items() if name != "preset"}
    name = arguments.get("preset")
    if name is None:
        return simulate_dataset(**others)
    return simulate_preset(name, others["out"], workers=others.get("workers"))


def _simulate(options: SimulateOptions) -> None:
    given = {name: value for name, value in asdict(options).items() if value is not None}
    surplus = sorted(given.keys() - _BESIDE_PRESET)
    if options.preset is not None and surplus:
        raise ConfigError(
            f"the preset {options.preset} settles {', '.join(surplus)}.",
            where="preset",
            hint="Give only out and workers beside it, or leave the preset out.",
        )
    summary = simulate_records(given)
    boxes = ", ".join(f"{count} {name}" for name, count in summary.boxes.items())
    print(
        f"{summary.root}: {summary.segments} segments ({summary.written} new), "
        f"{summary.frames} frames, boxes with points: {boxes}"
    )


def _presets() -> str:
    from kd3d.simulate import PRESETS

    told = (
        fill(
            str(one),
            width=98,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        for one in PRESETS.values()
    )
    return "\n".join(["presets:", *told])


SIMULATE = DataTask(
    "simulate",
    "Write simulated LiDAR scenes as Waymo records: OUT/training, OUT/validation, OUT/test",
    SimulateOptions,
    _simulate,
    notes=_presets,
)
