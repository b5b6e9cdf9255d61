"""Running a checkpoint over the validation set."""

import lightning.pytorch as pl
import numpy as np
import torch

from kd3d.cli.detect import DetectionCollector
from kd3d.detectors import create_detector
from kd3d.structures import Detections, PointBatch

SMALL = {
    "point_cloud_range": (-10.24, -10.24, -2, 10.24, 10.24, 4),
    "width": {"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125},
}


def batch(*times):
    generator = torch.Generator().manual_seed(0)
    return PointBatch.from_points(
        [torch.rand(50, 5, generator=generator) for _ in times],
        boxes=[torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.5]]) for _ in times],
        labels=[torch.tensor([1]) for _ in times],
        num_points=[torch.tensor([time]) for time in times],
        frame_ids=[f"s/{time}" for time in times],
    )


def test_detections_and_labels_are_kept_by_frame(monkeypatch):
    detector = create_detector("cp_pillar_v064", classes=("Cyclist", "Vehicle"), **SMALL)
    found = Detections(torch.ones(2, 9), torch.tensor([0.9, 0.1]), torch.tensor([0, 1]))
    monkeypatch.setattr(detector, "decode", lambda maps: [found] * len(maps.heatmap))
    collector = DetectionCollector(detector)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader = torch.utils.data.DataLoader([batch(5, 3), batch(4)], batch_size=None)
    trainer.validate(collector, loader, verbose=False)
    predictions, labels = collector.predictions.build(), collector.ground_truth.build()
    assert predictions.frame_ids == labels.frame_ids == ("s/3", "s/4", "s/5")
    assert predictions.types.tolist() == [4, 1] * 3
    assert predictions.scores.dtype == np.float32
    assert predictions.boxes.shape == (6, 7)
    assert labels.types.tolist() == [1, 1, 1]
    assert labels.num_points.tolist() == [3, 4, 5]
    assert labels.boxes[0].tolist() == [1, 2, 0, 4, 2, 1.5, 0.5]


def test_other_peoples_classes_keep_their_names(monkeypatch):
    detector = create_detector("cp_pillar_v064", classes=("Vehicle", "Bus"), **SMALL)
    found = Detections(torch.ones(1, 7), torch.tensor([0.9]), torch.tensor([1]))
    monkeypatch.setattr(detector, "decode", lambda maps: [found] * len(maps.heatmap))
    collector = DetectionCollector(detector)
    collector.validation_step(batch(5), 0)
    predictions = collector.predictions.build()
    assert predictions.type_names == ("Vehicle", "Bus")
    assert predictions.types.tolist() == [1]
    assert collector.ground_truth.build().type_names == ("Vehicle", "Bus")
