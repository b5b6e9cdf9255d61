"""The logit and label methods as one reads them: plain loops over cells, classes and boxes."""

import math

from shapely import affinity
from shapely.geometry import box as rectangle

LOW, HIGH = 1e-4, 1 - 1e-4


def sigmoid(logit):
    return min(max(1 / (1 + math.exp(-logit)), LOW), HIGH)


def probabilities(logits):
    """Lists [B][C][H][W] of clamped probabilities."""
    return [
        [[[sigmoid(value) for value in row] for row in plane] for plane in frame]
        for frame in logits.double().tolist()
    ]


def sampled(plane, source, target):
    """Sample one map at another grid's cell centres; None where the map does not reach."""

    def at(x, y):
        column, row = (x - source.x_min) / source.cell_x, (y - source.y_min) / source.cell_y
        if not (0 <= column < source.width and 0 <= row < source.height):
            return None
        column = min(max(column - 0.5, 0), source.width - 1)
        row = min(max(row - 0.5, 0), source.height - 1)
        left, low = int(column), int(row)
        right, high = min(left + 1, source.width - 1), min(low + 1, source.height - 1)
        a, b = column - left, row - low
        return (
            plane[low][left] * (1 - a) * (1 - b)
            + plane[low][right] * a * (1 - b)
            + plane[high][left] * (1 - a) * b
            + plane[high][right] * a * b
        )

    return [[at(*center_of(target, row, c)) for c in range(target.width)] for row in rows(target)]


def rows(grid):
    return range(grid.height)


def center_of(grid, row, column):
    return (
        grid.x_min + (column + 0.5) * grid.cell_x,
        grid.y_min + (row + 0.5) * grid.cell_y,
    )


def pairs(student, teacher):
    """All cells of the teacher's grid: frame, row, column, p of the student, p of the teacher."""
    mine, theirs = probabilities(student.heatmap), probabilities(teacher.heatmap)
    grid = teacher.grid
    for b, frame in enumerate(theirs):
        planes = [sampled(plane, student.grid, grid) for plane in mine[b]]
        for y in rows(grid):
            for x in range(grid.width):
                p_s = [plane[y][x] for plane in planes]
                if p_s[0] is not None:
                    yield b, y, x, p_s, [plane[y][x] for plane in frame]


def squared(p_s, p_t):
    return sum((a - b) ** 2 for a, b in zip(p_s, p_t, strict=True))


def pivot_mask(student, teacher, heat, pivots, threshold=0.1, top_k=500):
    """M of every cell that is not zero: {(frame, row, column): M}."""
    mask = {}
    cells = list(pairs(student, teacher))
    for b, y, x, _, p_t in cells:
        confidence = max(p_t)
        truth = max(float(plane[y][x]) for plane in heat[b])
        best = sorted((p for k, *_, ps in all_scores(teacher) if k == b for p in ps), reverse=True)
        weight = {
            "gaussian": confidence * truth,
            "foreground": float(truth > 0),
            "confidence": float(confidence > threshold),
            "rank": float(confidence >= best[min(top_k, len(best)) - 1]),
            "all": 1.0,
        }[pivots]
        if weight > 0:
            mask[b, y, x] = weight
    return mask


def all_scores(teacher):
    for b, frame in enumerate(probabilities(teacher.heatmap)):
        for y in rows(teacher.grid):
            for x in range(teacher.grid.width):
                yield b, y, x, [plane[y][x] for plane in frame]


def masked_loss(student, teacher, mask):
    total = sum(
        mask[b, y, x] * squared(p_s, p_t)
        for b, y, x, p_s, p_t in pairs(student, teacher)
        if (b, y, x) in mask
    )
    return total / (sum(mask.values()) + 1e-6)


def soft_focal(student, teacher, positive):
    total, positives = 0.0, 0
    for *_, p_s, p_t in pairs(student, teacher):
        for p, target in zip(p_s, p_t, strict=True):
            if target >= positive:
                positives += 1
                total -= (1 - p) ** 2 * math.log(p)
            else:
                total -= (1 - target) ** 4 * p**2 * math.log(1 - p)
    return total / max(positives, 1)


