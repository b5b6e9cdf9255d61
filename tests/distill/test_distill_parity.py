"""Our losses and targets on the maps of one step of the paper's own code."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

from kd3d.detectors.decode import decode_centers
from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.targets import assign_center_targets
from kd3d.distill import LabelKD, StepContext
from kd3d.distill.batches import BatchView
from kd3d.distill.functional import pivotal_logit_loss, regression_kd_loss
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import HeadMaps

GRID = BEVGrid(-12.8, -12.8, 0.8, 0.8, 32, 32)


@pytest.fixture(scope="module")
def step(shared_data):
    path = shared_data / "parity" / "kd_step_CP-Voxel-XS"
    facts = json.loads(path.with_suffix(".json").read_text())["settings"]
    arrays = np.load(path.with_suffix(".npz"))
    return facts, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def maps_of(arrays, who):
    branches = ("hm", "center", "center_z", "dim", "rot")
    return HeadMaps(*(arrays[f"{who}_{branch}"] for branch in branches), grid=GRID)


def truth_of(arrays):
    return arrays["gt_boxes"][..., :7], arrays["gt_boxes"][..., 7].long() - 1


def test_logit_and_regression_losses(step):
    facts, arrays = step
    expected = facts["expected"]["tb_dict"]
    student, teacher = maps_of(arrays, "student"), maps_of(arrays, "teacher")
    boxes, labels = truth_of(arrays)
    heat = assign_center_targets(boxes, labels, GRID, 3).heatmap
    logit = 15.0 * pivotal_logit_loss(
        student.heatmap, teacher.heatmap, heat, student_grid=GRID, teacher_grid=GRID
    )
    regression = 0.2 * regression_kd_loss(student, teacher, boxes, labels, space="code")
    assert logit.item() == pytest.approx(expected["kd_hm_ls"], rel=1e-4)
    assert regression.item() == pytest.approx(expected["kd_loc_ls"], rel=1e-4)


class Truth(NamedTuple):
    """A foreign batch."""

    boxes: torch.Tensor
    labels: torch.Tensor


VIEW = BatchView(with_targets=lambda batch, targets: targets)


@pytest.fixture(scope="module")
def student_targets(step):
    """What the paper's student is trained on: the teacher's boxes, then the ground truth."""
    facts, arrays = step
    boxes, labels = truth_of(arrays)
    limit = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    decoded = decode_centers(maps_of(arrays, "teacher"), limit, nms_threshold=None)
    thresholds = facts["KD"]["LABEL_ASSIGN_KD"]["SCORE_THRESH"]
    batch = Truth(boxes, labels)
    context = StepContext(batch, None, None, VIEW, classes=("Vehicle", "Pedestrian", "Cyclist"))
    context.__dict__["teacher_boxes"] = decoded
    LabelKD(thresholds, reference_order=True).amend(context, batch)
    return decoded, thresholds, context.targets


def test_label_targets_in_the_reference_order(step, student_targets):
    facts, arrays = step
    _, _, targets = student_targets
    drawn = assign_center_targets(targets.boxes, targets.labels, GRID, 3)
    slots = drawn.mask.shape[1]
    assert slots == 500
    assert torch.equal(drawn.mask, arrays["student_masks"].bool())
    assert torch.equal(drawn.indices, arrays["student_inds"].long())
    assert drawn.heatmap.sum().item() == pytest.approx(
        facts["expected"]["student_heatmap_sum"], rel=1e-5
    )


def test_label_targets_against_a_plain_list(step, student_targets):
    _, arrays = step
    decoded, thresholds, targets = student_targets
    boxes, labels = truth_of(arrays)
    for frame, found in enumerate(decoded):
        expected = [
            box
            for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
            if score > thresholds[label]
        ]
        assert expected or frame == 1
        expected += [
            box for box, label in zip(boxes[frame], labels[frame], strict=True) if label >= 0
        ]
        filled = targets.labels[frame] >= 0
        assert torch.equal(targets.boxes[frame][filled], torch.stack(expected))


def test_detection_loss_with_teacher_boxes_counts_every_slot(step, student_targets):
    facts, arrays = step
    expected = facts["expected"]["tb_dict"]
    student = maps_of(arrays, "student")
    targets = student_targets[2]
    drawn = assign_center_targets(
        targets.boxes,
        targets.labels,
        GRID,
        3,
        heat_weight=targets.heat_weight,
        box_weight=targets.box_weight,
    )
    heat = center_focal_loss(student.heatmap, drawn.heatmap)
    assert heat.item() == pytest.approx(expected["hm_loss_head_0"], rel=1e-4)
    box = 2.0 * center_box_loss(student, drawn)
    assert box.item() == pytest.approx(expected["loc_loss_head_0"], rel=1e-4)


def test_the_whole_loss_is_the_papers(step, student_targets):
    facts, arrays = step
    student, teacher = maps_of(arrays, "student"), maps_of(arrays, "teacher")
    boxes, labels = truth_of(arrays)
    own = student_targets[2]
    drawn = assign_center_targets(own.boxes, own.labels, GRID, 3)
    heat = assign_center_targets(boxes, labels, GRID, 3).heatmap
    total = (
        center_focal_loss(student.heatmap, drawn.heatmap)
        + 2.0 * center_box_loss(student, drawn)
        + 15.0 * pivotal_logit_loss(student.heatmap, teacher.heatmap, heat, alignment="resize")
        + 0.2 * regression_kd_loss(student, teacher, boxes, labels, space="code")
    )
    assert total.item() == pytest.approx(facts["expected"]["loss"], rel=1e-4)
