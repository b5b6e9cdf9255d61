"""What holds for every detector, each at a quarter of its width on a tiny range."""

import gc
import warnings
from pathlib import Path

import kd3d.conf
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from kd3d.detectors import (
    AnchorDetector,
    create_detector,
    list_detectors,
    load_detector,
    save_detector,
)
from kd3d.profiling import profile
from kd3d.structures import PointBatch
from kd3d.training import DetectorModule

WIDTHS = Path(kd3d.conf.__file__).parent / "width" / "quarter"
HALF = {"cp_pillar_v048": 7.68}  # whole cells for every network; 6.4 m otherwise

every = pytest.mark.parametrize("name", list_detectors())


def tiny(name, seed=0, **changes):
    half = HALF.get(name, 6.4)
    width = OmegaConf.to_container(OmegaConf.load(WIDTHS / f"{name}.yaml"))["width"]
    bounds = (-half, -half, -2.0, half, half, 4.0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create_detector(name, **{"point_cloud_range": bounds, "width": width, **changes})


def frame(seed=0):
    """Points on two objects and on the ground."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[2.0, 2.5, 1, 4, 2, 1.5, 0.3], [-4, -3, 1, 0.9, 0.9, 1.7, 0]])
    spread = torch.rand(2, 80, 5, generator=generator) - 0.5
    on_objects = torch.cat(
        (boxes[:, None, :3] + spread[..., :3] * boxes[:, None, 3:6], spread[..., 3:]), dim=-1
    )
    ground = torch.rand(200, 5, generator=generator) * 12 - 6
    ground[:, 2] = 0
    return {
        "points": torch.cat((on_objects.flatten(0, 1), ground)),
        "boxes": boxes,
        "labels": torch.tensor([0, 1]),
    }


def collate(frames):
    return PointBatch.from_points(
        [one["points"] for one in frames],
        boxes=[one["boxes"] for one in frames],
        labels=[one["labels"] for one in frames],
    )


def num_tensors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what isinstance finds behind torch's lazy names
        return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())


def train_once(detector):
    batch = collate([frame()])
    targets = detector.assign_targets(batch.boxes, batch.labels)
    detector.loss(detector(batch), targets)["loss"].backward()


@every
def test_a_step_leaves_no_tensor_in_memory(name):
    detector = tiny(name)
    train_once(detector)  # its gradients stay
    gc.collect()
    gc.disable()  # a circle of references would wait for it, and a step's tensors with the circle
    try:
        before = num_tensors()
        train_once(detector)
        assert num_tensors() == before
    finally:
        gc.enable()


def test_there_are_ten():
    assert list_detectors() == [
        "cp_pillar",
        "cp_pillar_v040",
        "cp_pillar_v048",
        "cp_pillar_v064",
        "cp_voxel",
        "cp_voxel_s",
        "cp_voxel_xs",
        "cp_voxel_xxs",
        "pointpillar",
        "second",
    ]


def is_plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(one) for key, one in value.items())
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (int, float, str)


@every
def test_what_rebuilds_a_detector_is_plain_whatever_it_was_given(name):
    half = HALF.get(name, 6.4)
    given = {
        "point_cloud_range": np.array([-half, -half, -2, half, half, 4]),
        "classes": OmegaConf.create(["Vehicle", "Pedestrian"]),
        "max_points": np.int64(7),
        "score_threshold": np.float64(0.25),
        "nms": "per_class",
        "nms_threshold": OmegaConf.create([0.7, 0.5]),
    }
    described = tiny(name, **given)
    arguments = described.spec()["arguments"]
    assert is_plain(arguments), arguments
    assert {argument: arguments[argument] for argument in given} == {
        "point_cloud_range": (-half, -half, -2.0, half, half, 4.0),
        "classes": ("Vehicle", "Pedestrian"),
        "max_points": 7,
        "score_threshold": 0.25,
        "nms": "per_class",
        "nms_threshold": (0.7, 0.5),
    }
    again = create_detector(name, **arguments)
    assert again.spec() == described.spec()


@every
def test_shapes(name):
    detector = tiny(name)
    maps = detector(collate([frame(), frame(1), frame(2)]))
    sizes = {"heatmap": 3, "center": 2, "center_z": 1, "dim": 3, "rot": 2}
    if isinstance(detector, AnchorDetector):
        sizes = {"heatmap": 3, "score": 18, "box": 42, "direction": 12}
    for branch, channels in sizes.items():
        assert getattr(maps, branch).shape == (3, channels, *detector.grid.shape)
    half = HALF.get(name, 6.4)
    corner = detector.grid.to_metres(torch.tensor(maps.heatmap.shape[:-3:-1]).float())
    assert corner.tolist() == pytest.approx([half, half])
    found = detector.predict([frame()["points"]])[0]
    assert found.boxes.shape == (len(found), 7)


@every
def test_a_profile_counts_everything(name):
    detector = tiny(name).eval()
    one = profile(detector, collate([frame()]), repeats=1, warmup=0)
    assert one.parameters == sum(parameter.numel() for parameter in detector.parameters())
    assert not one.gaps
    parts = ["backbone_2d", "dense_head", "vfe" if "pillar" in name else "backbone_3d"]
    assert all(one[part].cost.true.macs > 0 for part in parts)
    assert one.macs == sum(one[part].cost.true.macs for part in parts)
    assert set(one.latency) >= {"voxelise", "encode", "backbone", "head", "decode", "nms"}


@every
def test_one_frame_can_be_learnt(name):
    detector = tiny(name)
    batch = collate([frame()])
    targets = detector.assign_targets(batch.boxes, batch.labels)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        terms = detector.loss(detector(batch), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.3 * losses[0]


@every
def test_a_saved_detector_comes_back(name, tmp_path):
    detector = tiny(name).eval()
    save_detector(detector, tmp_path / "detector.ckpt")
    again = load_detector(tmp_path / "detector.ckpt")
    assert again.spec() == detector.spec()
    batch = collate([frame()])
    with torch.no_grad():
        assert torch.equal(again(batch).heatmap, detector(batch).heatmap)


@every
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_was_interrupted_ends_as_the_whole_one(name, tmp_path):
    def train(epochs, folder=None):
        module = DetectorModule(tiny(name, seed=0 if folder is None else 1), total_steps=4)
        loader = DataLoader([frame(seed) for seed in range(4)], batch_size=2, collate_fn=collate)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader, ckpt_path=folder and folder / "half.ckpt")
        return trainer, module

    whole = train(2)[1].detector.state_dict()
    trainer, _ = train(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = train(2, tmp_path)[1].detector.state_dict()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
