"""Pivotal-position distillation against plain loops and against hand computation."""

import math

import pytest
import torch
from distill_fakes import make_grid

from kd3d.distill.functional import pivot_weights, pivotal_logit_loss
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid


def clamped(logit: float) -> float:
    return min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4)


def slow_loss(student, teacher, heat, pivots, threshold, top_k):
    """The definition, cell by cell."""
    frames, classes, height, width = teacher.shape
    total = normaliser = 0.0
    for b in range(frames):
        prob = torch.tensor(
            [[[clamped(v) for v in row] for row in plane] for plane in teacher[b].tolist()]
        )
        ranked = sorted(range(prob.numel()), key=lambda i: -float(prob.flatten()[i]))
        best = {i % (height * width) for i in ranked[:top_k]}
        for y in range(height):
            for x in range(width):
                confidence = max(float(prob[c, y, x]) for c in range(classes))
                weight = {
                    "gaussian": confidence * max(float(heat[b, c, y, x]) for c in range(classes)),
                    "confidence": float(confidence > threshold),
                    "rank": float(y * width + x in best),
                    "all": 1.0,
                }[pivots]
                error = sum(
                    (clamped(float(student[b, c, y, x])) - float(prob[c, y, x])) ** 2
                    for c in range(classes)
                )
                total += weight * error
                normaliser += weight
    return total / (normaliser + 1e-6)


@pytest.mark.parametrize("pivots", ["gaussian", "confidence", "rank", "all"])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_plain_loops(pivots, seed):
    random = torch.Generator().manual_seed(seed)
    student = 3 * torch.randn(2, 3, 5, 7, generator=random)
    teacher = 3 * torch.randn(2, 3, 5, 7, generator=random)
    heat = torch.rand(2, 3, 5, 7, generator=random) * (torch.rand(2, 3, 5, 7) > 0.7)
    loss = pivotal_logit_loss(student, teacher, heat, pivots=pivots, threshold=0.8, top_k=6)
    assert loss.item() == pytest.approx(slow_loss(student, teacher, heat, pivots, 0.8, 6), rel=1e-5)


def test_hand_computed_case():
    # one class, two cells; p_teacher = 0.8, 0.5; G = 1, 0; p_student = 0.5, 0.9
    logit = torch.logit
    teacher = logit(torch.tensor([0.8, 0.5])).view(1, 1, 1, 2)
    student = logit(torch.tensor([0.5, 0.9])).view(1, 1, 1, 2)
    heat = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    gaussian = pivotal_logit_loss(student, teacher, heat)
    assert gaussian.item() == pytest.approx(0.8 * 0.3**2 / 0.8, rel=1e-5)
    everywhere = pivotal_logit_loss(student, teacher, pivots="all")
    assert everywhere.item() == pytest.approx((0.3**2 + 0.4**2) / 2, rel=1e-5)


@pytest.mark.parametrize("pivots", ["gaussian", "confidence", "rank"])
def test_gradient_is_zero_outside_the_mask(pivots):
    random = torch.Generator().manual_seed(3)
    student = torch.randn(2, 3, 6, 6, generator=random, requires_grad=True)
    teacher = torch.randn(2, 3, 6, 6, generator=random)
    heat = torch.zeros(2, 3, 6, 6)
    heat[:, 0, 2, 3] = 1.0
    options = {"pivots": pivots, "threshold": 0.85, "top_k": 4}
    pivotal_logit_loss(student, teacher, heat, **options).backward()
    mask = pivot_weights(teacher.sigmoid().clamp(1e-4, 1 - 1e-4), heat, **options)
    assert 0 < (mask > 0).sum() < mask.numel()
    touched = student.grad.abs().sum(dim=1) > 0
    assert torch.equal(touched, mask > 0)


def test_no_pivot_gives_zero_and_no_gradient():
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pivotal_logit_loss(student, torch.randn(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_frame_without_boxes_has_no_part():
    random = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 3, 6, 6, generator=random) for _ in range(2))
    heat = torch.rand(2, 3, 6, 6, generator=random)
    heat[1] = 0.0
    both = pivotal_logit_loss(student, teacher, heat)
    assert both.item() == pytest.approx(
        pivotal_logit_loss(student[:1], teacher[:1], heat[:1]).item(), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alignment", ["pivot", "resize", "pool"])
def test_half_precision_is_computed_in_float32(dtype, alignment):
    student = torch.randn(1, 3, 4, 4).to(dtype).requires_grad_()
    teacher, heat = torch.randn(1, 3, 8, 8).to(dtype), torch.rand(1, 3, 8, 8)
    options = {
        "alignment": alignment, "student_grid": make_grid(4), "teacher_grid": make_grid(8)
    }  # fmt: skip
    loss = pivotal_logit_loss(student, teacher, heat, **options)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, pivotal_logit_loss(student.float(), teacher.float(), heat, **options))
    loss.backward()
    assert student.grad.dtype == dtype
    assert student.grad.abs().sum() > 0


def test_no_gradient_reaches_the_teacher():
    teacher = torch.randn(1, 3, 4, 4, requires_grad=True)
    assert not pivotal_logit_loss(torch.randn(1, 3, 4, 4), teacher, pivots="all").requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pivots": "gauss"}, "'gauss' is not one of"),
        ({"alignment": "stretch"}, r"'stretch' is not one of .*'pivot', 'resize', 'pool'"),
        ({"pivots": "confidence", "threshold": 1.5}, "threshold"),
        ({"pivots": "rank", "top_k": 0}, "at least one pivot"),
        ({"target_heatmap": None}, "need targets on the teacher's grid"),
        ({"target_heatmap": torch.zeros(1, 3, 2, 2)}, "need targets on the teacher's grid"),
        ({"student_logits": torch.zeros(1, 2, 4, 4)}, "differ in frames or classes"),
        ({"student_logits": torch.zeros(1, 3, 8, 8)}, "both grids must be given"),
        (
            {"student_grid": make_grid(5), "teacher_grid": make_grid(4)},
            "do not lie on a grid",
        ),
        (
            {"student_grid": make_grid(4), "teacher_grid": make_grid(5)},
            r"maps of \(4, 4\) cells do not lie on a grid of \(5, 5\)",
        ),
        (
            {
                "student_grid": BEVGrid(50.0, 0.0, 1.0, 1.0, 4, 4),
                "teacher_grid": BEVGrid(0.0, 0.0, 1.0, 1.0, 4, 4),
            },
            "share no range along x: one is on 50 to 54",
        ),
    ],
)
def test_bad_input(changes, message):
    arguments = {
        "student_logits": torch.zeros(1, 3, 4, 4),
        "teacher_logits": torch.zeros(1, 3, 4, 4),
        "target_heatmap": torch.zeros(1, 3, 4, 4),
    }
    with pytest.raises(ConfigError, match=message):
        pivotal_logit_loss(**{**arguments, **changes})
