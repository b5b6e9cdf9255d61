"""The configurations of a study's runs, made from the command line that starts the study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from kd3d.cli.resume import compose_train
from kd3d.cli.stored_config import FREE
from kd3d.errors import ConfigError
from kd3d.study import StudyPlan, StudyRow, StudyTeacher

__all__ = ["row_config", "settings_of", "stage_name", "teacher_run_config", "with_teacher"]

_STAGES = ("student", "initialised", "plain")
_WITHOUT_NUMBERS = (
    *FREE,
    *("log_dir", "recipe", "resume", "simulate", "stage", "study"),
    *("teacher.checkpoint", "trainer.accelerator", "trainer.enable_progress_bar"),
)
"""What a run's numbers do not depend on, beside the data itself, which has its own fingerprint."""
_REPEATS = 10
"""Timed passes at most: the seeds repeat them."""


def row_config(words: Sequence[str], plan: StudyPlan, row: StudyRow, runs: Path) -> DictConfig:
    """Compose the runs of a row; the seed is still that of the command line.

    Args:
        words: overrides that started the study.
        plan: the study.
        row: of the plan.
        runs: folder of all runs.

    Raises:
        ConfigError: if the row trains no network, or several.
    """
    config = _light(
        compose_train([*words, *row.overrides], where=f"study.rows.{row.name}"),
        plan,
        row.steps,
        runs,
    )
    trained = [name for name in ("teacher", *_STAGES) if config.run[name]]
    if len(trained) != 1 or trained[0] not in _STAGES:
        raise ConfigError(
            f"the row trains {' and '.join(trained) or 'nothing'}.",
            where=f"study.rows.{row.name}.overrides",
            hint=f"Have it say one of {', '.join(f'run.{name}=true' for name in _STAGES)}.",
        )
    config.trainer.max_steps = row.steps
    return config


def teacher_run_config(
    words: Sequence[str], plan: StudyPlan, teacher: StudyTeacher, runs: Path
) -> DictConfig:
    """Compose the run that trains a teacher."""
    config = _light(
        compose_train([*words, *teacher.overrides], where=f"study.teachers.{teacher.name}"),
        plan,
        teacher.steps,
        runs,
    )
    for name in _STAGES:
        config.run[name] = False
    config.run.teacher = True
    config.teacher.checkpoint = None
    config.teacher.seed = teacher.seed
    config.teacher.max_steps = config.trainer.max_steps = teacher.steps
    return config


def with_teacher(config: DictConfig, file: Path) -> DictConfig:
    """Name the teacher's file where the run uses one; plain runs stay as they are."""
    if stage_name(config) in ("student", "initialised"):
        config.teacher.checkpoint = str(file.resolve())
    return config


def stage_name(config: DictConfig) -> str:
    """Name the one network that a run trains, which is also its folder."""
    return next(name for name in (*_STAGES, "teacher") if config.run[name])


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Give everything that a run's numbers depend on, but for seed, data and teacher's weights.

    Options that the run does not use are left out too: the plain row is not another one when a
    weight of distillation changes.
    """
    config = config.copy()
    config.seed = 0
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    stage = stage_name(config)
    unused = {
        "teacher": ("student", "kd", "init"),
        "plain": ("teacher", "kd", "init"),
        "initialised": ("kd", "teacher.seed", "teacher.max_steps"),
        "student": ("teacher.seed", "teacher.max_steps"),
    }
    for key in (*_WITHOUT_NUMBERS, *unused[stage], "seed"):
        _remove(plain, key)
    others = {key: of for key, of in plain["run"].items() if key not in ("teacher", *_STAGES)}
    plain["run"] = {"trains": stage, **others}
    return plain


def _light(config: DictConfig, plan: StudyPlan, steps: int, runs: Path) -> DictConfig:
    """Leave out what a study does not look at, and validate at the study's points."""
    config.study = None
    config.simulate = None  # made before, once
    config.log_dir = str(runs)
    config.callbacks.pictures = None
    config.callbacks.progress = None
    OmegaConf.update(config, "trainer.enable_progress_bar", False, force_add=True)
    config.trainer.check_val_every_n_epoch = None
    config.trainer.val_check_interval = steps // plan.curve_points
    config.report.picture_frame = None
    config.report.latency_repeats = min(config.report.latency_repeats, _REPEATS)
    config.report.teacher = False
    return config


def _remove(node: dict[str, Any], key: str) -> None:
    *path, last = key.split(".")
    for name in path:
        node = node.get(name) or {}
    node.pop(last, None)
