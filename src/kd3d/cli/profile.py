"""``kd3d-profile``: count what a detector costs, and measure it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

if TYPE_CHECKING:
    import torch

    from kd3d.detectors import Detector
    from kd3d.profiling import Profile
    from kd3d.structures import PointBatch

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-profile``."""
    check_folders(sys.argv[1:])
    profile()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="profile")
@clear_errors
def profile(config: DictConfig) -> int:
    """Profile ``detector`` or ``checkpoint`` on one frame; the value is its MACs."""
    import torch
    from rich.console import Console

    from kd3d import profiling
    from kd3d.profiling.cost import check_convention

    quieten()
    # YAML reads true as a boolean
    convention = check_convention(str(config.convention).lower())
    torch.manual_seed(config.seed)
    device = _device(config.device)
    detectors = _detectors(config)
    batch = _frame(config, next(iter(detectors.values())))
    profiles = [
        profiling.profile(
            detector.to(device),
            batch,
            convention=convention,
            repeats=config.latency.repeats,
            warmup=config.latency.warmup,
            memory=config.memory,
            name=name,
        )
        for name, detector in detectors.items()
    ]
    console = Console()
    console.print(f"frame {batch.frame_ids[0]}: {len(batch.points):,} points", highlight=False)
    for part in profiling.describe(profiles[0], depth=config.depth):
        console.print(part, highlight=False)
    if len(profiles) > 1:
        console.print(profiling.summarise(profiles), highlight=False)
    folder = Path(config.out or HydraConfig.get().runtime.output_dir)
    print("written: " + ", ".join(map(str, _write(profiles, folder))))
    return profiles[0].macs


def _detectors(config: DictConfig) -> "dict[str, Detector]":
    """Build the detectors to profile, by name, the main one first."""
    from hydra.utils import instantiate

    from kd3d.detectors import Detector, create_detector
    from kd3d.errors import ConfigError

    if ("detector" in config) == bool(config.checkpoint):
        given = "both are given" if config.checkpoint else "neither is given"
        raise ConfigError(
            f"{given}.",
            where="detector, checkpoint",
            hint="Name one: detector=cp_voxel, or checkpoint=FILE.ckpt.",
        )
    if config.checkpoint:
        first = Detector.from_checkpoint(config.checkpoint)
    else:
        first = instantiate(config.detector, _convert_="all")
    names = dict.fromkeys(config.compare)
    others = {name: create_detector(name, classes=first.classes) for name in names}
    return {" ".join((first.name, *_changes())): first, **others}


def _changes() -> list[str]:
    """Give what the command line changes of the named detector: a part of what it is called."""
    words = HydraConfig.get().overrides.task
    return [word.partition("detector.")[2] for word in words if "detector." in word.split("=")[0]]


def _device(name: str) -> "torch.device":
    import torch

    from kd3d.errors import ConfigError

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"{name!r} is no device of this machine.",
            where="device",
            hint="Use auto, cpu, cuda or cuda:NUMBER.",
        ) from error
    return device


def _frame(config: DictConfig, detector: "Detector") -> "PointBatch":
    """Give the frame of the dataset, or a simulated one where none is named."""
    from hydra.utils import instantiate

    from kd3d.data import collate_frames
    from kd3d.errors import ConfigError
    from kd3d.profiling import simulated_frame
    from kd3d.structures import PointBatch

    if config.data.root is None:
        return simulated_frame(config.seed)
    data = instantiate(
        config.data,
        classes=list(detector.classes),
        point_range=config.data.point_range or list(detector.point_cloud_range),
        _convert_="all",
    )
    frames = data.val_frames
    if not 0 <= config.frame < len(frames):
        raise ConfigError(
            f"there is no frame {config.frame}.",
            where="frame",
            hint=f"The validation set has frames 0 to {len(frames) - 1}.",
        )
    batch = collate_frames([frames[config.frame]])
    return batch if isinstance(batch, PointBatch) else batch.decode()


def _write(profiles: "list[Profile]", folder: Path) -> list[Path]:
    """Write a JSON file for each network, and one picture of all."""
    from kd3d.profiling import cost_parts, scale_of
    from kd3d.visualize import save_costs

    written = [profiles[0].save(folder / "profile.json")]
    for other in profiles[1:]:
        written.append(other.save(folder / f"profile_{other.name}.json"))
    divisor, prefix = scale_of(max(one.root.cost.paper.macs for one in profiles))
    networks = {
        one.name: {
            convention: {
                part: cost.of(convention).macs / divisor
                for part, cost in cost_parts(one.root).items()
            }
            for convention in ("true", "paper")
        }
        for one in profiles
    }
    picture = folder / "profile.png"
    save_costs(picture, networks, unit=f"{prefix}MACs", title="Multiply-accumulates of one frame")
    return [*written, picture]


if __name__ == "__main__":
    main()
