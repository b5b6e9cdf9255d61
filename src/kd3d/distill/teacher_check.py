"""Looking at the teacher before it teaches.

A teacher that loads but is wrong (another range, another intensity scale, half its weights missing)
teaches noise without any error. A few validation frames show it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.seed import isolate_rng

from kd3d.distill.teacher import Teacher
from kd3d.errors import ConfigError, TeacherError

__all__ = ["TeacherScore", "check_teacher", "waymo_score"]

#: Scores a teacher on batches that are on its device; higher is better.
TeacherScore = Callable[[Teacher, Iterable[Any]], float]


def waymo_score(teacher: Teacher, batches: Iterable[Any]) -> float:
    """Score a teacher by the mean over classes of Waymo's LEVEL_2 average precision.

    Args:
        teacher: any center detector.
        batches: `kd3d.PointBatch`es with ground truth.

    Returns:
        L2 mAP in [0, 1].

    Raises:
        ConfigError: if Waymo defines no overlap threshold for a class.
    """
    from kd3d.metrics import WaymoDetectionMetric

    try:
        metric = WaymoDetectionMetric(classes=teacher.classes)
    except ConfigError as error:
        raise ConfigError(
            error.what, where="teacher_score", hint="Pass a teacher_score=... of your own."
        ) from error
    for batch in batches:
        metric = metric.to(batch.boxes.device)
        found = [frame.as_dict() for frame in teacher.decode(teacher(batch))]
        metric.update(found, [_truth(batch, frame) for frame in range(len(found))])
    return float(metric.compute()["L2_mAP"])


def check_teacher(
    trainer: Any,  # noqa: ANN401 - a Trainer of either Lightning package
    teacher: Teacher,
    *,
    frames: int,
    min_score: float | None,
    score: TeacherScore,
) -> float | None:
    """Score the teacher on the first validation frames, through the student's own pipeline.

    Random states are put back, so that a run is the same with and without this.

    Args:
        trainer: a trainer that is fitting.
        teacher: the teacher.
        frames: about how many frames per process; whole batches are taken.
        min_score: the least score to go on with; None to go on with any.
        score: how to score.

    Returns:
        The score, averaged over processes; None if there are no validation frames.

    Raises:
        TeacherError: if the score is below `min_score`.
        ConfigError: if `min_score` is set and there are no validation frames.
    """
    with isolate_rng(), torch.no_grad():
        loader = _validation_loader(trainer)
        if loader is None:
            if min_score is not None:
                raise ConfigError(
                    "the teacher cannot be checked without validation frames.",
                    where="teacher_min_score",
                    hint="Give a validation dataloader, or leave teacher_min_score unset.",
                )
            rank_zero_warn("kd3d: no validation frames, so the teacher is not checked.")
            return None
        trainer.validating = True
        try:
            local = score(teacher, _on_device(trainer, loader, frames))
        finally:
            trainer.training = True
        value = torch.tensor(local, device=trainer.strategy.root_device)
        result = float(trainer.strategy.reduce(value, reduce_op="mean"))
    name = "L2 mAP" if score is waymo_score else getattr(score, "__name__", "score")
    trainer.print(f"Teacher: {name} {result:.4f} on about {frames} validation frames.")
    if min_score is not None and (math.isnan(result) or result < min_score):
        raise TeacherError(
            f"the teacher scores {result:.4f}, less than {min_score:g}.",
            where="teacher_min_score",
            hint="Is it the right checkpoint, trained on this range and these classes?",
        )
    return result


def _validation_loader(trainer: Any) -> Iterable[Any] | None:  # noqa: ANN401
    """Find the first validation dataloader, as the trainer itself prepares it."""
    if not trainer.enable_validation:
        return None
    if trainer.val_dataloaders is None:
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    loaders = trainer.val_dataloaders
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        loaders = loaders[0] if loaders else None
    return loaders  # type: ignore[no-any-return]


def _on_device(trainer: Any, loader: Iterable[Any], frames: int) -> Iterator[Any]:  # noqa: ANN401
    """Yield batches as the student's validation step would get them, until `frames` are seen."""
    seen = 0
    for batch in loader:
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
        yield trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        is_collection = isinstance(batch, Mapping | tuple | list)
        seen += extract_batch_size(batch) if is_collection else len(batch)
        if seen >= frames:
            return


def _truth(batch: Any, frame: int) -> dict[str, torch.Tensor]:  # noqa: ANN401
    filled = batch.labels[frame] >= 0
    fields = ("boxes", "labels", "difficulty", "num_points")
    return {
        field: getattr(batch, field)[frame][filled] for field in fields if hasattr(batch, field)
    }
