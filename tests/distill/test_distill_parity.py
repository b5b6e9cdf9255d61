"""Our losses and targets on the maps of one step of the paper's own code."""

import json

import numpy as np
import pytest
import torch

from kd3d.detectors.decode import decode_centers
from kd3d.detectors.targets import assign_center_targets
from kd3d.distill.functional import (
    add_teacher_boxes,
    pivotal_logit_loss,
    regression_kd_loss,
    select_teacher_boxes,
)
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


def test_label_targets_in_the_reference_order(step):
    facts, arrays = step
    boxes, labels = truth_of(arrays)
    limit = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    decoded = decode_centers(maps_of(arrays, "teacher"), limit, nms_threshold=None)
    chosen = select_teacher_boxes(decoded, facts["KD"]["LABEL_ASSIGN_KD"]["SCORE_THRESH"])
    targets = add_teacher_boxes(boxes, labels, chosen, teacher_first=True)
    drawn = assign_center_targets(targets.boxes, targets.labels, GRID, 3)
    slots = drawn.mask.shape[1]
    assert torch.equal(drawn.mask, arrays["student_masks"][:, :slots].bool())
    assert torch.equal(drawn.indices, arrays["student_inds"][:, :slots].long())
    assert not arrays["student_masks"][:, slots:].any()
    assert drawn.heatmap.sum().item() == pytest.approx(
        facts["expected"]["student_heatmap_sum"], rel=1e-5
    )
