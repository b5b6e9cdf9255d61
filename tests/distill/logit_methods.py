"""Every logit and regression method, small, with its plain version and the cells that it reads."""

from typing import Any, NamedTuple

import slow_logit as slow
import torch
from distill_fakes import CLASSES, make_grid, random_maps
from torch import Tensor

from kd3d.detectors.targets import assign_center_targets
from kd3d.distill import (
    GIDLogitKD,
    Objective,
    PivotalLogitKD,
    RegressionKD,
    SoftFocalKD,
    StepContext,
)
from kd3d.distill.batches import BatchView
from kd3d.distill.views import Outputs
from kd3d.structures import HeadMaps

PARTS = ("heatmap", "center", "center_z", "dim", "rot")


class Truth(NamedTuple):
    """A batch."""

    boxes: Tensor
    labels: Tensor


class Case(NamedTuple):
    """What two networks gave in one step."""

    student: HeadMaps
    teacher: HeadMaps
    truth: Truth

    @property
    def heat(self) -> Tensor:
        """The ground truth's Gaussians on the teacher's grid."""
        grid = self.teacher.grid
        return assign_center_targets(*self.truth, grid, len(CLASSES)).heatmap

    @property
    def leaves(self) -> dict[str, Tensor]:
        return {part: getattr(self.student, part) for part in PARTS}


def make_truth(counts, *, half=8.0, seed=0) -> Truth:
    """Frames with so many boxes each, padded."""
    random = torch.Generator().manual_seed(seed)
    most = max(*counts, 1)
    boxes = torch.rand(len(counts), most, 7, generator=random)
    boxes[..., :2] = (boxes[..., :2] - 0.5) * 1.9 * half
    boxes[..., 3:6] += torch.tensor([2.0, 1.0, 1.0])
    labels = torch.randint(len(CLASSES), (len(counts), most), generator=random)
    empty = torch.arange(most) >= torch.tensor(counts)[:, None]
    return Truth(boxes * ~empty[..., None], labels.masked_fill(empty, -1))


def make_case(
    *, counts=(3, 2), cells=8, teacher_cells=8, half=8.0, seed=0, dtype=torch.float32
) -> Case:
    """Random maps of a student over ±half metres and of a teacher over ±8 metres."""
    mine = random_maps(cells, frames=len(counts), seed=seed, half=half)
    theirs = random_maps(teacher_cells, frames=len(counts), seed=seed + 100)
    student = HeadMaps(
        *(getattr(mine, part).to(dtype).requires_grad_() for part in PARTS), mine.grid
    )
    teacher = HeadMaps(*(getattr(theirs, part).to(dtype) for part in PARTS), theirs.grid)
    return Case(student, teacher, make_truth(counts, seed=seed))


def term(objective: Objective, case: Case) -> Tensor:
    """Run one objective as a training step does."""
    teacher = Outputs(case.teacher, {"": case.teacher}, "teacher")
    context = StepContext(case.truth, None, teacher, BatchView(), CLASSES, case.student.grid)
    context.__dict__["teacher_heat"] = case.heat
    return objective(Outputs(case.student, {"": case.student}, "student"), teacher, context)


class Method(NamedTuple):
    """One method: its objective, its mask by plain loops, and its value by plain loops."""

    objective: type[Objective]
    options: dict[str, Any]
    mask: Any
    value: Any
    parts: tuple[str, ...] = ("heatmap",)
    equal_grids: bool = False

    def make(self, weight=1.0) -> Objective:
        return self.objective(weight, **self.options)


def pivotal(**options) -> Method:
    def mask(case):
        return slow.pivot_mask(case.student, case.teacher, case.heat, **options)

    return Method(PivotalLogitKD, options, mask, masked(mask))


def masked(mask):
    return lambda case: slow.masked_loss(case.student, case.teacher, mask(case))


def everywhere(case):
    return {cell[:3]: 1.0 for cell in slow.pairs(case.student, case.teacher)}


def instances(case):
    return slow.gid_mask(case.student, case.teacher, most=10, overlap=0.3)


def at_objects(space):
    def mask(case):
        grid, cells = case.student.grid, {}
        for b, frame in enumerate(case.truth.labels.tolist()):
            for slot, label in enumerate(frame):
                x, y = case.truth.boxes[b, slot, :2].tolist()
                if label >= 0 and slow.seen(make_grid(), x, y) and slow.seen(grid, x, y):
                    row, column = slow.cell_of(grid, x, y)
                    cells[b, row, column] = 1.0
        return cells

    def value(case):
        return slow.regression(case.student, case.teacher, *case.truth, space)

    parts = ("center", "center_z", "dim", "rot")
    return Method(RegressionKD, {"space": space}, mask, value, parts, space == "code")


def focal(case):
    return slow.soft_focal(case.student, case.teacher, positive=0.5)


METHODS = {
    "vanilla": pivotal(pivots="all"),
    "pp_gaussian": pivotal(pivots="gaussian"),
    "pp_foreground": pivotal(pivots="foreground"),
    "pp_confidence": pivotal(pivots="confidence", threshold=0.8),
    "pp_rank": pivotal(pivots="rank", top_k=6),
    "gid_l": Method(GIDLogitKD, {}, instances, masked(instances)),
    "soft_focal": Method(SoftFocalKD, {}, everywhere, focal),
    "regression_metres": at_objects("metres"),
    "regression_code": at_objects("code"),
}
