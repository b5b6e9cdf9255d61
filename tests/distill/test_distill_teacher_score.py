"""The score of a teacher on classes that Waymo does not have."""

import pytest
import torch
from distill_fakes import make_batch

from kd3d.distill import waymo_score
from kd3d.errors import ConfigError
from kd3d.structures import Detections


class Shifted:
    """A teacher that finds every object, a fifth of its length ahead: an overlap of two thirds."""

    classes = ("Tram", "Bus", "Bike")

    def predict(self, batch):
        return [self.found(*frame) for frame in zip(batch.boxes, batch.labels, strict=True)]

    def found(self, boxes, labels):
        boxes, labels = boxes[labels >= 0].clone(), labels[labels >= 0]
        ahead = torch.stack((boxes[:, 6].cos(), boxes[:, 6].sin()), dim=1)
        boxes[:, :2] += ahead * boxes[:, 3:4] / 5
        return Detections(boxes, torch.full((len(boxes),), 0.9), labels)


def test_it_counts_by_the_thresholds_that_it_is_given():
    batch = make_batch()
    present = len(batch.labels[batch.labels >= 0].unique()) / len(Shifted.classes)
    assert present > 0
    scores = [waymo_score(Shifted(), [batch], iou_thresholds=[least] * 3) for least in (0.6, 0.7)]
    assert scores == pytest.approx([present, 0.0])


def test_without_thresholds_it_says_how_to_give_them():
    with pytest.raises(ConfigError, match=r"no IoU threshold for Tram.*iou_thresholds=\[\.\.\.\]"):
        waymo_score(Shifted(), [make_batch()])
