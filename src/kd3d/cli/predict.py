"""``kd3d-predict``: write a checkpoint's predictions to a file."""

import sys

import hydra
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

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
    from kd3d.cli.detect import collect_detections, require_root
    from kd3d.detectors import Detector
    from kd3d.predictions import check_format, save_objects

    quieten()
    require_root(config)
    check_format(config.out, where="out")  # before hours of work
    collector, first = collect_detections(config, Detector.from_checkpoint(config.checkpoint))
    if first:
        objects = collector.predictions.build()
        save_objects(config.out, objects)
        print(f"written: {config.out}, {len(objects)} boxes in {len(objects.frame_ids)} frames")


if __name__ == "__main__":
    main()
