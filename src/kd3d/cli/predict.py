"""``kd3d-predict``: write a checkpoint's predictions to a file."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders, require_root
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

if TYPE_CHECKING:
    from kd3d.data import FrameDataModule

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-predict``."""
    check_folders(sys.argv[1:])
    predict()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="predict")
@clear_errors
def predict(config: DictConfig) -> None:
    """Write what ``checkpoint`` finds in the validation set of ``data`` to ``out``."""
    from kd3d.cli.detect import collect_detections, open_data
    from kd3d.detectors import Detector
    from kd3d.predictions import check_format, save_objects

    quieten()
    require_root(config, "val")
    check_format(config.out, where="out")
    detector = Detector.from_checkpoint(config.checkpoint)
    data = open_data(config, detector)
    check_room(config.out, detector.classes, data)  # before hours of work
    collector, first = collect_detections(config, data, detector)
    if first:
        objects = collector.predictions.build()
        save_objects(config.out, objects)
        print(f"written: {config.out}, {len(objects)} boxes in {len(objects.frame_ids)} frames")


def check_room(out: str, classes: Sequence[str], data: "FrameDataModule") -> None:
    """Make sure that a file has room for a detector's classes and for the names of the frames.

    Raises:
        ConfigError: if it is a ``.bin`` file, and classes or frames are not Waymo's.
    """
    from kd3d.data import WaymoDataModule
    from kd3d.errors import ConfigError, InputError
    from kd3d.predictions import check_format, split_frame_id

    if check_format(out, where="out", classes=classes) == "bin":
        if isinstance(data, WaymoDataModule):
            return  # without reading a record
        try:
            for frame_id in data.val_frames.sample_frame_ids(1):
                split_frame_id(frame_id)
        except InputError as error:
            raise ConfigError(
                f"frame {error.where} {error.what}",
                where="out",
                hint="Write a .parquet or .npz file.",
            ) from error


if __name__ == "__main__":
    main()
