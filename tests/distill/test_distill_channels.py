"""Knowing how many channels a module gives before it has run."""

import pytest
import torch
from distill_fakes import (
    FeatureKD,
    TinyModule,
    make_batch,
    make_detector,
    make_loader,
    make_trainer,
)
from torch import nn

from kd3d.detectors import create_detector
from kd3d.detectors.sparse import SubmanifoldConv3d
from kd3d.distill import KDCallback
from kd3d.distill.channels import Channels, channels_of_weights, example_probe
from kd3d.errors import ConfigError, TapError

pytestmark = pytest.mark.filterwarnings("ignore")


class Declares(nn.Module):
    out_channels = 24


@pytest.mark.parametrize(
    ("module", "channels"),
    [
        (nn.Conv2d(3, 5, 1), 5),
        (nn.ConvTranspose2d(3, 6, 2), 6),
        (nn.Linear(3, 7), 7),
        (nn.BatchNorm1d(8), 8),
        (nn.GroupNorm(3, 9), 9),
        (SubmanifoldConv3d(4, 10), 10),
        (Declares(), 24),
        (nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU()), 5),
        (nn.Sequential(nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 6), nn.ReLU())), 6),
        (nn.ReLU(), None),
        (nn.ModuleList([nn.Linear(1, 2)]), None),
    ],
)
def test_channels_of_weights(module, channels):
    assert channels_of_weights(module) == channels


class Fork(nn.Module):
    """Concatenates two branches: its weights do not tell what it gives."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1)
        self.norm = nn.BatchNorm2d(5)
        self.join = nn.Identity()
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, image):
        self.runs += 1
        return self.join(self.norm(torch.cat((self.left(image), self.right(image)), dim=1)))


class Whole(nn.Module):
    """A LightningModule, as far as the probe sees."""

    def __init__(self, example):
        super().__init__()
        self.detector = Fork()
        self.example_input_array = example

    def forward(self, image):
        return self.detector(image)


IMAGE = torch.ones(2, 1, 4, 4)


@pytest.mark.parametrize("example", [IMAGE, (IMAGE,), {"image": IMAGE}])
def test_a_probe_leaves_everything_as_it_was(example):
    whole = Whole(example).train()
    whole.detector.norm.eval()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    probe = example_probe(whole, torch.device("cpu"))
    channels = Channels(whole.detector, Fork(), probe)
    random = torch.get_rng_state()
    assert channels.student("join") == 5
    assert channels.student("left") == 2
    assert channels.teacher("") == 5
    assert channels.told == {"student": {"join": 5, "left": 2}, "teacher": {"": 5}}
    after = whole.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert whole.training
    assert not whole.detector.norm.training
    assert torch.equal(random, torch.get_rng_state())
    assert not whole.detector.join._forward_hooks


def test_without_an_example_the_last_weights_tell():
    assert example_probe(Whole(None), torch.device("cpu")) is None
    channels = Channels(Fork(), None)
    assert channels.student("") == 5
    with pytest.raises(ConfigError, match=r"join: nothing tells .* Identity of the student"):
        channels.student("join")
    with pytest.raises(TapError, match=r"joint: .*Nearest: 'join'"):
        channels.student("joint")
    with pytest.raises(ConfigError, match="no teacher whose channels"):
        channels.teacher("join")


def test_kd3ds_own_detectors_tell_for_sure():
    detector = create_detector("cp_pillar_v064", width={"backbone_2d": 0.25})
    channels = Channels(detector, detector)
    assert channels.student("backbone_2d") == detector.backbone_2d.out_channels
    assert channels.teacher("backbone_2d.blocks.0") == 16


class Narrow(nn.Module):
    """Gives fewer channels than its last layer."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, features):
        return self.body(features)[:, :3]


def make_narrow(seed):
    detector = make_detector(seed)
    detector.body = Narrow(detector.body)
    detector.head = nn.ModuleDict({"heatmap": nn.Conv2d(3, 3, 1), "box": nn.Conv2d(3, 8, 1)})
    return detector


@pytest.mark.parametrize("owner", ["student", "teacher"])
def test_a_wrong_reading_is_found_in_the_first_step(owner):
    networks = {"student": make_detector(0), "teacher": make_detector(1), owner: make_narrow(2)}
    callback = KDCallback(networks["teacher"], [FeatureKD()], teacher_check_frames=0)
    module = TinyModule(networks["student"])
    with pytest.raises(TapError, match=rf"body: the {owner}'s module gives 3 channels.* told 4"):
        make_trainer(callback).fit(module, make_loader(4))


def test_a_probe_before_the_fit_reads_what_weights_do_not_tell():
    class Probed(TinyModule):
        def forward(self, batch):
            return self.detector(batch)

    module = Probed(make_narrow(0))
    module.example_input_array = make_batch()
    callback = KDCallback(make_detector(1), [FeatureKD()], teacher_check_frames=0)
    trainer = make_trainer(callback, max_steps=1)
    trainer.fit(module, make_loader(4))
    assert trainer.callback_metrics["kd/feature"] > 0
