"""A detector that shares no code with kd3d.detectors: proof that any will do."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kd3d.distill import Objective
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import CenterTargets, Detections, HeadMaps, PointBatch

CLASSES = ("Vehicle", "Pedestrian", "Cyclist")
HALF = 8.0


def make_grid(cells: int = 16, half: float = HALF) -> BEVGrid:
    cell = 2 * half / cells
    return BEVGrid(-half, -half, cell, cell, cells, cells)


class TinyDetector(nn.Module):
    """Counts points per cell, then three convolutions; targets are one cell wide."""

    def __init__(
        self,
        cells: int = 16,
        channels: int = 4,
        classes: tuple[str, ...] = CLASSES,
        half: float = HALF,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.grid = make_grid(cells, half)
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout2d(dropout),
        )
        self.head = nn.ModuleDict(
            {
                "heatmap": nn.Conv2d(channels, len(classes), 3, padding=1),
                "box": nn.Conv2d(channels, 8, 1),
            }
        )

    def forward(self, batch: PointBatch) -> HeadMaps:
        features = self.body(self.count_points(batch))
        heatmap, box = self.head["heatmap"](features), self.head["box"](features)
        center, center_z, dim, rot = box.split((2, 1, 3, 2), dim=1)
        return HeadMaps(heatmap, center, center_z, dim, rot, self.grid)

    def count_points(self, batch: PointBatch) -> Tensor:
        height, width = self.grid.shape
        inside = self.grid.contains(batch.points[:, :2])
        cells = self.grid.to_cells(batch.points[inside, :2]).long()
        flat = (batch.batch_index[inside] * height + cells[:, 1]) * width + cells[:, 0]
        counts = torch.bincount(flat, minlength=len(batch) * height * width)
        return counts.view(len(batch), 1, height, width).float().log1p()

    def assign_targets(
        self,
        boxes: Tensor,
        labels: Tensor,
        *,
        heat_weight: Tensor | None = None,
        box_weight: Tensor | None = None,
    ) -> CenterTargets:
        height, width = self.grid.shape
        mask = labels >= 0
        cells = self.grid.to_cells(boxes[..., :2])
        columns = cells[..., 0].floor().long().clamp(0, width - 1)
        rows = cells[..., 1].floor().long().clamp(0, height - 1)
        heat = boxes.new_zeros((len(boxes), len(self.classes), height, width))
        frame, slot = mask.nonzero(as_tuple=True)
        heat[frame, labels[frame, slot], rows[frame, slot], columns[frame, slot]] = 1.0
        offset = cells - torch.stack((columns, rows), dim=-1)
        size = boxes[..., 3:6].clamp(min=0.1).log()
        heading = boxes[..., 6:7]
        codes = torch.cat((offset, boxes[..., 2:3], size, heading.cos(), heading.sin()), dim=-1)
        return CenterTargets(
            heatmap=heat,
            indices=(rows * width + columns) * mask,
            mask=mask,
            codes=codes,
            weight=mask.float() if box_weight is None else box_weight,
            labels=labels,
            grid=self.grid,
        )

    def decode(self, maps: HeadMaps, *, nms: bool = True) -> list[Detections]:
        height, width = maps.heatmap.shape[-2:]
        scores, best = maps.heatmap.float().sigmoid().flatten(1).topk(20, dim=1)
        cells = best % (height * width)
        box = torch.cat((maps.center, maps.center_z, maps.dim, maps.rot), dim=1).flatten(2).float()
        code = box.gather(2, cells[:, None].expand(-1, 8, -1)).transpose(1, 2)
        corner = torch.stack((cells % width, cells // width), dim=-1)
        xy = self.grid.to_metres(corner + code[..., :2])
        heading = torch.atan2(code[..., 7:8], code[..., 6:7])
        boxes = torch.cat((xy, code[..., 2:3], code[..., 3:6].exp(), heading), dim=-1)
        labels = best // (height * width)
        return [Detections(*frame) for frame in zip(boxes, scores, labels, strict=True)]


class TinyModule(LightningModule):
    """A user's own LightningModule around a user's own detector."""

    def __init__(self, detector: nn.Module | None = None, returns: str = "tensor") -> None:
        super().__init__()
        self.detector = detector if detector is not None else TinyDetector()
        self.returns = returns
        self.losses: list[float] = []
        self.seen_targets: list[object] = []

    def training_step(self, batch: PointBatch, batch_idx: int) -> object:
        if self.returns == "none":
            return None
        self.seen_targets.append(batch.targets)
        truth = batch if batch.targets is None else batch.targets
        targets = self.detector.assign_targets(truth.boxes, truth.labels)
        loss = detection_loss(self.detector(batch), targets)
        if self.returns == "mapping":
            return {"loss": loss, "extra": 7}
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        if isinstance(outputs, dict) and outputs:
            self.losses.append(float(outputs["loss"]))

    def validation_step(self, batch: PointBatch, batch_idx: int) -> None:
        self.detector(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # not Adam: it blows rounding errors of zero gradients up to whole steps
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class DealtModule(TinyModule):
    """Deals fixed batches of two frames out to the processes in turn."""

    def train_dataloader(self) -> DataLoader:
        order = [[0, 2], [1, 3], [4, 6], [5, 7]]
        mine = order[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(Scenes(8), batch_sampler=mine, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        return make_loader(4)


def detection_loss(maps: HeadMaps, targets: CenterTargets) -> Tensor:
    heat = nn.functional.binary_cross_entropy_with_logits(maps.heatmap.float(), targets.heatmap)
    box = torch.cat((maps.center, maps.center_z, maps.dim, maps.rot), dim=1).flatten(2).float()
    found = box.gather(2, targets.indices[:, None].expand(-1, 8, -1)).transpose(1, 2)
    error = (found - targets.codes).abs() * targets.weight[..., None]
    return heat + 0.1 * error.sum() / targets.weight.sum().clamp(min=1)


class FeatureKD(Objective):
    """Imitates the mean of the teacher's features through a trained projection."""

    name = "feature"
    student_taps = teacher_taps = ("body",)

    def build_adapters(self, channels: object) -> dict[str, nn.Module]:
        mine, theirs = channels.student("body"), channels.teacher("body")  # type: ignore[attr-defined]
        return {"project": nn.Sequential(nn.Conv2d(mine, theirs, 1), nn.BatchNorm2d(theirs))}

    def forward(self, student: object, teacher: object, context: object) -> Tensor:
        mine = self.adapters["project"](student.taps["body"].float())  # type: ignore[attr-defined]
        theirs = teacher.taps["body"].float()  # type: ignore[attr-defined]
        difference = mine.mean(dim=(2, 3)) - theirs.mean(dim=(2, 3))  # whatever the two grids
        return self.weight * difference.square().mean()


