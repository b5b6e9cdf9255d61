"""DetectorModule in a Trainer."""

from copy import deepcopy

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from kd3d import Detector, DetectorModule, PointBatch, create_detector
from kd3d.errors import ConfigError
from kd3d.structures import TargetBoxes

RANGE = (-5.12, -5.12, -2.0, 5.12, 5.12, 4.0)
TINY = {"encoder": 0.125, "backbone_2d": 0.0625, "head": 0.125}


def tiny_detector():
    torch.manual_seed(0)
    return create_detector("cp_pillar_v064", point_cloud_range=RANGE, width=TINY, depth=(0, 0, 0))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(200, 5, generator=generator) * torch.tensor([10, 10, 3, 1, 1])
    points -= torch.tensor([5.0, 5, 1, 0, 0])
    boxes = torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3], [-2, -2, 0, 1, 1, 1.7, 2]])
    return PointBatch.from_points(
        [points, points + 0.01],
        boxes=[boxes, boxes[:1]],
        labels=[torch.tensor([0, 1]), torch.tensor([2])],
    )


def loader(count=4):
    return DataLoader([batch(seed) for seed in range(count)], batch_size=None)


def trainer(tmp_path, **changes):
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 3,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(**{**options, **changes})


def test_training_lowers_the_loss_and_validation_logs_the_metric(tmp_path):
    module = DetectorModule(tiny_detector())
    fit = trainer(tmp_path, max_steps=60)
    before = loss_of(module)
    fit.fit(module, DataLoader([batch()] * 60, batch_size=None), loader(1))
    assert loss_of(module) < 0.7 * before
    names = set(fit.callback_metrics)
    assert {"val/L2_mAPH", "val/Vehicle/L1_AP", "train/loss"} <= names


def test_a_test_logs_the_metric_under_its_own_name(tmp_path):
    module = DetectorModule(tiny_detector())
    fit = trainer(tmp_path)
    (tested,) = fit.test(module, loader(2), verbose=False)
    (validated,) = fit.validate(module, loader(2), verbose=False)
    assert "test/L2_mAPH" in tested
    assert all(name.startswith("test/") for name in tested)
    assert {name.replace("test/", "val/"): value for name, value in tested.items()} == validated


def test_the_metric_can_be_broken_down_by_range(tmp_path):
    module = DetectorModule(tiny_detector(), breakdowns=("object_type", "range"))
    (found,) = trainer(tmp_path).validate(module, loader(1), verbose=False)
    assert {"val/L2_mAPH", "val/Vehicle/0-30m/L2_APH", "val/50m-inf/L2_mAPH"} <= found.keys()
    (plain,) = trainer(tmp_path).validate(DetectorModule(tiny_detector()), loader(1), verbose=False)
    assert not any("30-50m" in name for name in plain)
    assert plain.items() <= found.items()
    with pytest.raises(ConfigError, match="breakdowns"):
        DetectorModule(tiny_detector(), breakdowns=("distance",))


def loss_of(module, data=None):
    """Give the training loss of a batch, on a copy, outside any trainer."""
    silent = deepcopy(module).train()
    silent.log = lambda *args, **kwargs: None
    return float(silent.training_step(data or batch(), 0))


