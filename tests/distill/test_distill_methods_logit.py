"""That every logit method is the formula that it says it is, and no other."""

import itertools

import pytest
import torch
from distill_fakes import random_maps
from logit_methods import METHODS, PARTS, Case, make_case, make_truth, term

from kd3d.distill import GIDLogitKD, SoftFocalKD
from kd3d.distill.functional import gid_logit_loss, instance_cells, soft_focal_loss
from kd3d.distill.functional.instances import select_instances
from kd3d.errors import ConfigError

every_method = pytest.mark.parametrize("name", METHODS)


@every_method
@pytest.mark.parametrize("cells", [8, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_its_formula(name, cells, seed):
    """On equal grids, and for a student of coarser cells."""
    method = METHODS[name]
    if method.equal_grids and cells != 8:
        pytest.skip("raw channels compare on equal grids only")
    case = make_case(cells=cells, seed=seed)
    expected = method.value(case)
    assert expected > 0
    assert term(method.make(), case).item() == pytest.approx(expected, rel=2e-5)
    assert term(method.make(2.5), case).item() == pytest.approx(2.5 * expected, rel=2e-5)


@every_method
def test_gradient_is_exactly_zero_outside_its_mask(name):
    method = METHODS[name]
    case = make_case(cells=12, half=12.0) if not method.equal_grids else make_case()
    grads = gradients(method, case)
    offset = (case.student.grid.width - 8) // 2 if "regression" not in name else 0
    allowed = torch.zeros(2, *case.student.grid.shape, dtype=torch.bool)
    for b, row, column in method.mask(case):
        allowed[b, row + offset, column + offset] = True
    assert 0 < allowed.sum() < allowed.numel() or method.equal_grids
    for part in PARTS:
        touched = grads[part].abs().sum(dim=1) > 0
        expected = allowed if part in method.parts else torch.zeros_like(allowed)
        assert torch.equal(touched, expected), part


def gradients(method, case):
    """By part of the maps; zero for those that the method does not read."""
    found = torch.autograd.grad(
        term(method.make(), case), list(case.leaves.values()), allow_unused=True
    )
    return {
        part: torch.zeros_like(leaf) if grad is None else grad
        for (part, leaf), grad in zip(case.leaves.items(), found, strict=True)
    }


@every_method
def test_200_steps_of_it_alone_cut_it_by_80_percent(name):
    """The student's maps themselves are trained, on one batch."""
    case, objective = make_case(counts=(4, 3)), METHODS[name].make()
    optimizer = torch.optim.Adam(case.leaves.values(), lr=0.1)
    losses = []
    for _ in range(200):
        loss = term(objective, case)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_two_methods_are_the_same(seed):
    case = make_case(seed=seed)
    values = {name: term(method.make(), case).item() for name, method in METHODS.items()}
    for (one, a), (other, b) in itertools.combinations(values.items(), 2):
        assert a != pytest.approx(b, rel=1e-3), (one, other)


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (500, 500)])
def test_few_and_many_boxes(name, counts, dtype):
    """Zero or a finite number, and finite gradients, in float32 and from float16 maps."""
    method, case = METHODS[name], make_case(counts=counts, dtype=dtype)
    value = term(method.make(), case)
    assert value.dtype == torch.float32
    grads = gradients(method, case)
    assert all(grad.isfinite().all() for grad in grads.values())
    needs_truth = name in ("pp_gaussian", "pp_foreground") or "regression" in name
    if needs_truth and not any(counts):
        assert value == 0
        assert all((grad == 0).all() for grad in grads.values())
    else:
        assert value > 0
    if counts == (1, 0) and needs_truth:
        assert any((grad[0] != 0).any() for grad in grads.values())
        assert all((grad[1] == 0).all() for grad in grads.values())


@every_method
def test_half_precision_is_computed_in_float32(name):
    half = make_case(dtype=torch.float16)
    whole = Case(*(floated(maps) for maps in half[:2]), half.truth)
    method = METHODS[name].make()
    assert term(method, half).item() == pytest.approx(term(method, whole).item(), rel=1e-5)


