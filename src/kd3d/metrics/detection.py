"""The official Waymo 3D detection metric as a torchmetrics Metric."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from kd3d.errors import ConfigError, InputError
from kd3d.metrics.frames import objects_of, predictions_of
from kd3d.metrics.functional import Counts, average_precisions, count_detections
from kd3d.metrics.functional.counting import LEVELS

__all__ = ["WaymoDetectionMetric"]

_IOU_THRESHOLDS = {"Vehicle": 0.7, "Pedestrian": 0.5, "Sign": 0.5, "Cyclist": 0.5}
_STATES = ("true_positives", "false_positives", "misses", "heading")


class WaymoDetectionMetric(Metric):
    """Average precision of 3D boxes, with and without heading, by Waymo's rules.

    At each of 101 score cutoffs the predictions of a frame are assigned to its objects of the same
    class so that the sum of 3D overlaps is largest; hits, false alarms and misses are added up over
    frames, and the area under the precision/recall curve is AP. In APH a hit counts
    1 - (heading error / pi) in the precision. Level 1 asks for the objects of difficulty 1 only,
    level 2 for all. A class without objects has AP 0 and stays in the mean.

    The states are counts per class and cutoff: their size does not grow with the number of frames,
    and the result is bit for bit the same however frames are spread over updates and processes.

    Args:
        classes: names of the classes; a class id is a position in this list.
        iou_thresholds: least 3D overlap of a match per class. By default Waymo's: 0.7 for Vehicle,
            0.5 for Pedestrian, Sign and Cyclist.
        score_cutoffs: ascending scores at which to match; by default 0, 0.01, ..., 0.99, 1.
        kwargs: for `torchmetrics.Metric`.

    Raises:
        ConfigError: if the arguments do not fit each other.

    Example:
        >>> box = torch.tensor([[10.0, 0.0, 1.0, 4.5, 2.0, 1.6, 0.0]])
        >>> far = torch.tensor([[30.0, 0.0, 1.0, 4.5, 2.0, 1.6, 0.0]])
        >>> metric = WaymoDetectionMetric(classes=("Vehicle",))
        >>> metric.update(
        ...     [{"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([0])}],
        ...     [{"boxes": torch.cat((box, far)), "labels": torch.tensor([0, 0]),
        ...       "num_points": torch.tensor([120, 3])}],
        ... )
        >>> for name, value in metric.compute().items():
        ...     print(f"{name} {value:.2f}")
        Vehicle/L1_AP 1.00
        Vehicle/L1_APH 1.00
        Vehicle/L2_AP 0.50
        Vehicle/L2_APH 0.50
        L1_mAP 1.00
        L1_mAPH 1.00
        L2_mAP 0.50
        L2_mAPH 0.50
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    true_positives: Tensor
    false_positives: Tensor
    misses: Tensor
    heading: Tensor

    def __init__(
        self,
        classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
        *,
        iou_thresholds: Sequence[float] | None = None,
        score_cutoffs: Sequence[float] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.classes = _checked_classes(classes)
        self.iou_thresholds = _checked_thresholds(self.classes, iou_thresholds)
        self.score_cutoffs = _checked_cutoffs(score_cutoffs)
        shape = (len(self.classes), len(self.score_cutoffs))
        for name in _STATES:
            size = (shape[0], len(LEVELS), shape[1]) if name == "misses" else shape
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, preds: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]
    ) -> None:
        """Count the predictions of some frames; each frame belongs to one update as a whole.

        Args:
            preds: per frame a dictionary of

                * ``boxes`` ``[N, 7]`` floating (x, y, z, length, width, height, heading) in metres
                  and radians, further columns ignored,
                * ``scores`` ``[N]`` floating in [0, 1],
                * ``labels`` ``[N]`` integer class ids; rows with -1 are ignored,
                * optionally ``overlaps_nlz`` ``[N]`` bool: such a prediction is not a false alarm.
            targets: per frame, in the same order, a dictionary of

                * ``boxes`` ``[M, 7]`` and ``labels`` ``[M]``, likewise,
                * optionally ``num_points`` ``[M]`` integer LiDAR points in the box, -1 where
                  unknown. Objects with 0 points are dropped,
                * optionally ``difficulty`` ``[M]`` integer, 1 or 2, 0 where not annotated. It is
                  then 2 for objects with 5 points or fewer, else 1; also 1 if the points are
                  unknown.

        Raises:
            InputError: if something does not fit, naming frame and field; nothing is counted then.
        """
        if len(preds) != len(targets):
            raise InputError(
                f"{len(preds)} frames of predictions but {len(targets)} of targets.",
                where="WaymoDetectionMetric.update",
                hint="A frame without boxes still needs a dictionary, with empty tensors.",
            )
        counts = count_detections(
            predictions_of(preds, len(self.classes)),
            objects_of(targets, len(self.classes)),
            iou_thresholds=np.asarray(self.iou_thresholds, np.float32),
            cutoffs=np.asarray(self.score_cutoffs, np.float32),
        )
        for name in _STATES:
            state = getattr(self, name)
            setattr(self, name, state + torch.from_numpy(getattr(counts, name)).to(state.device))

    def counts(self) -> Counts:
        """Give the counts so far (of this process alone) as NumPy arrays."""
        return Counts(*(getattr(self, name).cpu().numpy() for name in _STATES))

    def compute(self) -> dict[str, Tensor]:
        """Compute AP and APH.

        Returns:
            float32 scalars: ``{class}/L1_AP``, ``{class}/L1_APH``, ``{class}/L2_AP``,
            ``{class}/L2_APH`` for each class, then their means over the classes: ``L1_mAP``,
            ``L1_mAPH``, ``L2_mAP``, ``L2_mAPH``.
        """
        tables = dict(zip(("AP", "APH"), average_precisions(self.counts()), strict=True))
        result: dict[str, float] = {}
        for row, name in enumerate(self.classes):
            for column, level in enumerate(LEVELS):
                for kind, table in tables.items():
                    result[f"{name}/L{level}_{kind}"] = table[row, column]
        for column, level in enumerate(LEVELS):
            for kind, table in tables.items():
                result[f"L{level}_m{kind}"] = table[:, column].mean()
        device = self.true_positives.device
        return {
            key: torch.tensor(value, dtype=torch.float32, device=device)
            for key, value in result.items()
        }


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
        raise ConfigError(f"{classes!r} is not a list of different names.", where="classes")
    return tuple(classes)


def _checked_thresholds(
    classes: tuple[str, ...], thresholds: Sequence[float] | None
) -> tuple[float, ...]:
    if thresholds is None:
        unknown = [name for name in classes if name not in _IOU_THRESHOLDS]
        if unknown:
            raise ConfigError(
                f"Waymo defines no IoU threshold for {', '.join(unknown)}.",
                where="classes",
                hint="Give iou_thresholds, one per class.",
            )
        return tuple(_IOU_THRESHOLDS[name] for name in classes)
    if len(thresholds) != len(classes) or not all(0 < value <= 1 for value in thresholds):
        raise ConfigError(
            f"{list(thresholds)} is not one number in (0, 1] for each of {len(classes)} classes.",
            where="iou_thresholds",
        )
    return tuple(float(value) for value in thresholds)


def _checked_cutoffs(cutoffs: Sequence[float] | None) -> tuple[float, ...]:
    if cutoffs is None:
        return (*(index * 0.01 for index in range(100)), 1.0)
    rising = all(low < high for low, high in pairwise(cutoffs))
    if not len(cutoffs) or not rising or cutoffs[0] < 0 or cutoffs[-1] > 1:
        raise ConfigError(
            f"{list(cutoffs)} does not rise from 0 or more to 1 or less.", where="score_cutoffs"
        )
    return tuple(float(value) for value in cutoffs)
