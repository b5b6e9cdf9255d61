"""Teacher boxes from files of predictions, of one detector or of many."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from kd3d.distill.prediction_source import Source, check_coverage, concatenate, open_source
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid, fuse_boxes, move_boxes
from kd3d.geometry.fusion import Overlap, check_fusion
from kd3d.structures import Detections

__all__ = ["PredictedBoxes"]

_ENOUGH = 200
"""After so many frames the share of missing ones is no matter of luck."""


class PredictedBoxes:
    """Boxes that a teacher has found some time, somewhere, for `LabelKD(predictions=...)`.

    Several files are merged frame by frame and class by class by weighted box fusion
    (`kd3d.geometry.fuse_boxes`): give the files of several detectors for an ensemble, or those of
    one detector on changed copies of the scenes (changed back) for test-time augmentation.

    Boxes in files are those of recorded frames. A training batch's scenes are usually flipped,
    turned and scaled, so boxes are moved as the batch says its scenes were (`PointBatch.world`, or
    `BatchView.world`).

    Args:
        sources: one source or a list: the path of a ``.parquet`` or ``.bin`` file (see
            `kd3d.predictions.load_objects`), of an ``.npz`` file of OpenPCDet's results (see
            `kd3d.predictions.openpcdet`); `FrameObjects`; or `Detections` by frame id, whose labels
            are class ids already.
        classes: the student's class names in order.
        class_names: what a class is called in the files, where that differs:
            ``{"Car": "Vehicle"}``. Boxes of other types are left out.
        weights: how far each source is trusted, relative to the others; equally by default.
        fusion: fuse overlapping boxes of several sources; without it all stay.
        iou_threshold: intersection over union from which, exclusive, boxes fuse.
        overlap: measured in bird's-eye view ("bev") or of volumes ("3d").
        min_score: leave out boxes that score less, before fusion.
        max_missing: share of the frames asked for that a source may lack. A frame without boxes
            has no row in a ``.bin`` or ``.parquet`` file, so some may be missing; if many are, or
            all of the first batch, the file is of another split.

    Raises:
        ConfigError: if an option is out of its range, or a class is unknown to the files.
        DatasetError: if a file is missing.
        RecordError: if a file is damaged.
        InputError: if a source has no scores.

    Example:
        >>> import torch
        >>> one = Detections(torch.ones(1, 7), torch.tensor([0.9]), torch.tensor([0]))
        >>> boxes = PredictedBoxes({"segment/17": one}, ["Vehicle"])
        >>> len(boxes.detections(["segment/17"])[0])
        1
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        classes: Sequence[str],
        *,
        class_names: Mapping[str, str] | None = None,
        weights: Sequence[float] | None = None,
        fusion: bool = True,
        iou_threshold: float = 0.55,
        overlap: Overlap = "bev",
        min_score: float = 0.0,
        max_missing: float = 0.1,
    ) -> None:
        # a path is a sequence of characters
        several = isinstance(sources, Sequence) and not isinstance(sources, str)
        given = cast("list[Source]", list(sources) if several else [sources])  # type: ignore[arg-type]
        if not given:
            raise ConfigError("there is no source of boxes.", where="predictions")
        check_fusion(len(given), iou_threshold, overlap)
        self.classes = tuple(classes)
        self.fusion = fusion
        self.iou_threshold = iou_threshold
        self.overlap: Overlap = overlap
        self.max_missing = max_missing
        self._weights = _normalised(weights, len(given))
        for name, share in (("min_score", min_score), ("max_missing", max_missing)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{share} is not in [0, 1].", where=name)
        self._sources = [
            open_source(item, number, self.classes, class_names or {}, min_score)
            for number, item in enumerate(given)
        ]
        self._ready: dict[str, Detections] = {}
        self._asked = 0
        self._missing = [0] * len(given)

    def __repr__(self) -> str:
        names = ", ".join(source.name for source in self._sources)
        return f"PredictedBoxes({names}: {len(self.frame_ids)} frames)"

    @property
    def frame_ids(self) -> frozenset[str]:
        """Every frame that any source has."""
        return frozenset().union(*(source.frame_ids for source in self._sources))

    def check(self, frame_ids: Sequence[str], max_missing: float | None = None) -> None:
        """Check that the sources are about these frames.

        Args:
            frame_ids: frames of the training data, some of them or all.
            max_missing: in place of the one that was set.

        Raises:
            TeacherError: if a source lacks more than `max_missing` of them; tells how many.
        """
        most = self.max_missing if max_missing is None else max_missing
        for source in self._sources:
            missing = [name for name in frame_ids if name not in source.frame_ids]
            check_coverage(source, len(frame_ids), len(missing), missing[:1], most)

    def detections(
        self,
        frame_ids: Sequence[str],
        device: torch.device | str = "cpu",
        *,
        world: Tensor | None = None,
        within: BEVGrid | None = None,
    ) -> list[Detections]:
        """Give the boxes of frames; none for a frame that is in no source.

        Args:
            frame_ids: of B frames.
            device: where the boxes are wanted.
            world: ``[B, 4, 4]`` on that device, how each scene was moved since it was recorded;
                None if scenes are as recorded.
            within: boxes whose centre, moved, is outside this grid get the score 0, and so teach
                nothing. (They are not dropped: a CUDA device would have to tell how many.)

        Returns:
            Per frame float32 boxes ``[K, 7]`` (x, y, z, length, width, height, heading; metres,
            radians), scores and labels, in falling order of score but for those outside.

        Raises:
            TeacherError: if a source has none of the first frames that are asked for, or lacks more
                than `max_missing` of the frames so far.
        """
        self._count_missing(frame_ids)
        frames = [self._of_frame(name) for name in frame_ids]
        sizes = [len(frame) for frame in frames]
        joined = concatenate(frames)
        boxes, scores, labels = (
            torch.split(_to(column, device), sizes)
            for column in (joined.boxes, joined.scores, joined.labels)
        )
        if world is not None:
            boxes = tuple(map(move_boxes, boxes, world))
        if within is not None:
            scores = tuple(
                score * within.contains(box[:, :2])
                for score, box in zip(scores, boxes, strict=True)
            )
        return [Detections(*frame) for frame in zip(boxes, scores, labels, strict=True)]

    def _of_frame(self, name: str) -> Detections:
        """Merge what the sources say about a frame, once."""
        if name not in self._ready:
            self._ready[name] = self._merged([source.frame(name) for source in self._sources])
        return self._ready[name]

    def _merged(self, parts: Sequence[Detections]) -> Detections:
        all_boxes = concatenate(parts)
        if len(parts) == 1 or not self.fusion:
            order = all_boxes.scores.sort(descending=True, stable=True).indices
            return Detections(
                all_boxes.boxes[order], all_boxes.scores[order], all_boxes.labels[order]
            )
        sizes = torch.tensor([len(part) for part in parts])
        return Detections(
            *fuse_boxes(
                all_boxes.boxes,
                all_boxes.scores,
                all_boxes.labels,
                num_sources=len(parts),
                threshold=self.iou_threshold,
                overlap=self.overlap,
                weights=self._weights.repeat_interleave(sizes),
            )
        )

    def _count_missing(self, frame_ids: Sequence[str]) -> None:
        first = not self._asked
        self._asked += len(frame_ids)
        for number, source in enumerate(self._sources):
            missing = [name for name in frame_ids if name not in source.frame_ids]
            self._missing[number] += len(missing)
            none_known = first and len(missing) == len(frame_ids)
            if none_known or (missing and self._asked >= _ENOUGH):
                check_coverage(
                    source, self._asked, self._missing[number], missing[:1], self.max_missing
                )


def _normalised(weights: Sequence[float] | None, count: int) -> Tensor:
    """Scale trust in sources ``[S]`` to a mean of 1."""
    if weights is None:
        return torch.ones(count)
    if len(weights) != count or min(weights) <= 0:
        raise ConfigError(
            f"{list(weights)} for {count} sources.",
            where="weights",
            hint="Give one number above 0 per source.",
        )
    trust = torch.tensor(weights, dtype=torch.float32)
    return trust / trust.mean()


def _to(values: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device, without waiting for it if that is CUDA."""
    if torch.device(device).type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
