"""The LightningModule that trains and validates any kd3d detector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import AdamW
from typing_extensions import Self

from kd3d.data.run_length import fit_steps
from kd3d.detectors import Detector
from kd3d.errors import ConfigError
from kd3d.metrics import WaymoDetectionMetric
from kd3d.structures import Detections, HeadMaps, PointBatch
from kd3d.training.dense import arrange_dense
from kd3d.training.frozen import FrozenPart
from kd3d.training.groups import RateGroups
from kd3d.training.one_cycle import OneCycle

__all__ = ["DetectorModule"]


class DetectorModule(pl.LightningModule):
    """Train a detector by the recipe of the CenterPoint baselines and validate it.

    Adam with decoupled weight decay on every parameter that trains, one cycle of rate and momentum
    (`kd3d.training.one_cycle`). Clip gradients with the trainer (``gradient_clip_val=10``).
    Validation logs ``val/{class}/{L1,L2}_{AP,APH}`` and ``val/{L1,L2}_{mAP,mAPH}``, a test the same
    as ``test/...``.

    Example:
        >>> from kd3d import DetectorModule, create_detector
        >>> module = DetectorModule(create_detector("cp_pillar_v064"), total_steps=1000)

    Args:
        detector: the network. Its name and arguments travel in the checkpoint.
        max_rate: learning rate at the peak of the cycle.
        weight_decay: decoupled weight decay.
        total_steps: length of the cycle in optimiser steps. By default the trainer's
            ``max_steps``, or its epochs times the data module's own count of steps.
        rates: multiplier of the rate by pattern of the detector's parameter names, such as
            ``{"dense_head.*": 2.0}``; see `kd3d.training.RateGroups`.
        freeze: patterns of parameters that do not train, such as ``["backbone_2d.*"]``; modules
            with no others stay in eval mode; see `kd3d.training.FrozenPart`.
        hold_fraction: share of the steps, at the end of the run, that go on at a hundredth of the
            peak rate after the cycle; 0 as in the recipes.
        iou_thresholds: least overlap of a match per class, for classes that Waymo does not have.
        breakdowns: what the metric is broken down by: ``object_type``; with ``range`` too, each
            class and mean is also logged per ring of distance (``val/Vehicle/30-50m/L2_APH``).
        channels_last: lay the dense part (2D backbone and head) out with the channels last.
        compile: compile the dense part with ``torch.compile`` when it first runs; on a CPU this
            needs a C++ compiler.
        autocast: run the detector under bfloat16 autocast, whatever the trainer's precision.
            Coordinates, voxel encoder, targets, losses and decoding stay float32.

    Raises:
        ConfigError: if an option cannot work, or a pattern matches nothing.
    """

    monitor = "val/L2_mAPH"  #: the metric that checkpoints are ranked by
    mode = "max"  #: higher is better

    def __init__(
        self,
        detector: Detector,
        *,
        max_rate: float = 3e-3,
        weight_decay: float = 0.01,
        total_steps: int | None = None,
        hold_fraction: float = 0.0,
        rates: Mapping[str, float] | None = None,
        freeze: Sequence[str] = (),
        iou_thresholds: Sequence[float] | None = None,
        breakdowns: Sequence[str] = ("object_type",),
        channels_last: bool = True,
        compile: bool = False,
        autocast: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="detector")
        self.detector = detector
        self.channels_last = channels_last
        self.compile_dense = compile
        self.autocast = autocast
        self._arranged = False
        self.max_rate = max_rate
        self.weight_decay = weight_decay
        self.total_steps = total_steps
        if not 0 <= hold_fraction < 1:
            raise ConfigError(f"{hold_fraction} is not in [0, 1).", where="hold_fraction")
        self.hold_fraction = hold_fraction
        self.frozen = FrozenPart(detector, freeze)
        self.groups = RateGroups(detector, rates or {})
        self.metric = WaymoDetectionMetric(
            detector.classes, iou_thresholds=iou_thresholds, breakdowns=breakdowns
        )

    @classmethod
    def from_checkpoint(cls, path: str | Path, **options: Any) -> "DetectorModule":  # noqa: ANN401
        """Rebuild a module from its checkpoint, detector included.

        Args:
            path: a checkpoint of a training run, or a file of `kd3d.detectors.save_detector`.
            options: further arguments of the module.

        Raises:
            CheckpointError: if the file is missing, unreadable or not a kd3d checkpoint.
        """
        return cls(Detector.from_checkpoint(path), **options)

    def forward(self, batch: PointBatch) -> list[Detections]:
        """Detect objects in every frame of a batch."""
        return self.detector.decode(self._maps(batch))

    def configure_model(self) -> None:
        """Arrange the dense part as the options say, the first time a trainer takes the module."""
        if not self._arranged:
            arrange_dense(
                self.detector, channels_last=self.channels_last, compiled=self.compile_dense
            )
        self._arranged = True

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but for what is frozen."""
        super().train(mode)
        self.frozen.keep_still(self.detector)
        return self

    def training_step(self, batch: PointBatch, batch_idx: int) -> Tensor:
        """Compute the detection loss on ``batch.targets``, or on the ground truth without them."""
        targets = batch.targets
        if targets is None:
            assigned = self.detector.assign_targets(batch.boxes, batch.labels)
        else:
            assigned = self.detector.assign_targets(
                targets.boxes,
                targets.labels,
                heat_weight=targets.heat_weight,
                box_weight=targets.box_weight,
            )
        losses = self.detector.loss(self._maps(batch), assigned)
        for name, value in losses.items():
            label = "train/loss" if name == "loss" else f"train/{name}_loss"
            self.log(label, value, prog_bar=name == "loss", batch_size=len(batch))
        return losses["loss"]

    def validation_step(self, batch: PointBatch, batch_idx: int) -> None:
        """Add the frames of a batch to the detection metric."""
        self.metric.update([found.as_dict() for found in self(batch)], batch.ground_truth())

    def on_validation_epoch_end(self) -> None:
        """Log the metric over all frames (and all ranks)."""
        self._log_metric("val")

    def test_step(self, batch: PointBatch, batch_idx: int) -> None:
        """Add the frames of a batch to the detection metric."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the metric over all frames (and all ranks)."""
        self._log_metric("test")

    def predict_step(self, batch: PointBatch, batch_idx: int) -> list[Detections]:
        """Detect objects in every frame of a batch."""
        found: list[Detections] = self(batch)
        return found

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimiser and its schedule, stepped after every optimiser step."""
        optimizer = AdamW(
            self.groups.of(self, self.detector),
            lr=self.max_rate / 10,
            betas=(0.95, 0.99),
            eps=1e-8,
            weight_decay=self.weight_decay,
        )
        schedule = OneCycle(
            optimizer, self._count_steps(), self.max_rate, hold_fraction=self.hold_fraction
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "rate"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the detector's name and arguments into the checkpoint."""
        checkpoint["kd3d_detector"] = self.detector.spec()

    def _log_metric(self, prefix: str) -> None:
        for name, value in self.metric.compute().items():
            self.log(f"{prefix}/{name}", value, prog_bar=f"{prefix}/{name}" == self.monitor)
        self.metric.reset()

    def _maps(self, batch: PointBatch) -> HeadMaps:
        if not self.autocast:
            maps: HeadMaps = self.detector(batch)
            return maps
        with torch.autocast(self.device.type, torch.bfloat16):
            maps = self.detector(batch)
        return maps

    def _count_steps(self) -> int:
        """Find the length of the run."""
        if self.total_steps is not None:
            return self.total_steps
        count = getattr(getattr(self.trainer, "datamodule", None), "steps_per_epoch", None)
        batches = None if count is None else count(self.trainer.world_size)
        steps = fit_steps(self.trainer, batches)
        if steps is None:
            raise ConfigError(
                "the length of the schedule is unknown.",
                where="DetectorModule.total_steps",
                hint="Give total_steps, or the trainer max_steps, or a data module that counts.",
            )
        return steps
