"""Which anchors stand for which boxes."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from kd3d.detectors.anchors import HEADINGS, AnchorClass, anchor_places
from kd3d.detectors.targets import check_boxes
from kd3d.geometry.constants import constant
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import AnchorTargets

__all__ = ["assign_anchor_targets"]

_AS_MUCH = 1 - 1e-5  # anchors inside one box overlap it equally, up to rounding
_BOXES_AT_ONCE = 32  # overlaps of so many boxes with all anchors are in memory at a time


def assign_anchor_targets(
    boxes: Tensor,
    labels: Tensor,
    classes: Sequence[AnchorClass],
    grid: BEVGrid,
    *,
    heat_weight: Tensor | None = None,
    box_weight: Tensor | None = None,
) -> AnchorTargets:
    """Assign boxes to anchors by overlap, as SECOND and PointPillars do in OpenPCDet.

    Boxes meet the anchors of their own class only. Both are laid along the axis they are nearer to;
    an anchor is positive from the class's ``matched`` overlap on, background below ``unmatched``,
    else left out. The anchors that overlap a box most are positive in any case.

    Args:
        boxes: ``[B, M, 7 or more]`` metres and radians.
        labels: ``[B, M]`` int64 class ids, -1 in empty slots.
        classes: the anchors of each class.
        grid: where the anchors are laid, see `kd3d.detectors.anchors.lay_anchors`.
        heat_weight: ``[B, M]`` what the anchors of a box are to score, 1 by default; with 0 they
            are left out.
        box_weight: ``[B, M]`` weights in the box loss; 1 by default.

    Raises:
        InputError: if shapes do not fit, or a labelled box is not finite or of an unknown class
            (on CUDA an assertion of the device, since asking would wait for it).
    """
    check_boxes(boxes, labels, len(classes), 7)
    if labels.shape[1] == 0:  # an empty slot, so that every anchor has one to look at
        boxes, labels = boxes.new_ones(len(boxes), 1, 7), labels.new_full((len(labels), 1), -1)
        heat_weight = box_weight = None
    with torch.no_grad(), torch.autocast(boxes.device.type, enabled=False):
        boxes = boxes[..., :7].float()
        present = (labels >= 0) & (boxes[..., 3:6] > 0).all(dim=-1)
        boxes = torch.where(present[..., None], boxes, torch.ones_like(boxes))
        labels = torch.where(present, labels, -1)
        best, owner, forced = _match(boxes, labels, classes, grid)
        matched = constant([one.matched for one in classes], best)[:, None, None, None]
        unmatched = constant([one.unmatched for one in classes], best)[:, None, None, None]
        ids = torch.arange(len(classes), device=boxes.device)[:, None, None, None]
        state = torch.where(best < unmatched, AnchorTargets.BACKGROUND, AnchorTargets.IGNORED)
        state = torch.where((best >= matched) | forced, ids, state)
        state, owner = (_in_order(values) for values in (state, owner))
        score = _of_owner(heat_weight, owner)
        positive = state >= 0
        return AnchorTargets(
            labels=torch.where(positive & (score <= 0), AnchorTargets.IGNORED, state),
            boxes=boxes.gather(1, owner[..., None].expand(-1, -1, 7)),
            score=torch.where(positive, score, 0.0),
            weight=torch.where(positive, _of_owner(box_weight, owner), 0.0),
        )


def _match(
    boxes: Tensor, labels: Tensor, classes: Sequence[AnchorClass], grid: BEVGrid
) -> tuple[Tensor, Tensor, Tensor]:
    """Compare every anchor with the boxes of its class.

    Returns:
        The largest overlap of each anchor, the slot of that box, and whether the anchor is one
        that a box overlaps most: ``[B, C, R, H, W]``.
    """
    frames, slots = labels.shape
    shape = (frames, len(classes), len(HEADINGS), grid.height, grid.width)
    best = boxes.new_zeros(shape)
    owner = torch.zeros(shape, dtype=torch.int64, device=boxes.device)
    forced = torch.zeros(shape, dtype=torch.bool, device=boxes.device)
    for start in range(0, slots, _BOXES_AT_ONCE):
        some = slice(start, start + _BOXES_AT_ONCE)
        overlap = _overlaps(boxes[:, some], labels[:, some], classes, grid)
        most = overlap.amax(dim=(2, 3, 4), keepdim=True)
        top = (overlap >= most * _AS_MUCH) & (most > 0)
        for number in range(len(classes)):
            member = (labels[:, some] == number)[:, :, None, None, None]
            value, slot = torch.where(member, overlap, 0.0).max(dim=1)
            better = value > best[:, number]
            best[:, number] = torch.where(better, value, best[:, number])
            owner[:, number] = torch.where(better, slot + start, owner[:, number])
            forced[:, number] |= (top & member).any(dim=1)
    return best, owner, forced


def _overlaps(
    boxes: Tensor, labels: Tensor, classes: Sequence[AnchorClass], grid: BEVGrid
) -> Tensor:
    """Intersection over union ``[B, M, R, H, W]`` of boxes with the anchors of their class.

    Anchors of one size and heading differ in x and y alone, so that the intersection is a product
    of what boxes and columns share and what boxes and rows share.
    """
    theirs, places = _extents(boxes), anchor_places(grid, boxes.device)
    areas, shared = [], []
    lengths = constant([one.size[0] for one in classes], boxes)[labels.clamp(min=0)]
    widths = constant([one.size[1] for one in classes], boxes)[labels.clamp(min=0)]
    for heading in HEADINGS:
        along = _is_along_x(heading)
        ours = (lengths, widths) if along else (widths, lengths)
        x, y = (
            _shared(boxes[..., axis], theirs[axis], ours[axis], places[axis]) for axis in (0, 1)
        )
        shared.append(y[..., :, None] * x[..., None, :])
        areas.append(theirs[0] * theirs[1] + ours[0] * ours[1])
    inter = torch.stack(shared, dim=2)
    return inter / (torch.stack(areas, dim=2)[..., None, None] - inter)


def _shared(centre: Tensor, extent: Tensor, size: Tensor, places: Tensor) -> Tensor:
    """Length ``[B, M, P]`` that boxes share with anchors of some size at some places, metres."""
    half, centre, size = extent[..., None] / 2, centre[..., None], size[..., None] / 2
    high = torch.minimum(centre + half, places + size)
    return (high - torch.maximum(centre - half, places - size)).clamp(min=0)


def _extents(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Extent along x and y of boxes laid along the axis that they are nearer to."""
    turn = boxes[..., 6]
    along = (turn - (turn / pi + 0.5).floor() * pi).abs() < pi / 4
    length, width = boxes[..., 3], boxes[..., 4]
    return torch.where(along, length, width), torch.where(along, width, length)


def _is_along_x(heading: float) -> bool:
    return abs(heading) < pi / 4


def _in_order(values: Tensor) -> Tensor:
    """Bring ``[B, C, R, H, W]`` into the order of the anchors, ``[B, N]``."""
    return values.permute(0, 3, 4, 1, 2).flatten(1)


def _of_owner(weight: Tensor | None, owner: Tensor) -> Tensor:
    if weight is None:
        return torch.ones_like(owner, dtype=torch.float32)
    return weight.float().gather(1, owner)