class Scenes(Dataset[dict[str, Tensor]]):
    """Frames with three objects each, made from the index."""

    def __init__(self, frames: int = 8, objects: int = 3) -> None:
        self.frames = frames
        self.objects = objects

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(index)
        boxes = torch.rand(self.objects, 7, generator=random)
        boxes[:, :2] = (boxes[:, :2] - 0.5) * 1.8 * HALF
        boxes[:, 3:6] += 1.0
        labels = torch.arange(self.objects) % len(CLASSES)
        spread = torch.rand(max(self.objects, 1), 30, 5, generator=random)
        points = spread.clone()
        points[: self.objects, :, :2] += boxes[:, None, :2]
        return {"points": points.flatten(0, 1), "boxes": boxes, "labels": labels}


def collate(frames: list[dict[str, Tensor]]) -> PointBatch:
    return PointBatch.from_points(
        [frame["points"] for frame in frames],
        boxes=[frame["boxes"] for frame in frames],
        labels=[frame["labels"] for frame in frames],
    )


def make_loader(frames: int = 8, *, objects: int = 3, shuffle: bool = False) -> DataLoader:
    return DataLoader(Scenes(frames, objects), batch_size=2, collate_fn=collate, shuffle=shuffle)


def make_batch(frames: int = 2, objects: int = 3) -> PointBatch:
    scenes = Scenes(frames, objects)
    return collate([scenes[index] for index in range(frames)])


def make_detector(seed: int, **changes: object) -> TinyDetector:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyDetector(**changes)  # type: ignore[arg-type]


def random_maps(
    cells: int, *, frames: int = 2, classes: int = 3, seed: int = 0, half: float = HALF
) -> HeadMaps:
    random = torch.Generator().manual_seed(seed)
    grid = make_grid(cells, half)

    def draw(channels: int) -> Tensor:
        return torch.randn(frames, channels, *grid.shape, generator=random)

    return HeadMaps(draw(classes), draw(2), draw(1), draw(3), draw(2), grid)


def make_trainer(*callbacks: object, trainer_class: type = Trainer, **options: object) -> Trainer:
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
    }
    return trainer_class(**{**settings, **options})


def constant_score(teacher: object, batches: object) -> float:
    """A score that needs no metric; it does look at the frames."""
    return float(sum(len(batch) for batch in batches))  # type: ignore[attr-defined]


def rank_score(teacher: object, batches: object) -> float:
    """A score that differs between processes."""
    return float(torch.distributed.get_rank())
