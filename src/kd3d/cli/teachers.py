"""Teachers of a run: from a checkpoint, or trained once and shared."""

from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd3d.cli.job_names import digest
from kd3d.cli.stored_config import is_free
from kd3d.detectors import Detector
from kd3d.errors import TeacherError

__all__ = ["load_teacher", "teacher_config", "teacher_folder", "teacher_network"]

_NEUTRAL = ("num_workers", "pin_memory", "multiprocessing_context", "cache_dir")
"""Options of ``data`` that change no number: a run may go on with others and finds its teacher."""

_OPTIONS = ("checkpoint", "min_score", "check_frames", "seed", "max_steps")


def teacher_network(config: DictConfig) -> Detector:
    """Make the teacher's network with fresh weights."""
    detector: Detector = instantiate(_network(config), _convert_="all")
    return detector


def load_teacher(config: DictConfig) -> Detector:
    """Load ``teacher.checkpoint``, with the widths it was trained with, on the student's range.

    Raises:
        CheckpointError: if the file is missing, unreadable or unsafe.
        TeacherError: if it holds another network than ``teacher`` names.
    """
    path = Path(config.teacher.checkpoint)
    teacher = Detector.from_checkpoint(
        path, point_cloud_range=tuple(config.student.point_cloud_range)
    )
    if teacher.name != config.teacher.name:
        raise TeacherError(
            f"holds {teacher.name}, the run asks for {config.teacher.name}.",
            where=str(path),
            hint=f"Say teacher={teacher.name}, or name another file.",
        )
    return teacher


def teacher_config(config: DictConfig) -> DictConfig:
    """Give the configuration that the teacher itself is trained with, all of it.

    What ``optimizer`` freezes, and rates of its own parts, are the student's.
    """
    own = config.copy()
    own.optimizer.freeze, own.optimizer.rates = [], None
    own.seed = config.teacher.seed
    own.trainer.max_steps = config.teacher.max_steps
    return own


def teacher_folder(config: DictConfig) -> Path:
    """Name the folder of a teacher after everything that its weights depend on."""
    parts = {
        "network": _network(config),
        "data": config.data,
        "simulate": config.simulate,
        "optimizer": config.optimizer,
        "trainer": config.trainer,
        "weights": config.run.weights,
        "callbacks": config.callbacks,
    }
    resolved = {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in parts.items()
    }
    callbacks = cast(dict[str, Any], resolved["callbacks"] or {})
    resolved["callbacks"] = {
        name: node for name, node in callbacks.items() if node and not is_free(f"callbacks.{name}")
    }
    data = cast(dict[str, Any], resolved["data"])
    resolved["data"] = {key: value for key, value in data.items() if key not in _NEUTRAL}
    name = f"{config.teacher.name}-{digest(str(resolved))}"
    return Path(config.log_dir) / "teachers" / name


def _network(config: DictConfig) -> DictConfig:
    resolved = OmegaConf.to_container(config.teacher, resolve=True)
    assert isinstance(resolved, dict)
    return OmegaConf.create({k: v for k, v in resolved.items() if k not in _OPTIONS})
