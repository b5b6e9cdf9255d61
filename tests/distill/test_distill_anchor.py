"""Distillation between anchor heads, and from an anchor head to a center head."""

import math

import pytest
import torch
from distill_fakes import TinyDetector, TinyModule
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from kd3d.detectors import create_detector
from kd3d.distill import (
    AnchorLogitKD,
    AnchorRegressionKD,
    KDCallback,
    LabelKD,
    PivotalLogitKD,
    RegressionKD,
)
from kd3d.distill.functional.anchor import anchor_logit_loss, anchor_regression_loss
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid
from kd3d.structures import AnchorMaps, PointBatch
from kd3d.training import DetectorModule

GRID = BEVGrid(-1.6, -1.2, 0.8, 0.8, 4, 3)
ANCHORS, CLASSES = 4, 2
BOUNDS = (-6.4, -6.4, -2.0, 6.4, 6.4, 4.0)
WIDTH = {"encoder": 0.25, "backbone_2d": 0.125}


def maps(seed, frames=2, dtype=torch.float32, grid=GRID):
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(frames, ANCHORS * size, *grid.shape, generator=generator).to(dtype)
        for size in (CLASSES, 7, 2)
    ]
    return AnchorMaps(*parts, grid=grid, anchors=ANCHORS)


def chosen(seed, share=0.2, frames=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, ANCHORS * 12, generator=generator) < share


def slow_logit(student, teacher, positive):
    total = 0.0
    for frame, anchor in positive.nonzero().tolist():
        pair = [maps.scores[frame, anchor].sigmoid().tolist() for maps in (student, teacher)]
        for one, other in zip(*pair, strict=True):
            total += (one - other) ** 2
    return total / max(int(positive.sum()), 1)


def slow_regression(student, teacher, positive):
    total = 0.0
    for frame, anchor in positive.nonzero().tolist():
        pair = zip(
            student.residuals[frame, anchor].tolist(),
            teacher.residuals[frame, anchor].tolist(),
            strict=True,
        )
        for place, (one, other) in enumerate(pair):
            apart = abs(math.sin(one - other) if place == 6 else one - other)
            loss = 4.5 * apart**2 if apart < 1 / 9 else apart - 1 / 18
            total += loss / int(positive[frame].sum()) / len(positive)
    return total


METHODS = {
    "logit": (anchor_logit_loss, slow_logit, "score"),
    "regression": (anchor_regression_loss, slow_regression, "box"),
}
methods = pytest.mark.parametrize("name", METHODS)


@methods
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_formula(name, seed):
    fast, slow, _ = METHODS[name]
    args = maps(seed), maps(seed + 10), chosen(seed)
    assert fast(*args).item() == pytest.approx(slow(*args), rel=1e-5)


@methods
def test_gradient_is_zero_outside_the_positive_anchors(name):
    loss, _, field = METHODS[name]
    student, positive = maps(0), chosen(1)
    values = getattr(student, field).requires_grad_()
    loss(student, maps(2), positive).backward()
    moved = AnchorMaps(*([values.grad] * 3), grid=GRID, anchors=ANCHORS).scores
    moved = moved.ne(0).any(dim=-1)
    assert not (moved & ~positive).any()
    assert (moved & positive).any()


@methods
def test_the_term_alone_can_be_learnt(name):
    loss, _, field = METHODS[name]
    student, teacher, positive = maps(0), maps(1), chosen(2)
    values = getattr(student, field).requires_grad_()
    optimizer = torch.optim.Adam([values], lr=0.05)
    start = loss(student, teacher, positive).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss(student, teacher, positive).backward()
        optimizer.step()
    assert loss(student, teacher, positive).item() < 0.2 * start


@methods
@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_none_or_all_positive_in_any_precision(name, share, dtype):
    loss, slow, _ = METHODS[name]
    args = maps(0, dtype=dtype), maps(1, dtype=dtype), chosen(0, share)
    found = loss(*args)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(slow(*args) if share else 0.0, rel=1e-4)


