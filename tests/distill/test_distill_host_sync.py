"""The distillation terms never wait for a CUDA device, shown without one.

Fake tensors have shapes but no values: whatever needs a value on the host (how many, whether any, a
number) raises here, and would wait there. So would a copy from a Python list to the device.
"""

import pytest
import torch
from distill_fakes import make_grid
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from kd3d.distill.functional import (
    add_teacher_boxes,
    drop_duplicates,
    gid_logit_loss,
    pivotal_logit_loss,
    regression_kd_loss,
    select_teacher_boxes,
    soft_focal_loss,
    truth_targets,
)
from kd3d.structures import Detections, HeadMaps

WAITS = (DataDependentOutputException, DynamicOutputShapeException, AssertionError)


class NoLists(TorchDispatchMode):
    """Refuses tensors made of Python lists, which are copied from the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten.lift_fresh.default, "a list was copied to the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def fake():
    with FakeTensorMode(), NoLists():
        yield


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values[values > 0],
        lambda values: values.max().item(),
        lambda values: bool((values > 0).any()),
        lambda values: values.new_tensor([1.0, 2.0]),
        lambda values: torch.tensor([1.0], dtype=values.dtype),
    ],
)
def test_what_waits_is_noticed(fake, wait):
    values = torch.zeros(3)
    with pytest.raises(WAITS):
        wait(values)


@pytest.mark.parametrize("pivots", ["gaussian", "foreground", "confidence", "rank", "all"])
@pytest.mark.parametrize("alignment", ["pivot", "resize", "pool"])
def test_pivotal_logits(fake, pivots, alignment):
    student = torch.randn(2, 3, 8, 8, requires_grad=True)
    teacher, heat = torch.randn(2, 2, 3, 16, 16)
    pivotal_logit_loss(
        student, teacher, heat, pivots=pivots, alignment=alignment, top_k=9,
        student_grid=make_grid(8), teacher_grid=make_grid(16),
    ).backward()  # fmt: skip
    assert student.grad.shape == student.shape


def maps(count):
    parts = torch.randn(2, 8, count, count, requires_grad=True)
    heat = torch.randn(2, 3, count, count, requires_grad=True)
    return HeadMaps(heat, *parts.split((2, 1, 3, 2), dim=1), make_grid(count))


def test_other_logits(fake):
    student, teacher = maps(8), maps(16)
    grids = {"student_grid": student.grid, "teacher_grid": teacher.grid}
    focal = soft_focal_loss(student.heatmap, teacher.heatmap, **grids)
    instances = gid_logit_loss(student, teacher)
    (focal + instances).backward()
    assert student.heatmap.grad.shape == student.heatmap.shape


@pytest.mark.parametrize(("space", "cells"), [("metres", 16), ("code", 8)])
def test_regression(fake, space, cells):
    boxes = torch.randn(2, 5, 7)
    labels = torch.zeros(2, 5, dtype=torch.int64)
    loss = regression_kd_loss(
        maps(8), maps(cells), boxes, labels, space=space, code_weights=[1.0] * 8
    )
    loss.backward()
    assert loss.shape == ()


@pytest.mark.parametrize("rule", ["keep", "cell"])
def test_labels(fake, rule):
    def found(count):
        boxes, scores = torch.randn(count, 7), torch.rand(count)
        return Detections(boxes, scores, torch.zeros(count, dtype=torch.int64))

    boxes = torch.randn(2, 5, 7)
    labels = torch.zeros(2, 5, dtype=torch.int64)
    truth = {"boxes": boxes, "labels": labels, "by_overlap": (True, False, False)}
    chosen = select_teacher_boxes([found(9), found(4)], (0.6, 0.5, 0.5), **truth)
    chosen = drop_duplicates(chosen, boxes, labels, rule=rule, grid=make_grid(8)).first(6)
    targets = add_teacher_boxes(truth_targets(boxes, labels), chosen, soft=True)
    assert targets.boxes.shape == (2, 11, 7)
