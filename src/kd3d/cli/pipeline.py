"""What ``kd3d-train`` does, from top to bottom."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.syntax import Syntax

from kd3d.cli.data_simulate import simulate_records
from kd3d.cli.environment import write_versions
from kd3d.cli.folders import require_root
from kd3d.cli.outcome import Outcome, write_outcome
from kd3d.cli.ranks import is_first_process
from kd3d.cli.report import print_results
from kd3d.cli.results import Role, RunResult, read_results
from kd3d.cli.run_lock import alone_in
from kd3d.cli.sizes import BatchSizes, print_sizes
from kd3d.cli.stages import Stage, check_options, evaluate_loaded, has_begun, train_stage
from kd3d.cli.stopped import told_when_stopped
from kd3d.cli.stored_config import check_same, config_text
from kd3d.cli.teachers import load_teacher, teacher_config, teacher_folder, teacher_network
from kd3d.cli.trained_weights import check_weights
from kd3d.detectors import Detector
from kd3d.distill import inherit_weights
from kd3d.errors import ConfigError
from kd3d.files import write_text
from kd3d.training import warm_start

__all__ = ["run"]

_NETWORKS = ("teacher", "plain", "initialised", "student")
"""Options of ``run`` that name a network to train."""


def run(config: DictConfig, folder: Path, command: str) -> float:
    """Train what the configuration asks for and report on it.

    Args:
        config: a composed ``train`` configuration.
        folder: the run's folder. A finished run is not repeated, and of an interrupted one the
            finished stages are kept and the others go on.
        command: the command line, for the report.

    Returns:
        L2 mAPH of the last student, in [0, 1].

    Raises:
        ConfigError: if options are missing or contradict each other, or those that the run was
            started with.
        OutputError: if another command is at work in the folder.
        SystemExit: if a signal stops the training, with 128 + its number.
    """
    console = Console(quiet=not is_first_process())
    _check(config)
    finished = _finished(config, folder)
    if finished:
        console.print(f"finished before: {folder / 'report.md'}")
        print_results(finished, console=console)
        return finished[-1].metrics["L2_mAPH"]
    going_on = f"kd3d-train resume={folder} goes on from the last checkpoint."
    with alone_in(folder), told_when_stopped(going_on, console):
        return _train(config, folder, command, console)


def _train(config: DictConfig, folder: Path, command: str, console: Console) -> float:
    """Train one network after the other and report on them."""
    _start(config, folder, console)
    outcome = Outcome()
    teacher = _teacher(config, folder, console, outcome)
    if config.run.plain:
        stage = Stage("plain student", "plain student", folder / "plain", "random")
        student = _student(config)
        outcome.add(train_stage(config, stage, student), student, stage.folder)
    if config.run.initialised:
        stage = Stage("initialised student", "plain student", folder / "initialised", "random")
        student, stage = _initialised(config, stage, teacher, console)
        outcome.add(train_stage(config, stage, student), student, stage.folder)
    if config.run.student:
        _train_student(config, folder, teacher, console, outcome)
    if is_first_process():
        write_outcome(config, folder, command, outcome)
        title = f"Waymo metric, {outcome.results[-1].split} frames"
        print_results(outcome.results, title=title, console=console)
        console.print(f"report: {folder / 'report.md'}")
    return outcome.results[-1].metrics["L2_mAPH"]


def _check(config: DictConfig) -> None:
    """Refuse what cannot work before anything is written."""
    simulated = ", or try everything on simulated records first: scale=demo"
    require_root(config, "train", "val", otherwise=simulated)
    start = config.init.get("checkpoint")
    if config.init.strategy == "partial" and start is None:
        raise ConfigError(
            "there is no checkpoint to start from.",
            where="init.checkpoint",
            hint="Name one: init=partial init.checkpoint=FILE.",
        )
    if _wants_teacher(config) and config.teacher.checkpoint is None and not config.run.teacher:
        raise ConfigError(
            "distillation and initialisation need a trained teacher.",
            where="teacher.checkpoint",
            hint="Name one (teacher.checkpoint=FILE; experiment=cp_pillar trains it), "
            "or let this command train it first: run.teacher=true.",
        )
    if _wants_teacher(config) and config.teacher.classes != config.student.classes:
        raise ConfigError(
            f"the teacher's are {list(config.teacher.classes)}, "
            f"the student's {list(config.student.classes)}.",
            where="classes",
            hint="Set both at once: classes=[...].",
        )
    if start is not None and not Path(start).is_file():
        raise ConfigError(
            f"there is no file {start}.",
            where="init.checkpoint",
            hint="Name a trained detector (.ckpt), or leave it null to start from the teacher.",
        )
    check_weights(config)
    if not any(config.run[name] for name in _NETWORKS):
        raise ConfigError("there is nothing to train.", where="run", hint="Say run.student=true.")
    # All that can be made without a teacher, before one trains for days.
    check_options(config, _student(config))
    if config.run.student and config.kd.objectives:
        instantiate(config.kd.objectives, _convert_="all")


def _wants_teacher(config: DictConfig) -> bool:
    distils = bool(config.run.student and config.kd.objectives)
    inherits = (config.run.student or config.run.initialised) and config.init.strategy is not None
    return bool(distils or (inherits and config.init.get("checkpoint") is None))


def _finished(config: DictConfig, folder: Path) -> list[RunResult] | None:
    """Read what the folder's last run reported, if it is the same one and has come to its end."""
    stored, report = folder / "config.yaml", folder / "metrics.json"
    if not stored.is_file() or not (report.is_file() or has_begun(folder)):
        return None
    check_same(cast(DictConfig, OmegaConf.load(stored)), config, folder)
    return read_results(report) if report.is_file() else None


