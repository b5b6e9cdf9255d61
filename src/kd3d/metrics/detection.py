"""The official Waymo 3D detection metric as a torchmetrics Metric."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from kd3d.errors import ConfigError, InputError
from kd3d.metrics.frames import frame_names, objects_of, predictions_of
from kd3d.metrics.functional import (
    Counts,
    break_down,
    count_detections,
    recall_at_precision,
    shard_classes,
    shard_names,
)
from kd3d.metrics.options import (
    checked_box_type,
    checked_breakdowns,
    checked_classes,
    checked_cutoffs,
    checked_levels,
    checked_thresholds,
)
from kd3d.metrics.results import (
    BoxErrors,
    Curve,
    average_scores,
    box_errors,
    curves_of,
    named,
)

__all__ = ["WaymoDetectionMetric"]

_STATES = tuple(field.name for field in fields(Counts))


class WaymoDetectionMetric(Metric):
    """Average precision of 3D boxes, with and without heading, by Waymo's rules.

    At each of 101 score cutoffs the predictions of a frame are assigned to its objects of the same
    class so that the sum of 3D overlaps is largest; hits, false alarms and misses are added up over
    frames, and the area under the precision/recall curve is AP. In APH a hit counts
    1 - (heading error / pi) in the precision. Level 1 asks for the objects of difficulty 1 only,
    level 2 for all. A class without objects has AP 0 and stays in the mean.

    The states are counts per shard (class, or class and ring of distance) and cutoff: their size
    does not grow with the number of frames, and the result is bit for bit the same however frames
    are spread over updates and processes. ``metric.persistent(True)`` puts them into
    `state_dict`, from which an evaluation can go on.

    Args:
        classes: names of the classes; a class id is a position in this list.
        iou_thresholds: least overlap of a match per class. By default Waymo's: 0.7 for Vehicle,
            0.5 for Pedestrian, Sign and Cyclist.
        score_cutoffs: ascending scores at which to match; by default 0, 0.01, ..., 0.99, 1.
        breakdowns: ``object_type`` (per class), ``range`` (per class and ring of distance), or
            both.
        levels: difficulty levels to report; None for data without levels, whose keys then have
            none either.
        box_type: ``3d``, or ``bev`` for boxes in bird's-eye view, where z and height play no role
            but in the distance of the rings.
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

    def __init__(
        self,
        classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
        *,
        iou_thresholds: Sequence[float] | None = None,
        score_cutoffs: Sequence[float] | None = None,
        breakdowns: Sequence[str] = ("object_type",),
        levels: Sequence[int] | None = (1, 2),
        box_type: str = "3d",
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.classes = checked_classes(classes)
        self.iou_thresholds = checked_thresholds(self.classes, iou_thresholds)
        self.score_cutoffs = checked_cutoffs(score_cutoffs)
        self.breakdowns = checked_breakdowns(breakdowns)
        self.box_type = checked_box_type(box_type)
        #: Names of the shards, in the order of the counts' first axis.
        self.shards = shard_names(self.classes, self.breakdowns)
        self._levels = checked_levels(levels)
        shape = (len(self.shards), len(self.score_cutoffs))
        for name in _STATES:
            size = (shape[0], len(self._levels), shape[1]) if name == "misses" else shape
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        preds: Sequence[Mapping[str, Tensor]],
        targets: Sequence[Mapping[str, Tensor]],
        frame_ids: Sequence[Hashable] | None = None,
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
            frame_ids: optionally what the frames are called; used in error messages, and the same
                frame twice is then an error.

        Raises:
            InputError: if something does not fit, naming frame and field; nothing is counted then.
        """
        names = frame_names(preds, targets, frame_ids)
        found = predictions_of(preds, len(self.classes), names)
        real = objects_of(targets, len(self.classes), names)
        thresholds = np.asarray(self.iou_thresholds, np.float32)
        counts = count_detections(
            *break_down(found, real, self.breakdowns, len(self.classes)),
            iou_thresholds=thresholds[shard_classes(len(self.classes), self.breakdowns)],
            cutoffs=np.asarray(self.score_cutoffs, np.float32),
            levels=tuple(self._levels.values()),
            box_type=self.box_type,
        )
        for name in _STATES:
            state = getattr(self, name)
            setattr(self, name, state + torch.from_numpy(getattr(counts, name)).to(state.device))

    def compute(self) -> dict[str, Tensor]:
        """Compute AP and APH.

        Returns:
            float32 scalars. For each class ``{class}/L1_AP``, ``{class}/L1_APH``,
            ``{class}/L2_AP``, ``{class}/L2_APH``, then their means over the classes: ``L1_mAP``,
            ``L1_mAPH``, ``L2_mAP``, ``L2_mAPH``. By range the same for each class and ring, as in
            ``{class}/30-50m/L1_AP``, and each ring's means, as in ``30-50m/L1_mAP``. Without levels
            ``{class}/AP`` and so on.
        """
        scores = average_scores(self.counts(), self.classes, self.breakdowns, tuple(self._levels))
        device = self.true_positives.device
        return {
            key: torch.tensor(value, dtype=torch.float32, device=device)
            for key, value in scores.items()
        }

    def counts(self) -> Counts:
        """Give the counts so far, of all processes, as NumPy arrays; rows follow `shards`.

        Like `compute` and the methods below, call it on every process.
        """
        alone = not self._is_synced
        with self.sync_context(should_sync=alone, should_unsync=alone):
            return Counts(*(getattr(self, name).cpu().numpy().copy() for name in _STATES))

    def curves(self) -> dict[str, Curve]:
        """Give the precision/recall curve of every shard and level, as ``{class}/L1``."""
        return curves_of(self.counts(), self.shards, tuple(self._levels), self.score_cutoffs)

    def recalls(self, precision: float = 0.95) -> dict[str, float]:
        """Give the highest recall at no less than this precision, as ``{class}/L1_recall``.

        It is 0 where no score cutoff is as precise.
        """
        tables = {"recall": recall_at_precision(self.counts(), precision)}
        return named(tables, self.shards, tuple(self._levels))

    def box_errors(self, cutoff: float = 0.1) -> dict[str, BoxErrors]:
        """Give the mean errors of matched boxes per shard.

        Args:
            cutoff: matches are those at the first score cutoff that is not below this.

        Raises:
            ConfigError: if all score cutoffs are below `cutoff`.
        """
        cutoffs = np.asarray(self.score_cutoffs, np.float32)
        index = int(np.searchsorted(cutoffs, np.float32(cutoff)))
        if index == len(cutoffs):
            raise ConfigError(f"All score cutoffs are below {cutoff:g}.", where="cutoff")
        return box_errors(self.counts(), self.shards, index)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Take over the counts of an earlier, partial evaluation, if they have the same shape."""
        for name in _STATES:
            size, given = getattr(self, name).shape, state_dict.get(prefix + name)
            if given is not None and given.shape != size:
                raise InputError(
                    f"{name} should be {_size(size)}, not {_size(given.shape)}.",
                    where="WaymoDetectionMetric.load_state_dict",
                    hint="Use the same classes, breakdowns, levels and score cutoffs as before.",
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
