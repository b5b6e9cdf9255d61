"""Whether files of predictions are about the frames that a trainer trains on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kd3d.distill.objectives import LabelKD, Objective
from kd3d.distill.predicted import PredictedBoxes

__all__ = ["check_split", "check_splits", "training_frame_ids"]

_SAMPLE = 16
"""So many names are asked for where finding one means reading a record."""


def check_splits(
    objectives: Mapping[str, Objective],
    classes: Sequence[str],
    trainer: Any,  # noqa: ANN401 - either Lightning package
) -> None:
    """Open the files that objectives read boxes from, and `check_split` each.

    Args:
        objectives: objectives by name.
        classes: the student's class names in order.
        trainer: a trainer that is about to take its first step.

    Raises:
        TeacherError: if boxes are of other classes, or of other frames.
        Kd3dError: as `PredictedBoxes` does.
    """
    for objective in objectives.values():
        if isinstance(objective, LabelKD):
            predictions = objective.predicted(classes)
            if predictions is not None:
                check_split(predictions, trainer)


def check_split(
    predictions: PredictedBoxes,
    trainer: Any,  # noqa: ANN401 - either Lightning package
) -> None:
    """Check that the sources of boxes are about the frames of the training dataloaders.

    Datasets that tell names of frames are looked at: all names by an attribute ``frame_ids``, or
    some by a method ``sample_frame_ids(count)``. Others show theirs in the first batch.

    Args:
        predictions: the boxes.
        trainer: a trainer that is about to take its first step.

    Raises:
        TeacherError: if a source lacks more frames than it may, or of a sample more than half.
    """
    names, complete = training_frame_ids(trainer)
    if names:
        # of a sample the exact share would be a matter of luck
        most = predictions.max_missing if complete else max(0.5, predictions.max_missing)
        predictions.check(names, max_missing=most)


def training_frame_ids(trainer: Any) -> tuple[tuple[str, ...], bool]:  # noqa: ANN401
    """Give names of training frames, as far as the datasets tell, and whether those are all."""
    names: list[str] = []
    complete = True
    for dataset in _datasets(trainer.train_dataloader):
        if isinstance(getattr(dataset, "frame_ids", None), Sequence):
            names += dataset.frame_ids
        elif callable(getattr(dataset, "sample_frame_ids", None)):
            names += dataset.sample_frame_ids(_SAMPLE)
            complete = False
    return tuple(names), complete


def _datasets(loaders: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever a trainer takes
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        for loader in loaders:
            yield from _datasets(loader)
    elif hasattr(loaders, "dataset"):
        yield loaders.dataset
