"""Distil a detector of your own in plain Lightning; the network and its data are in this file.

``python examples/distil_your_own.py`` takes a few seconds on a CPU.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from kd3d.distill import KDCallback, PivotalLogitKD, RegressionKD, View
from kd3d.geometry import BEVGrid
from kd3d.structures import HeadMaps

GRID = BEVGrid(x_min=-16.0, y_min=-16.0, cell_x=1.0, cell_y=1.0, width=32, height=32)


class MyDetector(L.LightningModule):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(channels, 2 + 8, 3, padding=1)  # two classes, eight numbers of a box

    def forward(self, batch):
        column, row = GRID.to_cells(batch["points"][..., :2]).long().clamp(0, 31).unbind(-1)
        occupied = torch.zeros(len(row), 32 * 32).scatter(1, row * 32 + column, 1.0)
        return self.head(self.body(occupied.view(-1, 1, 32, 32)))

    def training_step(self, batch, batch_idx):
        maps, frame = self(batch), torch.arange(len(batch["boxes"]))[:, None]
        xy, z, size, heading = batch["boxes"].split((2, 1, 3, 1), dim=-1)
        column, row = GRID.to_cells(xy).long().unbind(-1)
        code = torch.cat((GRID.to_cells(xy) % 1, z, size.log(), heading.cos(), heading.sin()), -1)
        heat = torch.zeros_like(maps[:, :2])
        heat[frame, batch["labels"], row, column] = 1.0
        loss = F.binary_cross_entropy_with_logits(maps[:, :2], heat)
        loss = loss + 0.1 * F.l1_loss(maps[frame, 2:, row, column], code)
        self.log("loss", loss, batch_size=len(maps))
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def scene(index):
    """Four boxes (x, y, z, length, width, height, heading) and 60 points in each."""
    random = torch.Generator().manual_seed(index)
    boxes = torch.rand(4, 7, generator=random) * torch.tensor([30, 30, 1, 3, 1, 1, 6.0])
    boxes += torch.tensor([-15, -15, 0, 1, 1, 1, -3.0])
    points = boxes[:, None, :3] + torch.rand(4, 60, 3, generator=random) - 0.5
    return {"points": points.flatten(0, 1), "boxes": boxes, "labels": torch.arange(4) % 2}


def read(network, captured):
    """Tell kd3d what the output is: logits, then centre, height, log sizes, cosine and sine."""
    maps = captured[""]
    return HeadMaps(maps[:, :2], maps[:, 2:4], maps[:, 4:5], maps[:, 5:8], maps[:, 8:], GRID)


def train(name, detector, *callbacks):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=4, callbacks=list(callbacks), **quiet)
    trainer.fit(detector, DataLoader([scene(index) for index in range(64)], batch_size=8))
    print(name, {key: round(float(loss), 4) for key, loss in trainer.callback_metrics.items()})


if __name__ == "__main__":
    teacher = MyDetector(channels=32)
    train("teacher", teacher)
    view = View(read, classes=("Car", "Pedestrian"))
    distil = KDCallback(
        teacher,
        [PivotalLogitKD(weight=5.0), RegressionKD(weight=0.1)],
        student_path="",  # the LightningModule itself is the detector
        student_view=view,
        teacher_view=view,
        teacher_check_frames=0,  # there are no validation frames to score the teacher on
    )
    train("student", MyDetector(channels=8), distil)
