"""``kd3d-train``: train a student, with or without a teacher, and report on it."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-train``."""
    check_folders(sys.argv[1:])
    train()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="train")
@clear_errors
def train(config: DictConfig) -> float:
    """Run one composed configuration; the value is the student's L2 mAPH, for sweeps."""
    from kd3d.cli.pipeline import run

    quieten()
    # logger=mlflow keeps its files in the run's folder, which recent releases must be told twice
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = Path(HydraConfig.get().runtime.output_dir)
    command = " ".join(["kd3d-train", *sys.argv[1:]])
    return run(config, folder, command)


if __name__ == "__main__":
    main()
