"""Parts that do not train, by pattern."""

import pytest
import torch
from tiny_training import (
    batch,
    copy_of,
    distils,
    killed_and_resumed,
    loader,
    same,
    tiny_detector,
    trainer,
    whole_run,
)
from torch import nn

from kd3d import DetectorModule
from kd3d.errors import ConfigError
from kd3d.training import FrozenPart

FROZEN = "backbone_2d.blocks.*"


def is_frozen(name):
    return name.startswith("detector.backbone_2d.blocks.")


@pytest.mark.parametrize("callbacks", [[], [distils]])
def test_frozen_weights_and_their_statistics_stay_bit_for_bit(tmp_path, callbacks):
    module = DetectorModule(tiny_detector(), freeze=[FROZEN])
    before = copy_of(module)
    fit = trainer(tmp_path, *(make() for make in callbacks), val_check_interval=2, max_steps=4)
    fit.fit(module, loader(), loader(1))
    unchanged = same(before, module.state_dict())
    assert {name for name in before if is_frozen(name)} == unchanged
    assert any("running_mean" in name for name in unchanged)
    assert not any("running" in name for name in unchanged if not is_frozen(name))
    assert ("kd/logit" in fit.callback_metrics) == bool(callbacks)


def test_frozen_parameters_are_not_the_optimisers(tmp_path):
    module = DetectorModule(tiny_detector(), freeze=[FROZEN, "*.bias"])
    fit = trainer(tmp_path, max_steps=1)
    fit.fit(module, loader())
    trained = {id(one) for group in fit.optimizers[0].param_groups for one in group["params"]}
    for name, parameter in module.named_parameters():
        stays = is_frozen(name) or name.endswith(".bias")
        assert (id(parameter) in trained) != stays, name
        assert parameter.requires_grad != stays
    assert not {id(one) for one in fit.optimizers[0].state} - trained


def test_only_modules_without_a_training_parameter_are_in_eval_mode():
    module = DetectorModule(tiny_detector(), freeze=[FROZEN, "dense_head.*.weight"])
    for _ in range(2):
        modes = {
            name: one.training
            for name, one in module.named_modules()
            if isinstance(one, nn.BatchNorm2d)
        }
        assert {name for name, mode in modes.items() if not mode} == {
            name for name in modes if is_frozen(name)
        }
        assert module.training
        module.eval()
        module.train()


def test_dropout_in_a_frozen_part_does_nothing_and_norms_without_weights_stand_still():
    network = nn.Sequential(
        nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)),
        nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)),
    )
    part = FrozenPart(network, ["0.*"])
    network.train()
    part.keep_still(network)
    still, moving = network
    assert not any(one.training for one in still.modules())
    assert all(one.training for one in moving.modules())


def test_a_norm_that_was_replaced_is_found_by_its_name():
    module = DetectorModule(tiny_detector(), freeze=["backbone_2d.*"])
    module.detector = nn.SyncBatchNorm.convert_sync_batchnorm(module.detector)
    module.train()
    norms = [one for one in module.modules() if isinstance(one, nn.SyncBatchNorm)]
    inside = list(module.detector.backbone_2d.modules())
    assert {one.training for one in norms if any(one is other for other in inside)} == {False}
    assert True in {one.training for one in norms}


def test_the_loss_still_reaches_what_trains(tmp_path):
    module = DetectorModule(tiny_detector(), freeze=["dense_head.*"])
    before = copy_of(module)
    trainer(tmp_path, max_steps=2).fit(module, loader())
    moved = before.keys() - same(before, module.state_dict())
    assert {name.split(".")[1] for name in moved} == {"vfe", "backbone_2d"}


def test_without_patterns_everything_trains():
    module = DetectorModule(tiny_detector())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(one.training for one in module.modules())


@pytest.mark.parametrize(
    ("globs", "message"),
    [
        (
            ["backbone2d.*"],
            r"optimizer\.freeze: 'backbone2d\.\*' matches no.* Near it: backbone_2d",
        ),
        (["dense_head"], r"Say dense_head\.\* for everything in it"),
        (["qqqq"], r"There are vfe\.\*, backbone_2d\.\*, dense_head\.\*"),
        (["vfe.*", "backbone_2d.*", "dense_head.*"], "freezes every parameter"),
        (["*"], "freezes every parameter, so nothing would train"),
        ("vfe.*", r"'vfe\.\*' is not a list of patterns. Say \[vfe\.\*\]"),
    ],
)
def test_patterns_that_cannot_be_meant(globs, message):
    with pytest.raises(ConfigError, match=message):
        DetectorModule(tiny_detector(), freeze=globs)


def test_a_frozen_run_resumes_exactly(tmp_path):
    def module():
        return DetectorModule(tiny_detector(), freeze=[FROZEN], total_steps=5)

    whole, _ = whole_run(module, tmp_path)
    rest, _ = killed_and_resumed(module, tmp_path)
    assert same(whole.state_dict(), rest.state_dict()) == whole.state_dict().keys()


def test_a_frozen_network_still_detects():
    module = DetectorModule(tiny_detector(), freeze=["backbone_2d.*"]).eval()
    with torch.no_grad():
        assert len(module(batch())) == 2
