"""Layout, compilation and precision of the dense part."""

from copy import deepcopy

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from kd3d import DetectorModule, PointBatch, create_detector
from kd3d.training.dense import arrange_dense

RANGE = (-5.12, -5.12, -2.0, 5.12, 5.12, 4.0)
NARROW = {"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125}


def detector():
    torch.manual_seed(0)
    return create_detector("cp_pillar_v064", point_cloud_range=RANGE, width=NARROW, depth=(1, 0, 0))


def batch():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(200, 5, generator=generator) * torch.tensor([10, 10, 3, 1, 1])
    boxes = torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3]])
    return PointBatch.from_points(
        [points - torch.tensor([5.0, 5, 1, 0, 0])], boxes=[boxes], labels=[torch.tensor([1])]
    )


def fit_one_step(module, tmp_path):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader([batch()], batch_size=None))
    return module


def convolutions(module):
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def is_channels_last(module):
    weights = [conv.weight for conv in convolutions(module) if conv.in_channels > 1]
    flags = {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}
    assert len(flags) == 1
    return flags.pop()


def test_detectors_are_built_channels_last_and_stay_so_in_training(tmp_path):
    module = DetectorModule(detector(), total_steps=1)
    assert is_channels_last(module.detector)
    assert is_channels_last(fit_one_step(module, tmp_path).detector)


def test_the_default_layout_comes_back_on_request(tmp_path):
    module = DetectorModule(detector(), total_steps=1, channels_last=False)
    assert not is_channels_last(fit_one_step(module, tmp_path).detector)


def test_both_layouts_compute_the_same_maps():
    one = detector().eval()
    other = deepcopy(one)
    arrange_dense(other, channels_last=False, compiled=False)
    with torch.no_grad():
        torch.testing.assert_close(one(batch()).heatmap, other(batch()).heatmap)


def test_layout_survives_a_checkpoint(tmp_path):
    module = fit_one_step(DetectorModule(detector(), total_steps=1), tmp_path)
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    fresh = DetectorModule(detector(), total_steps=1)
    fresh.load_state_dict(state)
    assert is_channels_last(fresh.detector)


def test_compilation_is_asked_of_each_dense_part_once(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(type(part).__name__))
    module = DetectorModule(detector(), total_steps=2, compile=True)
    names = list(module.state_dict())
    fit_one_step(module, tmp_path)
    module.configure_model()
    assert compiled == ["BEVBackbone", "CenterHead"]
    assert list(module.state_dict()) == names
    assert "compile" in module.hparams


def test_a_compiled_module_computes_the_same_maps():
    one = detector().eval()
    other = deepcopy(one)
    for part in (other.backbone_2d, other.dense_head):
        part.compile(backend="aot_eager")  # the graph is captured, no C++ compiler is needed
    with torch.no_grad():
        torch.testing.assert_close(one(batch()).heatmap, other(batch()).heatmap)


@pytest.mark.parametrize("autocast", [False, True])
def test_autocast_runs_the_dense_part_in_bfloat16(autocast, tmp_path):
    module = DetectorModule(detector(), total_steps=1, autocast=autocast)
    seen = []
    for part in (module.detector.vfe, module.detector.dense_head.shared_conv):
        part.register_forward_hook(lambda part, inputs, output: seen.append(output.dtype))
    fit_one_step(module, tmp_path)
    assert seen == [torch.float32, torch.bfloat16 if autocast else torch.float32]
