"""Frames of a dataset as tensors, one at a time."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from kd3d.data.augment import WorldAugmentation, WorldTransform
from kd3d.data.index import FrameIndex
from kd3d.data.keyed import keyed_generator
from kd3d.data.samplers import FrameKey
from kd3d.data.selection import Selection
from kd3d.data.source import FrameSource
from kd3d.data.waymo_frames import WaymoFrames
from kd3d.errors import RecordError
from kd3d.structures import PointBatch

__all__ = ["FrameDataset", "FrameSample", "collate_frames"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameSample:
    """One frame, ready to be collated.

    Args:
        points: ``[N, 5]`` float32 (x, y, z, raw intensity, elongation), metres, vehicle frame.
        boxes: ``[M, 7]`` float32 (x, y, z, length, width, height, heading).
        labels: ``[M]`` int64 class ids from 0.
        num_points: ``[M]`` int64, as annotated.
        difficulty: ``[M]`` int64, 1 or 2, 0 where not annotated.
        frame_id: segment name and time, ``<context_name>/<timestamp_micros>``.
        transform: how the scene was changed; its inverse leads back to the recorded frame.
    """

    points: Tensor
    boxes: Tensor
    labels: Tensor
    num_points: Tensor
    difficulty: Tensor
    frame_id: str
    transform: WorldTransform


class FrameDataset(Dataset[FrameSample]):
    """The frames of a source as `FrameSample`, read and decoded when they are asked for.

    A sample depends on its key, the arguments and the data alone, never on workers or on what was
    read before. Points come in a random but fixed order, because detectors keep the first points
    of a full voxel; those in no-label zones are kept. The scene is changed first and then cropped.

    Args:
        source: where frames come from; the index of Waymo segments will do.
        selection: what of them to keep; every class and the whole scene by default.
        training: leave out boxes without points, and change the draws from epoch to epoch. In
            validation a frame is always the same, whatever epoch and `seed`.
        augmentation: what to draw a change of the scene from, for each key anew.
        seed: of augmentation and order in training.
        verify: check the checksums of Waymo records.
    """

    def __init__(
        self,
        source: FrameSource | FrameIndex,
        selection: Selection | None = None,
        *,
        training: bool = False,
        augmentation: WorldAugmentation | None = None,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        self.source: FrameSource = (
            WaymoFrames(source, verify) if isinstance(source, FrameIndex) else source
        )
        self.selection = selection or Selection()
        self.training = training
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def sample_frame_ids(self, count: int) -> tuple[str, ...]:
        """Names of at most `count` frames, evenly spread; damaged records are left out.

        Points are not decoded, but every record that is asked for is read.
        """
        names = []
        shown = min(count, len(self))
        for number in (place * len(self) // shown for place in range(shown)):
            with suppress(RecordError):
                names.append(self.source.frame_id(number))
        return tuple(names)

    def __getitem__(self, key: FrameKey | int) -> FrameSample:
        """Read one frame.

        Args:
            key: (epoch, frame number), or a frame number, which means epoch 0.

        Raises:
            RecordError: if the record is damaged, or leaves no points.
        """
        epoch, number = key if isinstance(key, tuple) else (0, key)
        scan = self.source.read(number)
        draws = (self.seed, epoch, scan.frame_id) if self.training else (0, 0, scan.frame_id)
        transform = WorldTransform()
        if self.augmentation is not None:
            transform = self.augmentation.draw(keyed_generator("world", *draws))
        boxes = transform.boxes(scan.boxes)
        labels = self.selection.labels(scan.labels)
        kept = self.selection.keep(boxes, labels, scan.num_points, training=self.training)
        points = self.selection.crop(transform.points(scan.points))
        _check_any(points, len(scan.points), self.source.name(number))
        order = keyed_generator("points", *draws).permutation(len(points))
        return FrameSample(
            points=points.index_select(0, torch.from_numpy(order)),
            boxes=boxes[kept],
            labels=labels[kept],
            num_points=scan.num_points[kept],
            difficulty=scan.difficulty[kept],
            frame_id=scan.frame_id,
            transform=transform,
        )


def collate_frames(samples: Sequence[FrameSample]) -> PointBatch:
    """Put samples together to a batch.

    Raises:
        InputError: if there is no sample.
    """
    return PointBatch.from_points(
        [sample.points for sample in samples],
        boxes=[sample.boxes for sample in samples],
        labels=[sample.labels for sample in samples],
        num_points=[sample.num_points for sample in samples],
        difficulty=[sample.difficulty for sample in samples],
        frame_ids=[sample.frame_id for sample in samples],
        world=[sample.transform.matrix() for sample in samples],
    )


def _check_any(kept: Tensor, recorded: int, where: str) -> None:
    if len(kept):
        return
    raise RecordError(
        f"none of the frame's {recorded} points is within data.point_range."
        if recorded
        else "the frame has no points.",
        where=where,
        hint="Leave such frames out with data.on_error=skip.",
    )
