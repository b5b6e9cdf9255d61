"""``kd3d-train``: train a student, with or without a teacher, and report on it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten
from kd3d.cli.resume import find_run, load_run, wants_resume
from kd3d.errors import ConfigError

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-train``."""
    words = sys.argv[1:]
    if wants_resume(words):
        go_on(words)
    else:
        check_folders(words)
        train()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="train")
@clear_errors
def train(config: DictConfig) -> float:
    """Run one composed configuration; the value is the student's L2 mAPH, for sweeps."""
    if config.resume is not None:
        raise ConfigError(
            "cannot be combined with options that begin with a dash.",
            where=f"resume={config.resume}",
        )
    job = HydraConfig.get()
    command = " ".join(["kd3d-train", *sys.argv[1:]])
    return _run(config, Path(job.runtime.output_dir), command, job.overrides.task)


def go_on(words: Sequence[str]) -> float:
    """Go on with an interrupted run, in its folder and as it was started.

    Args:
        words: the command line, with ``resume=``.
    """
    folder = find_run(words)
    found = load_run(folder, words)
    others = [word for word in words if not word.startswith("resume=")]
    # What Lightning starts the processes of further devices with; "last" may have become another.
    sys.argv = [os.path.abspath(sys.argv[0]), f"resume={folder}", *others]  # noqa: PTH100 - a link stays
    if found.started_in.is_dir():
        os.chdir(found.started_in)
    return _run(found.config, folder, found.command, found.words)


def _run(config: DictConfig, folder: Path, command: str, words: Sequence[str]) -> float:
    from kd3d.cli.pipeline import run
    from kd3d.cli.study import run_study

    quieten()
    # logger=mlflow keeps its files in the run's folder, which recent releases must be told twice
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    if config.study is not None:
        return run_study(config, folder, words)
    return run(config, folder, command)


if __name__ == "__main__":
    main()
