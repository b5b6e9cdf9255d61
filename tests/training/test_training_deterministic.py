"""``deterministic=True``: two runs give the same weights, to the bit."""

import pytest
import torch
from lightning.pytorch import seed_everything
from tiny_training import Data, copy_of, distils, same, tiny_detector, trainer

from kd3d import DetectorModule, KDCallback, LabelKD, PivotalLogitKD, RegressionKD, create_detector


@pytest.fixture(autouse=True)
def lenient_again():
    """Undo what the trainer sets for the whole process."""
    yield
    torch.use_deterministic_algorithms(False)


def voxels(seed):
    torch.manual_seed(seed)
    return create_detector(
        "cp_voxel_xxs",
        point_cloud_range=(-6.4, -6.4, -2.0, 6.4, 6.4, 4.0),
        voxel_size=(0.4, 0.4, 0.15),
        width={"backbone_3d": 0.25, "backbone_2d": 0.0625, "head": 0.125},
        depth=(0, 0),
        depth_3d=(0, 0, 0, 0),
    )


def voxel_callback():
    objectives = [PivotalLogitKD(5.0), RegressionKD(0.5), LabelKD(0.1)]
    return KDCallback(
        voxels(1), objectives, teacher_mode="train", teacher_check_frames=0, watch_every_n_steps=0
    )


@pytest.mark.parametrize(
    ("network", "callback"),
    [(tiny_detector, distils), (voxels, voxel_callback)],
    ids=["pillars", "voxels"],
)
def test_two_distilled_runs_give_equal_weights(tmp_path, network, callback):
    states = []
    for _ in range(2):
        seed_everything(7, workers=True, verbose=False)
        module = DetectorModule(network(0), total_steps=3)
        trainer(tmp_path, callback(), max_steps=3, deterministic=True).fit(module, Data())
        assert torch.are_deterministic_algorithms_enabled()
        states.append(copy_of(module))
    assert same(*states) == states[0].keys()
    assert all(value.isfinite().all() for value in states[0].values())
