"""Distil a detector whose head is no heatmap: per cell a softmax over background and four classes.

The teacher has another stride and other names of its outputs; its boxes join the student's targets.
Batches are tuples. ``python examples/distil_other_head.py`` takes a few seconds on a CPU.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from kd3d.distill import BatchView, KDCallback, LabelKD, PivotalLogitKD, View
from kd3d.geometry import BEVGrid
from kd3d.structures import ClassMaps, Detections

CLASSES = ("Car", "Truck", "Pedestrian", "Cyclist")
RANGE = (-16.0, -16.0, -2.0, 16.0, 16.0, 2.0)
SIZES = torch.tensor([[4.5, 1.9, 1.6], [8.0, 2.5, 3.0], [0.8, 0.8, 1.7], [1.8, 0.8, 1.7]])


class CellDetector(L.LightningModule):
    def __init__(self, channels, stride, names):
        super().__init__()
        self.voxels = BEVGrid.from_range(RANGE, (0.25, 0.25))
        self.cells = BEVGrid.from_range(RANGE, (0.25, 0.25), stride)
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, stride, stride), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.head = nn.ModuleDict(
            {
                names[0]: nn.Conv2d(channels, 1 + len(CLASSES), 1),
                names[1]: nn.Conv2d(channels, 3, 1),  # from the cell's centre to the object's
            }
        )

    def forward(self, points):
        side = self.voxels.width
        column, row = self.voxels.to_cells(points[..., :2]).long().clamp(0, side - 1).unbind(-1)
        occupied = torch.zeros(len(points), side * side).scatter(1, row * side + column, 1.0)
        features = self.body(occupied.view(-1, 1, side, side))
        return [layer(features) for layer in self.head.values()]

    def training_step(self, batch, batch_idx):
        points, boxes, labels, weights = batch
        scores, offsets = self(points)
        inside = self.cells.contains(boxes[..., :2]) & (labels >= 0)
        frame, slot = inside.nonzero(as_tuple=True)
        chosen = boxes[frame, slot]
        column, row = self.cells.to_cells(chosen[:, :2]).long().unbind(-1)
        wanted = torch.zeros_like(scores[:, 0], dtype=torch.int64)
        wanted[frame, row, column] = labels[frame, slot] + 1
        centers = self.cells.centers()[row, column]
        offset = torch.cat((chosen[:, :2] - centers, chosen[:, 2:3]), dim=1)
        error = (offsets[frame, :, row, column] - offset).abs().sum(dim=1)
        loss = F.cross_entropy(scores, wanted, torch.tensor([0.1, 1.0, 1.0, 1.0, 1.0]))
        loss = loss + (error * weights[frame, slot]).mean()
        self.log("loss", loss, batch_size=len(points))
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def view_of(names):
    """Tell kd3d how to read a head whose two outputs have these names."""
    scores, offsets = (f"head.{name}" for name in names)

    def read(network, captured):
        probabilities = captured[scores].softmax(dim=1)[:, 1:]  # without the background
        return ClassMaps.from_probabilities(probabilities, network.cells)

    def decode(network, captured):
        """The 20 best cells as boxes: centres from the head, sizes by class."""
        best = captured[scores].softmax(dim=1)[:, 1:].flatten(1).topk(20)
        centers = network.cells.centers().flatten(0, 1)
        labels, cells = best.indices // len(centers), best.indices % len(centers)
        offset = captured[offsets].flatten(2).transpose(1, 2)
        offset = offset.gather(1, cells[..., None].expand(-1, -1, 3))
        xy, heading = centers[cells] + offset[..., :2], torch.zeros_like(offset[..., :1])
        boxes = torch.cat((xy, offset[..., 2:], SIZES[labels], heading), dim=-1)
        return [Detections(*frame) for frame in zip(boxes, best.values, labels, strict=True)]

    return View(read, taps=(scores, offsets), classes=CLASSES, decode=decode, call=run_on_points)


def run_on_points(network, batch):
    return network(batch[0])


def with_targets(batch, targets):
    """Give the batch with other boxes to train on."""
    return batch[0], targets.boxes, targets.labels, targets.box_weight


def scene(index):
    """Make four objects with 60 points in each."""
    random = torch.Generator().manual_seed(index)
    labels = torch.randperm(len(CLASSES), generator=random)
    center = torch.rand(4, 3, generator=random) * torch.tensor([30.0, 30.0, 1.0]) - 15.0
    boxes = torch.cat((center, SIZES[labels], torch.zeros(4, 1)), dim=1)
    spread = torch.rand(4, 60, 3, generator=random) - 0.5
    points = center[:, None] + spread * SIZES[labels][:, None]
    return points.flatten(0, 1), boxes, labels, torch.ones(4)


def train(name, detector, *callbacks):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=4, callbacks=list(callbacks), **quiet)
    trainer.fit(detector, DataLoader([scene(index) for index in range(64)], batch_size=8))
    print(name, {key: round(float(loss), 4) for key, loss in trainer.callback_metrics.items()})


if __name__ == "__main__":
    teacher = CellDetector(channels=32, stride=2, names=("logits", "centers"))
    train("teacher", teacher)
    distil = KDCallback(
        teacher,
        {"logit": PivotalLogitKD(weight=5.0), "label": LabelKD(thresholds=0.3)},
        student_path="",  # the LightningModule itself is the detector
        student_view=view_of(("cls_preds", "reg_preds")),
        teacher_view=view_of(("logits", "centers")),
        batch_view=BatchView(truth=lambda batch: batch[1:3], with_targets=with_targets),
        teacher_check_frames=0,  # there are no validation frames to score the teacher on
    )
    student = CellDetector(channels=8, stride=4, names=("cls_preds", "reg_preds"))
    train("student", student, distil)
