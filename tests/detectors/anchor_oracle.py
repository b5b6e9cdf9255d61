"""Anchors assigned and compared one by one, slowly, as SECOND's rules say."""

import math


def nearest_extent(box):
    """Extent along x and y of a box laid along the nearer axis."""
    turn = abs((box[6] + math.pi / 2) % math.pi - math.pi / 2)
    return (box[3], box[4]) if turn < math.pi / 4 else (box[4], box[3])


def overlap(one, other):
    (ax, ay), (bx, by) = nearest_extent(one), nearest_extent(other)
    wide = min(one[0] + ax / 2, other[0] + bx / 2) - max(one[0] - ax / 2, other[0] - bx / 2)
    high = min(one[1] + ay / 2, other[1] + by / 2) - max(one[1] - ay / 2, other[1] - by / 2)
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (ax * ay + bx * by - shared)


def assign(anchors, kinds, boxes, labels, classes):
    """State of each anchor (class, -1 background, -2 left out) and the slot of its box."""
    states, owners = [], []
    table = [
        [
            overlap(anchor, box) if label == kind else 0.0
            for box, label in zip(boxes, labels, strict=True)
        ]
        for anchor, kind in zip(anchors, kinds, strict=True)
    ]
    highest = [max(row[slot] for row in table) for slot in range(len(boxes))]
    for row, kind in zip(table, kinds, strict=True):
        best = max(row, default=0.0)
        owners.append(row.index(best) if best > 0 else 0)
        forced = any(0 < value >= highest[slot] * (1 - 1e-5) for slot, value in enumerate(row))
        if forced or best >= classes[kind].matched:
            states.append(kind)
        else:
            states.append(-1 if best < classes[kind].unmatched else -2)
    return states, owners


def focal(logit, goal, alpha=0.25, gamma=2.0):
    p = 1 / (1 + math.exp(-logit))
    if goal:
        return -alpha * (1 - p) ** gamma * math.log(p)
    return -(1 - alpha) * p**gamma * math.log(1 - p)


def smooth_l1(difference, beta=1 / 9):
    size = abs(difference)
    return size**2 / (2 * beta) if size < beta else size - beta / 2


def residuals(box, anchor):
    diagonal = math.hypot(anchor[3], anchor[4])
    return [
        (box[0] - anchor[0]) / diagonal,
        (box[1] - anchor[1]) / diagonal,
        (box[2] - anchor[2]) / anchor[5],
        *(math.log(box[i] / anchor[i]) for i in (3, 4, 5)),
        box[6] - anchor[6],
    ]