def _start(config: DictConfig, folder: Path, console: Console) -> None:
    """Write down what is run, say it, and make sure that there is data."""
    text = config_text(config)
    if is_first_process():
        write_text(folder / "config.yaml", text)
        write_versions(folder)
    console.print(Syntax(text, "yaml", background_color="default"))
    if config.simulate is not None and is_first_process():
        arguments = cast(dict[str, Any], OmegaConf.to_container(config.simulate, resolve=True))
        simulate_records({"out": config.data.root, **arguments})
    devices = _count_devices(config)
    per_device = int(config.data.batch_size)
    accumulated = int(config.trainer.accumulate_grad_batches)
    print_sizes(
        console,
        BatchSizes(per_device * devices * accumulated, per_device),
        BatchSizes(config.recipe.effective_batch, config.recipe.batch_norm_batch),
    )


def _count_devices(config: DictConfig) -> int:
    trainer: pl.Trainer = instantiate(
        config.trainer, logger=False, enable_checkpointing=False, _convert_="all"
    )
    return trainer.world_size


def _teacher(
    config: DictConfig, folder: Path, console: Console, outcome: Outcome
) -> Detector | None:
    """Load the teacher, or train it once for all jobs that ask for the same one."""
    if config.teacher.checkpoint is not None and _wants_teacher(config):
        teacher = load_teacher(config)
        stage = Stage("teacher", "teacher", folder / "teacher", "loaded")
        if config.report.teacher:
            outcome.add(evaluate_loaded(config, stage, teacher), teacher, stage.folder)
        return teacher
    if not config.run.teacher:
        return None
    own = teacher_config(config)
    stage = Stage("teacher", "teacher", teacher_folder(own), "random")
    console.print(f"teacher: {stage.folder}")
    pl.seed_everything(own.seed, workers=True, verbose=False)
    teacher = teacher_network(config)
    outcome.add(train_stage(own, stage, teacher), teacher, stage.folder)
    return teacher


def _student(config: DictConfig) -> Detector:
    """Make the student with the weights of its seed: the same ones for every stage and job."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    student: Detector = instantiate(config.student, _convert_="all")
    return student


def _initialised(
    config: DictConfig, stage: Stage, teacher: Detector | None, console: Console
) -> tuple[Detector, Stage]:
    """Make the student with the initialisation that the run asks for, and say so in the stage."""
    student = _student(config)
    strategy, file = config.init.strategy, config.init.get("checkpoint")
    source = teacher if file is None else Path(file)
    if strategy is None or source is None:
        return student, stage
    if strategy == "partial":
        report, listed = _partial_start(config, student)
    else:
        report = listed = str(inherit_weights(student, source, strategy=strategy))
    console.print(f"initialisation of the {stage.name} ({strategy}): {report}")
    if is_first_process():
        write_text(stage.folder / "initialisation.txt", listed.rstrip() + "\n")
    origin = "the teacher" if file is None else Path(file).name
    return student, replace(stage, initialisation=f"{strategy} of {origin}")


def _partial_start(config: DictConfig, student: Detector) -> tuple[str, str]:
    """Load what fits of a checkpoint; give the report in short and in full."""
    report = warm_start(
        student,
        config.init.checkpoint,
        include=list(config.init.include),
        exclude=list(config.init.exclude),
    )
    return str(report), report.table()


def _train_student(
    config: DictConfig,
    folder: Path,
    teacher: Detector | None,
    console: Console,
    outcome: Outcome,
) -> None:
    callbacks: list[Callback] = []
    if config.kd.objectives and teacher is not None:
        make_callback = instantiate(config.kd, _partial_=True, _convert_="all")
        callbacks.append(make_callback(teacher=teacher))
    name = "distilled student" if callbacks else "student"
    role: Role = "distilled student" if callbacks else "plain student"
    stage = Stage(name, role, folder / "student", "random")
    student, stage = _initialised(config, stage, teacher, console)
    outcome.add(train_stage(config, stage, student, callbacks), student, stage.folder)
