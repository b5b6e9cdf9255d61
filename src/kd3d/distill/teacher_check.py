"""Looking at the teacher before it teaches.

A teacher that loads but is wrong (another range, another intensity scale, half its weights missing)
teaches noise without any error. A few validation frames show it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from kd3d.distill.batches import BatchView
from kd3d.distill.teacher import Teacher
from kd3d.errors import ConfigError, TeacherError

__all__ = ["TeacherScore", "check_teacher", "waymo_score"]

#: Scores a teacher on batches that are on its device; higher is better.
TeacherScore = Callable[[Teacher, Iterable[Any]], float]

_BY_NAMES = BatchView()


def waymo_score(
    teacher: Teacher,
    batches: Iterable[Any],
    batch_view: BatchView = _BY_NAMES,
    iou_thresholds: Sequence[float] | None = None,
) -> float:
    """Score a teacher by the mean over classes of Waymo's LEVEL_2 average precision.

    Args:
        teacher: any teacher that decodes.
        batches: batches with ground truth; ``difficulty`` and ``num_points`` are used if they have
            them.
        batch_view: how to read the ground truth.
        iou_thresholds: least overlap of a match per class of the teacher; Waymo's by default.

    Returns:
        L2 mAP in [0, 1].

    Raises:
        ConfigError: if Waymo defines no overlap threshold for a class and none are given, or a
            batch has no ground truth.
        TeacherError: if the teacher does not decode.
    """
    from kd3d.metrics import WaymoDetectionMetric

    try:
        metric = WaymoDetectionMetric(classes=teacher.classes, iou_thresholds=iou_thresholds)
    except ConfigError as error:
        raise ConfigError(
            error.what,
            where="teacher_score",
            hint="Pass teacher_score=functools.partial(waymo_score, iou_thresholds=[...]), or a"
            " score of your own.",
        ) from error
    for batch in batches:
        truth = _truth(batch, batch_view)
        metric = metric.to(truth["labels"].device)
        filled = truth["labels"] >= 0
        metric.update(
            [frame.as_dict() for frame in teacher.predict(batch)],
            [
                {name: values[frame][here] for name, values in truth.items()}
                for frame, here in enumerate(filled)
            ],
        )
    return float(metric.compute()["L2_mAP"])


def check_teacher(
    trainer: Any,  # noqa: ANN401 - a Trainer of either Lightning package
    teacher: Teacher,
    *,
    frames: int,
    min_score: float | None,
    score: TeacherScore,
    batch_view: BatchView = _BY_NAMES,
) -> float | None:
    """Score the teacher on the first validation frames, through the student's own pipeline.

    Random states are put back, so that a run is the same with and without this. Waymo's score takes
    the overlap thresholds of the module's own `WaymoDetectionMetric`, if it has one of the
    teacher's classes.

    Args:
        trainer: a trainer that is fitting.
        teacher: the teacher.
        frames: about how many frames per process; whole batches are taken.
        min_score: the least score to go on with; None to go on with any.
        score: how to score.
        batch_view: how to read the batches.

    Returns:
        The score, averaged over processes; None if there are no validation frames, or if Waymo's
        score says nothing about such a teacher and no `min_score` asks for one.

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
        if score is waymo_score:
            thresholds = _thresholds(trainer.lightning_module, teacher.classes)
            score = partial(waymo_score, batch_view=batch_view, iou_thresholds=thresholds)
            name = "L2 mAP"
        else:
            name = getattr(score, "__name__", "score")
        trainer.validating = True
        try:
            local = score(teacher, _on_device(trainer, loader, frames, batch_view))
        except (ConfigError, TeacherError) as error:
            # another kind of detector than Waymo's score is made for, and nobody asked for it
            if not isinstance(score, partial) or min_score is not None:
                raise
            rank_zero_warn(
                f"kd3d: the teacher is not scored before training. {error} "
                "(teacher_check_frames=0 skips this.)"
            )
            return None
        finally:
            trainer.training = True
        value = torch.tensor(local, device=trainer.strategy.root_device)
        result = float(trainer.strategy.reduce(value, reduce_op="mean"))
    trainer.print(f"Teacher: {name} {result:.4f} on about {frames} validation frames.")
    if min_score is not None and (math.isnan(result) or result < min_score):
        raise TeacherError(
            f"the teacher scores {result:.4f}, less than {min_score:g}.",
            where="teacher_min_score",
            hint="Is it the right checkpoint, trained on this range and these classes?",
        )
    return result


def _thresholds(
    module: Any,  # noqa: ANN401 - a LightningModule of either Lightning package
    classes: Sequence[str],
) -> tuple[float, ...] | None:
    """Find the overlaps that the module itself is validated with."""
    from kd3d.metrics import WaymoDetectionMetric

    for metric in module.modules():
        if isinstance(metric, WaymoDetectionMetric) and metric.classes == tuple(classes):
            return metric.iou_thresholds
    return None


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


def _on_device(
    trainer: Any,  # noqa: ANN401 - a Trainer of either Lightning package
    loader: Iterable[Any],
    frames: int,
    batch_view: BatchView,
) -> Iterator[Any]:
    """Yield batches as the student's validation step would get them, until `frames` are seen."""
    seen = 0
    prepare = _owner_of_hook(trainer).on_before_batch_transfer
    for batch in loader:
        batch = prepare(batch, 0)
        yield trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        seen += batch_view.count(batch)
        if seen >= frames:
            return


def _owner_of_hook(trainer: Any) -> Any:  # noqa: ANN401 - a Trainer of either Lightning package
    """Choose whose ``on_before_batch_transfer`` counts, as the trainer does.

    The data module's if it defines one, the LightningModule's otherwise. Lightning's own choice is
    private; moving to the device (``batch_to_device``) includes it for the two other hooks.
    """
    data = trainer.datamodule
    inherited = "DataHooks.on_before_batch_transfer"
    if data is None or type(data).on_before_batch_transfer.__qualname__ == inherited:
        return trainer.lightning_module
    return data


def _truth(batch: Any, batch_view: BatchView) -> dict[str, Tensor]:  # noqa: ANN401 - any batch
    """Give the padded ground truth by the names that the metric has for it."""
    boxes, labels = batch_view.read_truth(batch)
    truth = {"boxes": boxes[..., :7], "labels": labels}
    for name in ("difficulty", "num_points"):
        values = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if isinstance(values, Tensor) and values.shape == labels.shape:
            truth[name] = values
    return truth