def test_the_two_terms_differ():
    args = maps(0), maps(1), chosen(0)
    assert anchor_logit_loss(*args) != pytest.approx(anchor_regression_loss(*args).item())


@methods
def test_other_anchors_are_refused(name):
    loss, _, _ = METHODS[name]
    coarse = BEVGrid(-1.6, -1.2, 1.6, 0.8, 2, 3)
    with pytest.raises(ConfigError, match="have other anchors"):
        loss(maps(0), maps(1, grid=coarse), chosen(0))
    with pytest.raises(ConfigError, match="not one truth value"):
        loss(maps(0), maps(1), chosen(0)[:, :3])


def scenes(count=4):
    frames = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        box = torch.tensor([[1.2, -0.6, 0.9, 4.6, 2.0, 1.8, 0.3]])
        box[0, :2] += torch.rand(2, generator=generator)
        points = torch.rand(200, 5, generator=generator) - 0.5
        points[:, :3] = points[:, :3] * box[0, 3:6] + box[0, :3]
        frames.append((points, box, torch.tensor([0])))
    return frames


def collate(frames):
    points, boxes, labels = zip(*frames, strict=True)
    return PointBatch.from_points(points, boxes=boxes, labels=labels)


def anchor_detector(seed=0, name="pointpillar", **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {"point_cloud_range": BOUNDS, "width": WIDTH, "norm_momentum": 0.1, **changes}
        return create_detector(name, **options)


def fit(module, callback, steps=2):
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(scenes(), batch_size=2, collate_fn=collate))
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore")
def test_anchor_student_learns_from_anchor_teacher():
    objectives = {
        "logit": AnchorLogitKD(),
        "regression": AnchorRegressionKD(),
        "label": LabelKD(0.0),
        "pivot": PivotalLogitKD(1.0),
    }
    module = DetectorModule(anchor_detector(1), total_steps=2)
    found = fit(module, KDCallback(anchor_detector(0), objectives, teacher_check_frames=0))
    for name in ("logit", "regression", "pivot"):
        assert found[f"kd/{name}"] > 0, name
    assert found["kd/total"] == pytest.approx(
        sum(found[f"kd/{name}"] for name in ("logit", "regression", "pivot")), rel=1e-5
    )


@pytest.mark.filterwarnings("ignore")
def test_equal_networks_have_nothing_to_learn():
    twin = anchor_detector(0)
    twin.train()
    callback = KDCallback(
        anchor_detector(0),
        {"logit": AnchorLogitKD(), "regression": AnchorRegressionKD()},
        teacher_mode="batch_stats",
        teacher_check_frames=0,
    )
    found = fit(DetectorModule(twin, total_steps=1), callback, steps=1)
    assert found["kd/total"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_center_student_takes_boxes_and_heat_of_an_anchor_teacher():
    student = anchor_detector(
        1, "cp_pillar_v064", width={"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125},
        point_cloud_range=(-7.68, -7.68, -2.0, 7.68, 7.68, 4.0),
    )  # fmt: skip
    teacher = anchor_detector(0, point_cloud_range=(-7.68, -7.68, -2.0, 7.68, 7.68, 4.0))
    teacher.score_threshold = 0.0  # it knows nothing yet
    objectives = {"label": LabelKD(0.0, max_boxes=5), "logit": PivotalLogitKD(1.0)}
    callback = KDCallback(teacher, objectives, teacher_check_frames=0)
    found = fit(DetectorModule(student, total_steps=2), callback)
    assert found["kd/teacher_boxes"] == 5
    assert found["kd/logit"] > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("objective", "message"),
    [(AnchorLogitKD(), "no anchor head"), (RegressionKD(), "boxes are no maps of centres")],
)
def test_heads_that_do_not_fit_the_objective(objective, message):
    teacher = TinyDetector() if isinstance(objective, AnchorLogitKD) else anchor_detector()
    callback = KDCallback(teacher, {"one": objective}, teacher_check_frames=0)
    with pytest.raises(ConfigError, match=message):
        fit(TinyModule(), callback)
