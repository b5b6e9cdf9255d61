"""How a teacher is loaded and how it runs."""

import pytest
import torch
from distill_fakes import TinyModule, make_batch, make_detector
from torch import nn

from kd3d.detectors import create_detector, save_detector
from kd3d.distill.teacher import Teacher, load_teacher, running_as
from kd3d.errors import CheckpointError, ConfigError


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def small_pillars():
    return create_detector(
        "cp_pillar_v064",
        point_cloud_range=(-10.24, -10.24, -2.0, 10.24, 10.24, 4.0),
        width={"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125},
        depth=(1, 1, 1),
    )


@pytest.mark.parametrize("make", [lambda: make_detector(0), small_pillars])
def test_batch_stats_uses_the_batch_and_leaves_every_buffer(make):
    network = make()
    batch = make_batch()
    before = state_of(network)
    with torch.no_grad():
        evaluated = Teacher(network, "eval").teach(batch).maps.heatmap
        taught = Teacher(network, "batch_stats").teach(batch).maps.heatmap
    assert same(before, state_of(network))
    assert not torch.allclose(evaluated, taught)
    with torch.no_grad():
        network.train()
        trained = network(batch).heatmap
    assert torch.allclose(taught, trained, atol=1e-5)
    assert not same(before, state_of(network))  # the plain training mode does drift


def test_batch_stats_keeps_dropout_off_and_train_turns_it_on():
    network = make_detector(0, dropout=0.5)
    batch = make_batch()
    teacher = Teacher(network, "batch_stats")
    random = torch.get_rng_state()
    first, second = teacher.teach(batch).maps.heatmap, teacher.teach(batch).maps.heatmap
    assert torch.equal(first, second)
    assert torch.equal(random, torch.get_rng_state())
    lively = Teacher(network, "train")
    assert not torch.equal(lively.teach(batch).maps.heatmap, lively.teach(batch).maps.heatmap)


def test_train_mode_drifts_and_ends_in_eval():
    network = make_detector(0)
    before = state_of(network)
    Teacher(network, "train").teach(make_batch())
    assert not same(before, state_of(network))
    assert not network.training


def test_buffers_come_back_after_an_error():
    network = make_detector(0)
    before = state_of(network)
    with pytest.raises(RuntimeError, match="stop"), running_as(network, "batch_stats"):
        raise RuntimeError("stop")
    assert same(before, state_of(network))


def test_the_teacher_is_frozen_and_gives_no_graph():
    teacher = Teacher(make_detector(0))
    maps = teacher(make_batch())
    assert not maps.heatmap.requires_grad
    assert not maps.heatmap.is_inference()
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_sources(tmp_path):
    detector = make_detector(0)
    assert load_teacher(detector) is detector
    assert load_teacher(TinyModule(detector)) is detector
    pillars = small_pillars()
    save_detector(pillars, tmp_path / "teacher.pt")
    random = torch.get_rng_state()
    loaded = load_teacher(tmp_path / "teacher.pt")
    assert torch.equal(random, torch.get_rng_state())  # building it drew no number of ours
    assert same(state_of(loaded), state_of(pillars))


def test_bad_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="no such teacher checkpoint"):
        load_teacher(tmp_path / "absent.ckpt")
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "pickled.ckpt")
    with pytest.raises(CheckpointError, match=r"pickled\.ckpt"):
        load_teacher(tmp_path / "pickled.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        load_teacher(tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.ckpt"):
        load_teacher(tmp_path / "text.ckpt")


def test_unknown_mode():
    with pytest.raises(ConfigError, match="'frozen' is not one of"):
        Teacher(make_detector(0), "frozen")
