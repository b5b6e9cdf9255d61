"""``kd3d-data``: make and look at datasets."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd3d.cli.guard import clear_errors
from kd3d.errors import ConfigError

__all__ = ["SimulateOptions", "main"]


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


def _help() -> str:
    lines = [
        "usage: kd3d-data simulate out=DIR [name=value ...]",
        "",
        "Write simulated LiDAR scenes as Waymo records: DIR/training and DIR/validation.",
        "",
    ]
    for option in fields(SimulateOptions):
        default = "" if option.default in (MISSING, None) else f" (default {option.default})"
        lines.append(f"  {option.name:<12}{option.metadata['help']}{default}")
    return "\n".join(lines)


def _read_options(words: Sequence[str]) -> SimulateOptions:
    for word in words:
        if "=" not in word:
            raise ConfigError(f"{word!r} is not name=value.", hint="See kd3d-data --help.")
    try:
        given = OmegaConf.from_dotlist(list(words))
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SimulateOptions), given))
    except OmegaConfBaseException as error:
        option = getattr(error, "full_key", None) or "options"
        reason = f"{str(error).splitlines()[0].rstrip('.')}."
        raise ConfigError(reason, where=option, hint="See kd3d-data --help.") from error
    assert isinstance(merged, SimulateOptions)
    return merged


@clear_errors
def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``kd3d-data``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help") or "--help" in words or "-h" in words:
        print(_help())
        return
    if words[0] != "simulate":
        raise ConfigError(f"there is no task {words[0]!r}.", hint="There is: kd3d-data simulate.")
    options = _read_options(words[1:])

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


if __name__ == "__main__":
    main()