def floated(maps):
    return type(maps)(*(getattr(maps, part).float() for part in PARTS), maps.grid)


@every_method
def test_a_student_that_equals_its_teacher(name):
    teacher = make_case().teacher
    student = type(teacher)(
        *(getattr(teacher, part).clone().requires_grad_() for part in PARTS), teacher.grid
    )
    case = Case(student, teacher, make_truth((3, 2)))
    value = term(METHODS[name].make(), case).item()
    if name == "soft_focal":  # no distance: it wants the student to be sure
        assert value > 0
    else:
        assert value == pytest.approx(0, abs=1e-6)


@every_method
def test_extreme_logits_give_numbers(name):
    case = make_case()
    for logit in (-1e4, 1e4):
        with torch.no_grad():
            case.student.heatmap.fill_(logit)
            case.teacher.heatmap.fill_(-logit)
        assert term(METHODS[name].make(), case).isfinite()
        assert all(grad.isfinite().all() for grad in gradients(METHODS[name], case).values())


@pytest.mark.parametrize("teacher_is_higher", [True, False])
def test_gid_takes_the_box_of_the_higher_side(teacher_is_higher):
    """One cell differs, and the boxes that the two predict there lie in other cells."""
    student, teacher, _ = make_case(counts=(0,))
    with torch.no_grad():
        student.heatmap.fill_(-2.0)
        teacher.heatmap.fill_(-2.0)
        (teacher if teacher_is_higher else student).heatmap[0, 1, 4, 4] = 1.0
        teacher.center[0, :, 4, 4] = torch.tensor([0.5, -0.5])  # one row below
        student.center[0, :, 4, 4] = torch.tensor([1.5, 0.5])  # one column further
    marks = instance_cells(select_instances(student, teacher), teacher.grid)
    assert marks.nonzero().tolist() == [[0, 3, 4] if teacher_is_higher else [0, 4, 5]]


def test_gid_suppresses_and_counts():
    case = make_case(counts=(0, 0))
    with torch.no_grad():
        for maps in case[:2]:
            maps.dim.fill_(0.0)  # boxes of one metre in cells of two
            maps.center.fill_(0.5)
    assert marked(case) == [10, 10]
    with torch.no_grad():
        for maps in case[:2]:
            maps.dim.fill_(5.0)  # each covers all others
    assert marked(case) == [1, 1]


def marked(case):
    """In how many cells of each frame GID-L pulls."""
    grad = gradients(METHODS["gid_l"], case)["heatmap"]
    return (grad.abs().sum(dim=1) > 0).sum(dim=(1, 2)).tolist()


def test_soft_focal_by_hand():
    teacher = torch.logit(torch.tensor([0.8, 0.2])).view(1, 1, 1, 2)
    student = torch.logit(torch.tensor([0.5, 0.4])).view(1, 1, 1, 2)
    expected = (0.25 * 0.6931472 + 0.8**4 * 0.16 * 0.5108256) / 1
    assert soft_focal_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    negative = (0.2**4 * 0.25 * 0.6931472) + 0.8**4 * 0.16 * 0.5108256
    found = soft_focal_loss(student, teacher, positive=0.9)
    assert found.item() == pytest.approx(negative, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SoftFocalKD(positive=0.0), r"positive: 0.0 is no probability.*\(0, 1\]"),
        (lambda: SoftFocalKD(alignment="stretch"), "'stretch' is not one of"),
        (lambda: GIDLogitKD(most=0), "at least one instance per frame"),
        (lambda: GIDLogitKD(overlap=-0.1), "-0.1 is no overlap"),
    ],
)
def test_options_out_of_range(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def test_other_classes():
    with pytest.raises(ConfigError, match="differ in frames or classes"):
        gid_logit_loss(random_maps(4, classes=2), random_maps(4))
