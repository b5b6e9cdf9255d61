"""One stage of a command: train one network, evaluate it, keep the result."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from kd3d.cli.latency import measure_latency
from kd3d.cli.results import Role, RunResult, read_results, write_results
from kd3d.cli.trained_weights import load_trained
from kd3d.data import WaymoDataModule
from kd3d.detectors import Detector, save_detector
from kd3d.profiling import profile
from kd3d.structures import PointBatch
from kd3d.training import DetectorModule, TimeSpent, find_checkpoint

__all__ = [
    "Stage",
    "check_options",
    "evaluate",
    "evaluate_loaded",
    "finished_stage",
    "has_begun",
    "learning_curve",
    "make_trainer",
    "train_stage",
]

_WEIGHTS = "detector.ckpt"
_RESULT = "result.json"
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Stage:
    """One network to train.

    Args:
        name: the run's name in the report, also the name of its logger runs.
        role: what it is compared as.
        folder: where its checkpoints, curves and result go.
        initialisation: where its weights start, in words.
    """

    name: str
    role: Role
    folder: Path
    initialisation: str

    @property
    def weights(self) -> Path:
        """The trained detector: plain tensors, loadable without Lightning."""
        return self.folder / _WEIGHTS


def finished_stage(stage: Stage) -> RunResult | None:
    """Read the result of a stage that an earlier run completed, if there is one.

    Raises:
        OutputError: if the stage left a result that cannot be read.
    """
    path = stage.folder / _RESULT
    if not path.is_file() or not stage.weights.is_file():
        return None
    return read_results(path)[0]


def has_begun(folder: Path) -> bool:
    """Tell whether any stage of a run's folder left something to go on from."""
    return any(folder.glob(f"*/{_CHECKPOINTS}/*.ckpt")) or any(folder.glob(f"*/{_RESULT}"))


def check_options(config: DictConfig, detector: Detector) -> None:
    """Make sure that a detector can be trained with the options of ``optimizer``.

    Raises:
        ConfigError: if it cannot; the detector is of no use afterwards.
    """
    DetectorModule(detector, **_plain(config.optimizer))


def train_stage(
    config: DictConfig, stage: Stage, detector: Detector, extra: Sequence[Callback] = ()
) -> RunResult:
    """Train a detector, evaluate its last or best weights, and keep both in the stage's folder.

    A stage that was interrupted goes on from its last checkpoint that can be read, with the very
    next frame; one that is finished is not trained again. The detector holds the trained weights
    afterwards.

    Args:
        config: a composed ``train`` configuration.
        stage: name, role and folder.
        detector: the network, with its initial weights.
        extra: callbacks beside the configured ones (distillation).

    Raises:
        CheckpointError: if there are checkpoints and none can be read.
    """
    done = finished_stage(stage)
    if done is not None:
        stored = Detector.from_checkpoint(stage.weights)
        detector.load_state_dict(stored.state_dict())
        return replace(done, name=stage.name, role=stage.role)
    data: WaymoDataModule = instantiate(config.data, _convert_="all")
    module = DetectorModule(detector, **_plain(config.optimizer))
    _set_aside_curves(stage.folder)
    spent = TimeSpent()
    trainer = make_trainer(config, stage, [*extra, spent])
    last = find_checkpoint(stage.folder / _CHECKPOINTS)
    trainer.fit(module, data, ckpt_path=None if last is None else str(last))
    load_trained(trainer, module, config.run.weights, stage.folder / _CHECKPOINTS)
    result = replace(
        _result(config, stage, trainer, module, data),
        steps=trainer.global_step,
        seconds=spent.seconds,
        cpu_seconds=spent.cpu_seconds,
    )
    if trainer.is_global_zero:
        save_detector(detector, stage.weights)
        write_results(stage.folder / _RESULT, [result])
    return result


def evaluate_loaded(config: DictConfig, stage: Stage, detector: Detector) -> RunResult:
    """Evaluate a detector that was trained elsewhere."""
    data: WaymoDataModule = instantiate(config.data, _convert_="all")
    # patterns of parameters to train are the student's
    options = {**_plain(config.optimizer), "freeze": (), "rates": None}
    return _result(
        config,
        stage,
        make_trainer(config, stage),
        DetectorModule(detector, **options),
        data,
    )


