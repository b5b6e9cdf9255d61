"""Run a checkpoint over the validation set and keep what it finds."""

import lightning.pytorch as pl
import numpy as np
import torch.distributed
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd3d.data import FrameDataModule
from kd3d.detectors import Detector
from kd3d.predictions import ObjectsBuilder, type_names_of
from kd3d.structures import PointBatch

__all__ = ["DetectionCollector", "collect_detections", "open_data"]


class DetectionCollector(pl.LightningModule):
    """Detects objects in validation batches and keeps them beside the labels.

    At the end of the epoch every process has the frames of all processes.

    Args:
        detector: the network, of any classes.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        names = type_names_of(detector.classes)
        self.detector = detector
        self.predictions = ObjectsBuilder(names)
        self.ground_truth = ObjectsBuilder(names)
        self._types = np.array([names.index(name) for name in detector.classes])

    def validation_step(self, batch: PointBatch, batch_idx: int) -> None:
        """Keep the boxes and labels of every frame of a batch."""
        detections = self.detector.decode(self.detector(batch))
        for name, found, real in zip(
            batch.frame_ids, detections, batch.ground_truth(), strict=True
        ):
            self.predictions.add(
                name,
                boxes=found.boxes[:, :7].float().cpu().numpy(),
                types=self._types[found.labels.cpu().numpy()],
                scores=found.scores.float().cpu().numpy(),
            )
            self.ground_truth.add(
                name,
                boxes=real["boxes"].cpu().numpy(),
                types=self._types[real["labels"].cpu().numpy()],
                difficulty=real["difficulty"].cpu().numpy(),
                num_points=real["num_points"].cpu().numpy(),
            )

    def on_validation_epoch_end(self) -> None:
        """Put the frames of all processes together."""
        self.predictions = _gathered(self.predictions)
        self.ground_truth = _gathered(self.ground_truth)


def open_data(config: DictConfig, detector: Detector) -> FrameDataModule:
    """Make the data module that a configuration names, as a detector was trained with it.

    Args:
        config: with the group ``data``.
        detector: the network.
    """
    data: FrameDataModule = instantiate(
        config.data,
        classes=list(detector.classes),
        # as in training: which points of a full voxel are kept depends on it
        point_range=config.data.point_range or list(detector.point_cloud_range),
        _convert_="all",
    )
    return data


def collect_detections(
    config: DictConfig, data: FrameDataModule, detector: Detector
) -> tuple[DetectionCollector, bool]:
    """Detect objects in a validation set.

    Args:
        config: with the group ``trainer``.
        data: its validation frames are looked at.
        detector: the network.

    Returns:
        what was found, and whether this process is the one that prints and writes.
    """
    trainer: pl.Trainer = instantiate(config.trainer, logger=False, _convert_="all")
    collector = DetectionCollector(detector)
    trainer.validate(collector, data, verbose=False)
    if data.skipped_frames and trainer.is_global_zero:
        print(f"left out: {data.skipped_frames} damaged records")
    return collector, trainer.is_global_zero


def _gathered(builder: ObjectsBuilder) -> ObjectsBuilder:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return builder
    parts: list[ObjectsBuilder | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, builder)
    whole = ObjectsBuilder(builder.type_names)
    whole.extend([part for part in parts if part is not None])
    return whole
