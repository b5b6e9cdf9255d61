"""Frames of a dataset as tensors, one at a time."""

from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from kd3d.data.arrange import ArrangedPoints, Arrangement, PointSteps, lay_out
from kd3d.data.augment import WorldAugmentation, WorldTransform
from kd3d.data.device_decode import PixelBatch, PixelFrame
from kd3d.data.frame_index import FrameIndex
from kd3d.data.keyed import keyed_generator
from kd3d.data.packed_batch import PackedBatch
from kd3d.data.paste import ObjectPaste, PastedScan
from kd3d.data.pixels import PixelScan, pixel_source
from kd3d.data.samplers import FrameKey
from kd3d.data.selection import Selection
from kd3d.data.source import FrameSource, Scan
from kd3d.data.waymo_frames import WaymoFrames
from kd3d.errors import RecordError
from kd3d.structures import PointBatch

__all__ = ["DecodeOn", "FrameDataset", "FrameSample", "collate_frames", "pack_frames"]

DecodeOn = Literal["worker", "device"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameSample:
    """One frame, ready to be collated.

    Args:
        cloud: the points, which `points` gives as a tensor.
        boxes: ``[M, 7]`` float32 (x, y, z, length, width, height, heading).
        labels: ``[M]`` int64 class ids from 0.
        num_points: ``[M]`` int64, as annotated; of pasted objects, their points.
        difficulty: ``[M]`` int64, 1 or 2, 0 where not annotated.
        frame_id: segment name and time, ``<context_name>/<timestamp_micros>``.
        transform: how the scene was changed; its inverse leads back to the recorded frame.
        pasted: ``[M]`` int64, the rows of pasted objects in their `ObjectDatabase`, -1 for recorded
            ones. They were pasted before the scene was changed.
        later: what the points are made of on the device, if `cloud` is empty for that.
    """

    cloud: ArrangedPoints
    boxes: Tensor
    labels: Tensor
    num_points: Tensor
    difficulty: Tensor
    frame_id: str
    transform: WorldTransform
    pasted: Tensor
    later: PixelFrame | None = None

    @property
    def points(self) -> Tensor:
        """``[N, 5]`` float32 (x, y, z, raw intensity, elongation), metres, vehicle frame.

        Each time a new tensor.
        """
        return lay_out([self.cloud])


class FrameDataset(Dataset[FrameSample]):
    """The frames of a source as `FrameSample`, read and decoded when they are asked for.

    A sample depends on its key, the arguments and the data alone, never on workers or on what was
    read before. Points come in a random but fixed order, because detectors keep the first points
    of a full voxel; those in no-label zones are kept. First objects are pasted, then the scene is
    changed, then shuffled, then cropped.

    Args:
        source: where frames come from; the index of Waymo segments will do.
        selection: what of them to keep; every class and the whole scene by default.
        training: leave out boxes without points, and change the draws from epoch to epoch. In
            validation a frame is always the same, whatever epoch and `seed`.
        augmentation: what to draw a change of the scene from, for each key anew.
        paste: what to draw objects of other frames from, for each key anew.
        seed: of augmentation and order in training.
        verify: check the checksums of Waymo records.
        decode_on: ``"device"`` leaves points to the device, for sources of range images.

    Raises:
        ConfigError: if the source lacks a class that is asked for.
    """

    def __init__(
        self,
        source: FrameSource | FrameIndex,
        selection: Selection | None = None,
        *,
        training: bool = False,
        augmentation: WorldAugmentation | None = None,
        paste: ObjectPaste | None = None,
        seed: int = 0,
        verify: bool = True,
        decode_on: DecodeOn = "worker",
    ) -> None:
        self.source: FrameSource = (
            WaymoFrames(source, verify) if isinstance(source, FrameIndex) else source
        )
        self.selection = selection or Selection()
        self.classes = self.selection.choose(self.source.classes)
        self.training = training
        self.augmentation = augmentation
        self.paste = paste
        self.seed = seed
        self.decode_on = decode_on
        if decode_on == "device":
            pixel_source(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def changed_by(
        self, augmentation: WorldAugmentation | None, paste: ObjectPaste | None
    ) -> "FrameDataset":
        """Give the same frames with other changes."""
        other = copy(self)
        other.augmentation, other.paste = augmentation, paste
        return other

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
        recorded, pixels = self._read(number)
        seed, epoch = (self.seed, epoch) if self.training else (0, 0)
        draws = (seed, epoch, recorded.frame_id)
        # Objects are pasted without the scene's points, which may not be there yet.
        bare = replace(recorded, points=recorded.points[:0])
        scan, pasted = self._paste(bare, epoch, draws)
        transform = WorldTransform()
        if self.augmentation is not None:
            transform = self.augmentation.draw(keyed_generator("world", *draws), epoch)
        boxes = transform.boxes(scan.boxes)
        labels = self.selection.labels(scan.labels, self.source.classes)
        kept = self.selection.keep(boxes, labels, scan.num_points, training=self.training)
        count = len(recorded.points) if pixels is None else len(pixels)
        _check_recorded(count, self.source.name(number))
        order = keyed_generator("points", *draws).permutation(len(scan.points) + count)
        arrangement = Arrangement(
            steps=PointSteps(transform, self.selection),
            order=torch.from_numpy(order),
            pasted=scan.points,
            cleared=scan.boxes[len(recorded.boxes) :],
        )
        later = None
        if pixels is None:
            cloud = arrangement.apply(recorded.points)
            _check_kept(cloud, count, self.source.name(number))
        else:
            cloud = ArrangedPoints.none(recorded.points.shape[1])
            later = PixelFrame(pixels, arrangement, self.source.name(number))
        return FrameSample(
            cloud=cloud,
            boxes=boxes[kept],
            labels=labels[kept],
            num_points=scan.num_points[kept],
            difficulty=scan.difficulty[kept],
            frame_id=scan.frame_id,
            transform=transform,
            pasted=pasted[kept],
            later=later,
        )

    def _read(self, number: int) -> tuple[Scan, PixelScan | None]:
        if self.decode_on == "device":
            return pixel_source(self.source).read_pixels(number)
        return self.source.read(number), None

    def _paste(self, scan: Scan, epoch: int, draws: tuple[int, int, str]) -> PastedScan:
        if self.paste is None or not self.paste.is_on(epoch):
            return PastedScan(scan, torch.full((len(scan.boxes),), -1))
        return self.paste.apply(scan, self.source.classes, keyed_generator("paste", *draws))


def collate_frames(samples: Sequence[FrameSample]) -> PointBatch | PixelBatch:
    """Put samples together to a batch, whose points may be left to the device.

    Raises:
        InputError: if there is no sample.
    """
    batch = pack_frames(samples)
    return batch if isinstance(batch, PixelBatch) else batch.decode()


def pack_frames(samples: Sequence[FrameSample]) -> PackedBatch | PixelBatch:
    """Put samples together as a worker hands them over; `collate_frames` otherwise.

    Raises:
        InputError: if there is no sample, or their points have different features.
    """
    clouds = [sample.cloud for sample in samples]
    batch = PointBatch.from_points(
        [cloud.points[:0] for cloud in clouds],
        boxes=[sample.boxes for sample in samples],
        labels=[sample.labels for sample in samples],
        num_points=[sample.num_points for sample in samples],
        difficulty=[sample.difficulty for sample in samples],
        frame_ids=[sample.frame_id for sample in samples],
        world=[sample.transform.matrix() for sample in samples],
    )
    later = [sample.later for sample in samples if sample.later is not None]
    return PixelBatch.collate(later, batch) if later else PackedBatch.collate(clouds, batch)


def _check_recorded(count: int, where: str) -> None:
    if not count:
        raise RecordError(
            "the frame has no points.",
            where=where,
            hint="Leave such frames out with data.on_error=skip.",
        )


def _check_kept(points: ArrangedPoints, recorded: int, where: str) -> None:
    if not len(points):
        raise RecordError(
            f"none of the frame's {recorded} points is within data.point_range.",
            where=where,
            hint="Leave such frames out with data.on_error=skip.",
        )