def _result(
    config: DictConfig,
    stage: Stage,
    trainer: pl.Trainer,
    module: DetectorModule,
    data: WaymoDataModule,
) -> RunResult:
    detector = module.detector
    metrics = evaluate(trainer, module, data)
    macs, latency_ms = _costs(config, trainer, detector, data)
    return RunResult(
        name=stage.name,
        role=stage.role,
        detector=detector.spec()["name"],
        initialisation=stage.initialisation,
        parameters=sum(p.numel() for p in detector.parameters()),
        latency_ms=latency_ms,
        metrics=metrics,
        steps=0,
        seconds=0.0,
        skipped_frames=data.skipped_frames,
        replaced_frames=data.replaced_frames,
        split="validation" if config.data.get("test") is None else "test",
        macs=macs,
    )


def make_trainer(config: DictConfig, stage: Stage, extra: Sequence[Callback] = ()) -> pl.Trainer:
    """Make the trainer of a stage with its own loggers and callbacks."""
    config = config.copy()
    OmegaConf.update(config, "stage", {"name": stage.name, "folder": str(stage.folder)})
    loggers = [instantiate(node) for node in (config.logger or {}).values() if node]
    callbacks = [instantiate(node) for node in (config.callbacks or {}).values() if node]
    trainer: pl.Trainer = instantiate(
        config.trainer,
        logger=loggers or False,
        callbacks=[*callbacks, *extra],
        default_root_dir=str(stage.folder),
        _convert_="all",
    )
    return trainer


def evaluate(
    trainer: pl.Trainer, module: DetectorModule, data: WaymoDataModule
) -> dict[str, float]:
    """Evaluate a module on the whole test split, or without one on the whole validation set.

    Returns:
        the detection metric by name, without the ``test/`` or ``val/`` prefix.
    """
    tests = getattr(data, "test", None) is not None
    run, prefix = (trainer.test, "test/") if tests else (trainer.validate, "val/")
    (logged,) = run(module, data, verbose=False)
    return {
        name.removeprefix(prefix): float(value)
        for name, value in logged.items()
        if name.startswith(prefix)
    }


def _plain(node: DictConfig) -> dict[str, Any]:
    """Give the arguments that a node holds."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def learning_curve(folder: Path, metric: str) -> list[tuple[float, float]]:
    """Read (step, value) pairs of a metric from a stage's CSV logs, if it kept any."""
    values: dict[float, float] = {}
    for path in sorted(folder.glob("metrics*.csv"), key=lambda path: path.stat().st_mtime_ns):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get(metric):
                    values[float(row["step"]) + 1] = float(row[metric])
    return sorted(values.items())


def _set_aside_curves(folder: Path) -> None:
    """Rename the CSV log of an interrupted stage: Lightning's logger would delete it."""
    log = folder / "metrics.csv"
    if log.is_file():
        parts = len(list(folder.glob("metrics.*.csv")))
        log.rename(folder / f"metrics.{parts + 1}.csv")


def _costs(
    config: DictConfig, trainer: pl.Trainer, detector: Detector, data: WaymoDataModule
) -> tuple[int | None, float]:
    """Count and time one validation frame on the device that trained.

    Returns:
        multiply-accumulates, None for an empty frame and for compiled parts, whose modules cannot
        be watched; and milliseconds. Without repeats nothing is run: None and NaN.
    """
    repeats = config.report.latency_repeats
    if repeats < 1:
        return None, math.nan
    batch: PointBatch = next(iter(data.val_dataloader()))
    frame = PointBatch.from_points([batch.points_of(0)])
    detector.to(trainer.strategy.root_device)
    try:
        counts = len(frame.points) > 0 and not config.optimizer.compile
        macs = profile(detector, frame, repeats=0, memory=False).macs if counts else None
        return macs, measure_latency(detector, frame, repeats=repeats)
    finally:
        detector.to("cpu")
