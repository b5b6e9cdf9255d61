"""Rates of their own for groups of parameters."""

import csv

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from tiny_training import (
    Data,
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

from kd3d import DetectorModule, KDCallback
from kd3d.distill import Objective
from kd3d.errors import ConfigError
from kd3d.training import one_cycle


class WithAdapter(Objective):
    """Trains a layer of one weight."""

    name = "scaled"

    def build_adapters(self, channels):
        return {"scale": nn.Linear(1, 1, bias=False)}

    def forward(self, student, teacher, context):
        scale = self.adapters["scale"].weight[0]
        return (scale * student.maps.heatmap.mean() - teacher.maps.heatmap.mean()).square().sum()


RATES = {"dense_head.*": 2.0, "dense_head.*.bias": 0.5}


def groups_of(module, folder, *callbacks, **options):
    fit = trainer(folder, *callbacks, **{"max_steps": 2, **options})
    fit.fit(module, Data())
    return fit.optimizers[0].param_groups


def test_each_group_follows_the_cycle_at_its_own_rate(tmp_path):
    module = DetectorModule(tiny_detector(), rates=RATES, max_rate=1e-3, total_steps=4)
    monitor = LearningRateMonitor(logging_interval="step")
    groups_of(module, tmp_path, monitor, max_steps=4, logger=CSVLogger(tmp_path, "", ""))
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["rate/rest"]]
    assert len(rows) == 4
    for step, row in enumerate(rows):
        rate, _ = one_cycle(step, 4, max_rate=1e-3)
        found = [float(row[f"rate/{name}"]) for name in (*RATES, "rest")]
        assert found == pytest.approx([2 * rate, 0.5 * rate, rate])


def test_every_parameter_is_in_one_group_and_later_patterns_win(tmp_path):
    module = DetectorModule(tiny_detector(), rates=RATES, freeze=["vfe.*"])
    groups = groups_of(module, tmp_path)
    assert [group["name"] for group in groups] == ["dense_head.*", "dense_head.*.bias", "rest"]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    head, biases, rest = ([names[id(one)] for one in group["params"]] for group in groups)
    assert all(name.startswith("detector.dense_head.") for name in head + biases)
    assert all(name.endswith(".bias") for name in biases)
    assert not any(name.endswith(".bias") for name in head)
    assert sorted(head + biases + rest) == sorted(
        name for name in names.values() if not name.startswith("detector.vfe.")
    )
    assert {group["betas"] for group in groups} == {groups[0]["betas"]}
    assert {group["weight_decay"] for group in groups} == {0.01}


def test_a_multiplier_of_one_changes_no_weight(tmp_path):
    states = []
    for rates in (None, {"dense_head.*": 1.0}, {"dense_head.*": 2.0}):
        module = DetectorModule(tiny_detector(), rates=rates)
        groups_of(module, tmp_path)
        states.append(copy_of(module))
    assert same(states[0], states[1]) == states[0].keys()
    assert not any(name.endswith("hm.1.bias") for name in same(states[0], states[2]))


def test_without_rates_the_only_group_has_no_name(tmp_path):
    monitor = LearningRateMonitor(logging_interval="step")
    module = DetectorModule(tiny_detector())
    (group,) = groups_of(module, tmp_path, monitor, logger=CSVLogger(tmp_path, "", ""))
    assert "name" not in group
    assert "rate" in (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")


def test_all_parameters_may_have_rates(tmp_path):
    rates = {"*": 0.5, "dense_head.*": 1.0}
    groups = groups_of(DetectorModule(tiny_detector(), rates=rates), tmp_path)
    assert [group["name"] for group in groups] == ["*", "dense_head.*"]


def test_layers_of_the_callback_train_with_the_rest(tmp_path):
    module = DetectorModule(tiny_detector(), rates={"*": 0.5})
    callback = KDCallback(tiny_detector(1), [WithAdapter()], teacher_check_frames=0)
    seen = []
    callback.on_train_batch_end = lambda fit, *_: seen.append(fit.optimizers[0].param_groups)
    trainer(tmp_path, callback, max_steps=1).fit(module, loader())
    assert [group["name"] for group in seen[0]] == ["*", "rest"]
    assert [one.shape for one in seen[0][1]["params"]] == [torch.Size((1, 1))]


def test_a_run_with_rates_resumes_exactly(tmp_path):
    def module():
        return DetectorModule(tiny_detector(), rates=RATES, total_steps=5)

    whole, _ = whole_run(module, tmp_path, lambda: [distils()])
    rest, _ = killed_and_resumed(module, tmp_path, lambda: [distils()])
    assert same(whole.state_dict(), rest.state_dict()) == whole.state_dict().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": {"head.*": 2.0}}, r"optimizer\.rates: 'head\.\*' matches no.*dense_head\.\*"),
        (
            {"rates": {"vfe.*": 0.0}},
            r"rates\['vfe\.\*'\]: 0\.0 is no multiplier.*optimizer\.freeze",
        ),
        ({"rates": {"vfe.*": float("inf")}}, "inf is no multiplier"),
        ({"rates": {"vfe.*": -1}}, "-1 is no multiplier"),
        ({"rates": {"vfe.*": 2}, "freeze": ["vfe.*"]}, r"'vfe\.\*' matches only parameters that"),
        ({"rates": {"vfe.*": 2, "*": 3}}, r"'vfe\.\*' matches only .* of later patterns"),
    ],
)
def test_rates_that_cannot_be_meant(options, message):
    with pytest.raises(ConfigError, match=message):
        DetectorModule(tiny_detector(), **options)
