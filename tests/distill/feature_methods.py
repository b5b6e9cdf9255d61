"""Every feature method, small, with its plain version and the cells that it reads."""

from typing import Any, NamedTuple

import logit_methods
import slow_feature as slow
import torch
from distill_fakes import CLASSES
from logit_methods import Case, Truth, make_case
from torch import Tensor

from kd3d.distill import (
    ChannelWiseKD,
    FeatureObjective,
    FitNetKD,
    ForegroundKD,
    GIDFeatureKD,
    MimicKD,
    PearsonKD,
    StepContext,
)
from kd3d.distill.batches import BatchView
from kd3d.distill.views import Outputs
from kd3d.geometry import BEVGrid
from kd3d.structures import HeadMaps

TAP = "backbone_2d"


class FeatureCase(NamedTuple):
    """What two networks gave in one step, with a feature map each."""

    heads: Case
    student_features: Tensor
    teacher_features: Tensor
    student_grid: BEVGrid
    teacher_grid: BEVGrid

    @property
    def student(self) -> HeadMaps:
        return self.heads.student

    @property
    def teacher(self) -> HeadMaps:
        return self.heads.teacher

    @property
    def truth(self) -> Truth:
        return self.heads.truth

    @property
    def grid(self) -> BEVGrid:
        """The coarser of the features' grids."""
        coarser = self.student_grid.cell_x >= self.teacher_grid.cell_x
        return self.student_grid if coarser else self.teacher_grid


def make_feature_case(
    *, counts=(3, 2), cells=8, teacher_cells=8, channels=4, teacher_channels=4, finer=1, **options
) -> FeatureCase:
    """As `make_case`; `finer` features of the student per cell of its head maps."""
    heads = make_case(counts=counts, cells=cells, teacher_cells=teacher_cells, **options)
    random = torch.Generator().manual_seed(options.get("seed", 0) + 7)
    dtype = options.get("dtype", torch.float32)
    own, other = heads.student.grid, heads.teacher.grid
    own = BEVGrid(
        own.x_min, own.y_min, own.cell_x / finer, own.cell_y / finer, own.width * finer,
        own.height * finer,
    )  # fmt: skip
    frames = len(counts)
    mine = torch.randn(frames, channels, *own.shape, generator=random).to(dtype)
    theirs = torch.randn(frames, teacher_channels, *other.shape, generator=random).to(dtype)
    return FeatureCase(heads, mine.requires_grad_(), theirs, own, other)


def term(objective: FeatureObjective, case: FeatureCase) -> Tensor:
    """Run one objective as a training step does."""
    teacher = Outputs(case.teacher, {TAP: case.teacher_features}, "teacher")
    student = Outputs(case.student, {TAP: case.student_features}, "student")
    context = StepContext(case.truth, None, teacher, BatchView(), CLASSES, case.student.grid)
    return objective(student, teacher, context)


def logit_terms(case: FeatureCase) -> dict[str, float]:
    """The losses of the logit methods on the same case."""
    return {
        name: logit_methods.term(method.make(), case.heads).item()
        for name, method in logit_methods.METHODS.items()
    }


class Method(NamedTuple):
    """One method: its objective, its mask by plain loops, and its value by plain loops."""

    objective: type[FeatureObjective]
    options: dict[str, Any]
    mask: Any
    value: Any

    def make(self, weight=1.0, **options) -> FeatureObjective:
        return self.objective(weight, **self.options, **options)


def of_boxes(boxes) -> Any:
    return lambda case: slow.cells_under(case, boxes(case))


def foreground(soft):
    def mask(case):
        return slow.foreground(case, soft=soft)

    options = {"mask": "soft" if soft else "hard"}
    return Method(ForegroundKD, options, mask, lambda case: slow.squared(case, mask(case)))


def mimic(boxes, **options):
    return Method(
        MimicKD, options, of_boxes(boxes), lambda case: slow.roi_squared(case, boxes(case))
    )


def instances(case):
    return slow.instances(case.student, case.teacher)


def gid(case):
    found = instances(case)
    return slow.roi_squared(case, found) + 0.5 * slow.relation(case, found)


METHODS = {
    "fitnet": Method(
        FitNetKD, {}, slow.everywhere, lambda case: slow.squared(case, slow.everywhere(case))
    ),
    "fg_hard": foreground(soft=False),
    "fg_soft": foreground(soft=True),
    "mimic_truth": mimic(slow.true_boxes, rois="truth"),
    "mimic_teacher": mimic(
        lambda case: slow.highest_boxes(case.teacher, 3, 0.1),
        rois="teacher",
        max_boxes=3,
    ),
    "mimic_student": mimic(
        lambda case: slow.highest_boxes(case.student, 4, 0.1),
        rois="student",
        max_boxes=4,
    ),
    "gid_f": Method(GIDFeatureKD, {"relation_weight": 0.5}, of_boxes(instances), gid),
    "pkd": Method(PearsonKD, {}, slow.everywhere, slow.pearson),
    "cwd": Method(
        ChannelWiseKD,
        {"temperature": 2.0},
        slow.everywhere,
        lambda case: slow.channel_wise(case, 2.0),
    ),
}