def box_at(maps, b, row, column):
    """Decode one box: x, y, z, length, width, height, heading."""

    def read(branch):
        return [float(value) for value in branch[b, :, row, column]]

    (dx, dy), (z,), size, (cos, sin) = map(read, (maps.center, maps.center_z, maps.dim, maps.rot))
    grid = maps.grid
    return [
        grid.x_min + (column + dx) * grid.cell_x,
        grid.y_min + (row + dy) * grid.cell_y,
        z,
        *(math.exp(value) for value in size),
        math.atan2(sin, cos),
    ]


def shape_of(found):
    x, y, _, length, width, _, heading = found
    flat = rectangle(-length / 2, -width / 2, length / 2, width / 2)
    turned = affinity.rotate(flat, heading, origin=(0, 0), use_radians=True)
    return affinity.translate(turned, x, y)


def overlap_bev(one, other):
    one, other = shape_of(one), shape_of(other)
    shared = one.intersection(other).area
    return shared / (one.area + other.area - shared)


def overlap_3d(one, other):
    flat = shape_of(one).intersection(shape_of(other)).area
    low = max(one[2] - one[5] / 2, other[2] - other[5] / 2)
    high = min(one[2] + one[5] / 2, other[2] + other[5] / 2)
    shared = flat * max(high - low, 0)
    return shared / (math.prod(one[3:6]) + math.prod(other[3:6]) - shared)


def gid_mask(student, teacher, most, overlap):
    """The cells of the instances: {(frame, row, column): 1}."""
    mask = {}
    found = [
        (max(abs(s - t) for s, t in zip(p_s, p_t, strict=True)), max(p_t) > max(p_s), b, y, x)
        for b, y, x, p_s, p_t in pairs(student, teacher)
    ]
    for frame in range(len(teacher.heatmap)):
        chosen = []
        for gap, of_teacher, b, y, x in sorted(found, reverse=True):
            if b != frame or gap <= 0 or len(chosen) == most:
                continue
            if of_teacher:
                candidate = box_at(teacher, b, y, x)
            else:
                candidate = box_at(
                    student, b, *cell_of(student.grid, *center_of(teacher.grid, y, x))
                )
            if all(overlap_bev(candidate, other) <= overlap for other in chosen):
                chosen.append(candidate)
        for x, y, *_ in chosen:
            row, column = cell_of(teacher.grid, x, y)
            middle = center_of(teacher.grid, row, column)
            if seen(teacher.grid, *middle) and seen(student.grid, *middle):
                mask[frame, row, column] = 1.0
    return mask


def cell_of(grid, x, y):
    return math.floor((y - grid.y_min) / grid.cell_y), math.floor((x - grid.x_min) / grid.cell_x)


def seen(grid, x, y):
    row, column = cell_of(grid, x, y)
    return 0 <= row < grid.height and 0 <= column < grid.width


def regression(student, teacher, boxes, labels, space):
    """Sum over objects and the eight values, over the number of objects."""
    total, objects = 0.0, 0
    for b, frame in enumerate(labels.tolist()):
        for slot, label in enumerate(frame):
            if label < 0:
                continue
            x, y = boxes[b, slot, :2].tolist()
            if space == "metres" and not (seen(student.grid, x, y) and seen(teacher.grid, x, y)):
                continue
            objects += 1
            mine, theirs = codes(student, b, x, y, space), codes(teacher, b, x, y, space)
            total += sum(abs(s - t) for s, t in zip(mine, theirs, strict=True))
    return total / max(objects, 1)


def codes(maps, b, x, y, space):
    grid = maps.grid
    row, column = cell_of(grid, x, y)
    row, column = min(max(row, 0), grid.height - 1), min(max(column, 0), grid.width - 1)
    values = [
        float(value)
        for branch in (maps.center, maps.center_z, maps.dim, maps.rot)
        for value in branch[b, :, row, column]
    ]
    if space == "metres":
        values[:2] = box_at(maps, b, row, column)[:2]
    return values


def label_choice(frame, thresholds, rules, boxes, labels):
    """Which of a frame's detections become labels."""
    truth = [one.tolist()[:7] for one, label in zip(boxes, labels, strict=True) if label >= 0]
    kept = []
    for index, label in enumerate(frame.labels.tolist()):
        found = frame.boxes[index].tolist()[:7]
        if label < 0:
            continue
        if rules[label] == "iou":
            quality = max((overlap_3d(found, one) for one in truth), default=0.0)
        else:
            quality = float(frame.scores[index])
        if quality > thresholds[label]:
            kept.append(index)
    return kept