def test_the_student_trains_on_targets_where_there_are_any():
    module = DetectorModule(tiny_detector())
    plain = batch()
    same = plain.with_targets(
        TargetBoxes(
            boxes=plain.boxes,
            labels=plain.labels,
            from_teacher=torch.zeros_like(plain.labels, dtype=torch.bool),
            heat_weight=torch.ones(plain.labels.shape),
            box_weight=torch.ones(plain.labels.shape),
        )
    )
    other = plain.with_targets(
        TargetBoxes(
            boxes=plain.boxes + 0.5,
            labels=plain.labels,
            from_teacher=torch.ones_like(plain.labels, dtype=torch.bool),
            heat_weight=torch.ones(plain.labels.shape),
            box_weight=torch.ones(plain.labels.shape),
        )
    )
    losses = [loss_of(module, one) for one in (plain, same, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_every_parameter_is_decayed_and_the_cycle_has_the_runs_length(tmp_path):
    module = DetectorModule(tiny_detector())
    fit = trainer(tmp_path, max_steps=5)
    fit.fit(module, loader(8))
    (optimizer,) = fit.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len(list(module.parameters()))
    assert fit.lr_scheduler_configs[0].scheduler.total_steps == 5
    assert group["lr"] == pytest.approx(3e-8)


class Counting(pl.LightningDataModule):
    def steps_per_epoch(self, world_size=1):
        return 5

    def train_dataloader(self):
        return loader(5)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"max_epochs": 3}, 15),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, 9),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
        ({"max_epochs": 100, "max_steps": 4}, 4),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 4),
    ],
)
def test_the_length_is_counted_without_asking_the_trainer(tmp_path, changes, steps):
    module = DetectorModule(tiny_detector())
    fit = trainer(tmp_path, **{"max_steps": -1, **changes})
    fit.fit(module, Counting())
    assert fit.lr_scheduler_configs[0].scheduler.total_steps == steps
    assert fit.global_step == steps


def test_an_unknown_length_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="total_steps"):
        trainer(tmp_path, max_steps=-1, max_epochs=1).fit(DetectorModule(tiny_detector()), loader())


def test_a_checkpoint_is_plain_and_rebuilds_the_module(tmp_path):
    module = DetectorModule(tiny_detector(), max_rate=1e-3)
    fit = trainer(tmp_path)
    fit.fit(module, loader())
    path = tmp_path / "last.ckpt"
    fit.save_checkpoint(path)
    stored = torch.load(path, weights_only=True)
    assert stored["kd3d_detector"] == module.detector.spec()
    assert stored["hyper_parameters"]["max_rate"] == 1e-3
    rebuilt = DetectorModule.from_checkpoint(path)
    for name, value in module.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[name], value), name
    again = DetectorModule.load_from_checkpoint(path, detector=tiny_detector())
    assert again.max_rate == 1e-3
    found = Detector.from_checkpoint(path).predict(batch().points)
    assert len(found.boxes) == len(found.scores) == len(found.labels)


def test_prediction_gives_boxes_per_frame(tmp_path):
    found = trainer(tmp_path).predict(DetectorModule(tiny_detector()), loader(2))
    assert [len(frames) for frames in found] == [2, 2]


def test_bfloat16_autocast_keeps_the_losses_in_float32(tmp_path):
    module = DetectorModule(tiny_detector())
    fit = trainer(tmp_path, precision="bf16-mixed", max_steps=1)
    fit.fit(module, loader(1))
    assert fit.callback_metrics["train/loss"].dtype == torch.float32
    assert torch.isfinite(fit.callback_metrics["train/loss"])


def test_other_classes_and_features_train_validate_and_come_back(tmp_path):
    detector = create_detector(
        "cp_pillar_v064",
        classes=("car", "truck", "bus", "cone"),
        point_features=4,
        point_cloud_range=RANGE,
        width=TINY,
        depth=(0, 0, 0),
    )
    module = DetectorModule(detector, iou_thresholds=[0.5, 0.5, 0.5, 0.3])
    fit = trainer(tmp_path, max_steps=2)
    fit.fit(module, loader(2), loader(1))
    assert {"val/cone/L2_APH", "val/L2_mAPH"} <= set(fit.callback_metrics)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = DetectorModule.from_checkpoint(
        tmp_path / "last.ckpt", iou_thresholds=[0.5, 0.5, 0.5, 0.3]
    )
    assert again.detector.classes == ("car", "truck", "bus", "cone")
    with pytest.raises(ConfigError, match="iou_thresholds"):
        DetectorModule(detector)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_held_share_must_leave_a_cycle(share):
    with pytest.raises(ConfigError, match="hold_fraction"):
        DetectorModule(create_detector("cp_pillar_v064"), hold_fraction=share)
