"""The feature methods as one reads them: plain loops over cells, channels, points and boxes.

Maps are lists [B][C][H][W]; a None marks a cell that only one network sees.
"""

import math

from slow_logit import box_at, cell_of, center_of, overlap_bev, pairs, rows, sampled, seen

SIZE = 7


def on_cells_of(maps, source, target):
    """Averaged over the target's cells if they hold whole cells of the source, else sampled."""
    k = round(target.cell_x / source.cell_x)
    whole = source.width == k * target.width and source.x_min == target.x_min
    if not whole:
        return [[sampled(plane, source, target) for plane in frame] for frame in maps]

    def mean(plane, y, x):
        cells = [plane[k * y + i][k * x + j] for i in range(k) for j in range(k)]
        return sum(cells) / len(cells)

    return [
        [
            [[mean(plane, y, x) for x in range(target.width)] for y in rows(target)]
            for plane in frame
        ]
        for frame in maps
    ]


def cells_of_both(case):
    """All cells of the coarser grid that both see: frame, row, column, features of both."""
    student, teacher = case.student_features.tolist(), case.teacher_features.tolist()
    mine, theirs, grid = case.student_grid, case.teacher_grid, case.grid
    student = on_cells_of(student, mine, grid) if mine != grid else student
    teacher = on_cells_of(teacher, theirs, grid) if theirs != grid else teacher
    for b in range(len(student)):
        for y in rows(grid):
            for x in range(grid.width):
                f_s = [plane[y][x] for plane in student[b]]
                f_t = [plane[y][x] for plane in teacher[b]]
                if f_s[0] is not None and f_t[0] is not None:
                    yield b, y, x, f_s, f_t


def everywhere(case):
    return {(b, y, x): 1.0 for b, y, x, *_ in cells_of_both(case)}


def foreground(case, *, soft):
    """M of every cell under a Gaussian of an object."""
    mask = {}
    for b, frame in enumerate(case.truth.labels.tolist()):
        for slot, label in enumerate(frame):
            x, y, _, length, width = case.truth.boxes[b, slot, :5].tolist()
            if label < 0 or not seen(case.grid, x, y):
                continue
            row, column = cell_of(case.grid, x, y)
            radius = max(2, int(reach(length / case.grid.cell_x, width / case.grid.cell_y)))
            for i in range(max(0, row - radius), min(case.grid.height, row + radius + 1)):
                for j in range(max(0, column - radius), min(case.grid.width, column + radius + 1)):
                    sigma = (2 * radius + 1) / 6
                    heat = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
                    mask[b, i, j] = max(mask.get((b, i, j), 0), heat if soft else 1.0)
    visible = everywhere(case)
    return {cell: weight for cell, weight in mask.items() if cell in visible}


def reach(length, width, overlap=0.1):
    """CornerNet's radius: the least of its three cases."""
    total, area = length + width, length * width
    one = (total + math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    two = (2 * total + math.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 2
    middle = -2 * overlap * total
    three = (middle + math.sqrt(middle**2 - 16 * overlap * (overlap - 1) * area)) / 2
    return min(one, two, three)


def squared(case, mask):
    total = channels = 0.0
    for b, y, x, f_s, f_t in cells_of_both(case):
        channels = len(f_s)
        total += mask.get((b, y, x), 0) * sum((s - t) ** 2 for s, t in zip(f_s, f_t, strict=True))
    return total / (channels * sum(mask.values()) + 1e-6)


def pearson(case):
    found = list(cells_of_both(case))
    losses = []
    for c in range(len(found[0][3])):
        mine, theirs = [cell[3][c] for cell in found], [cell[4][c] for cell in found]
        mean_s, mean_t = sum(mine) / len(mine), sum(theirs) / len(theirs)
        pair = list(zip(mine, theirs, strict=True))
        covariance = sum((s - mean_s) * (t - mean_t) for s, t in pair)
        sizes = sum((s - mean_s) ** 2 for s in mine) * sum((t - mean_t) ** 2 for t in theirs)
        losses.append(1 - covariance / math.sqrt(sizes))
    return sum(losses) / len(losses)


def channel_wise(case, temperature):
    found = list(cells_of_both(case))
    frames, channels = len(case.student_features), len(found[0][3])
    total = 0.0
    for frame in range(frames):
        for c in range(channels):
            mine = softmax([cell[3][c] / temperature for cell in found if cell[0] == frame])
            theirs = softmax([cell[4][c] / temperature for cell in found if cell[0] == frame])
            total += sum(t * (math.log(t) - math.log(s)) for s, t in zip(mine, theirs, strict=True))
    return temperature**2 * total / (frames * channels)


def softmax(values):
    strong = [math.exp(value) for value in values]
    return [value / sum(strong) for value in strong]


def points_in(box, size=SIZE):
    """The points of a box: middles of size x size equal parts, turned with it."""
    x, y, _, length, width, _, heading = box[:7]
    for row in range(size):
        for column in range(size):
            along = ((column + 0.5) / size - 0.5) * length
            across = ((row + 0.5) / size - 0.5) * width
            yield (
                x + along * math.cos(heading) - across * math.sin(heading),
                y + along * math.sin(heading) + across * math.cos(heading),
            )


def neighbours(grid, x, y):
    """The cells whose centres enclose a position, and their shares."""
    column = min(max((x - grid.x_min) / grid.cell_x - 0.5, 0), grid.width - 1)
    row = min(max((y - grid.y_min) / grid.cell_y - 0.5, 0), grid.height - 1)
    left, low = int(column), int(row)
    for i, down in ((low, 1 - (row - low)), (min(low + 1, grid.height - 1), row - low)):
        for j, across in (
            (left, 1 - (column - left)),
            (min(left + 1, grid.width - 1), column - left),
        ):
            if down * across > 0:
                yield i, j, down * across


def at_point(frame, grid, x, y):
    return [sum(w * plane[i][j] for i, j, w in neighbours(grid, x, y)) for plane in frame]


def rois(case, boxes):
    """By box: frame, and features of both at the points that both see; zeros elsewhere."""
    student, teacher = case.student_features.tolist(), case.teacher_features.tolist()
    for b, box in boxes:
        both = []
        for x, y in points_in(box):
            if seen(case.student_grid, x, y) and seen(case.teacher_grid, x, y):
                both.append(
                    (
                        at_point(student[b], case.student_grid, x, y),
                        at_point(teacher[b], case.teacher_grid, x, y),
                    )
                )
            else:
                both.append(None)
        yield b, both


def roi_squared(case, boxes):
    total, points, channels = 0.0, 0, 1
    for _, both in rois(case, boxes):
        for point in both:
            if point is not None:
                points, channels = points + 1, len(point[0])
                total += sum((s - t) ** 2 for s, t in zip(*point, strict=True))
    return total / (channels * points + 1e-6)


def relation(case, boxes):
    total = 0.0
    for frame in range(len(case.student_features)):
        own = [both for b, both in rois(case, boxes) if b == frame]
        vectors = [both for both in own if any(point is not None for point in both)]
        if len(vectors) < 2:
            continue
        sides = [distances([flat(both, side) for both in vectors]) for side in (0, 1)]
        mine, theirs = ([d / (sum(side) / len(side)) for d in side] for side in sides)
        errors = [smooth_l1(s - t) for s, t in zip(mine, theirs, strict=True)]
        total += sum(errors) / len(errors)
    return total / len(case.student_features)


def flat(both, side):
    channels = len(next(point for point in both if point is not None)[0])
    return [v for point in both for v in (point[side] if point is not None else [0.0] * channels)]


def distances(vectors):
    return [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        for i, one in enumerate(vectors)
        for j, other in enumerate(vectors)
        if i != j
    ]


def smooth_l1(difference):
    size = abs(difference)
    return size**2 / 2 if size < 1 else size - 0.5


def true_boxes(case):
    return [
        (b, case.truth.boxes[b, slot].tolist())
        for b, frame in enumerate(case.truth.labels.tolist())
        for slot, label in enumerate(frame)
        if label >= 0
    ]


def highest_boxes(maps, most, threshold):
    """The boxes at the highest (class, cell) pairs of every frame."""
    found = []
    for b, frame in enumerate(maps.heatmap.tolist()):
        scores = [
            (1 / (1 + math.exp(-value)), y, x)
            for plane in frame
            for y, line in enumerate(plane)
            for x, value in enumerate(line)
        ]
        for score, y, x in sorted(scores, reverse=True)[:most]:
            if score > threshold:
                found.append((b, box_at(maps, b, y, x)))
    return found


def instances(student, teacher, most=10, overlap=0.3):
    """The boxes of the largest score gaps, one by one, without overlaps."""
    found = [
        (max(abs(s - t) for s, t in zip(p_s, p_t, strict=True)), max(p_t) > max(p_s), b, y, x)
        for b, y, x, p_s, p_t in pairs(student, teacher)
    ]
    chosen = []
    for frame in range(len(teacher.heatmap)):
        own = []
        for gap, of_teacher, b, y, x in sorted(found, reverse=True):
            if b != frame or gap <= 0 or len(own) == most:
                continue
            if of_teacher:
                box = box_at(teacher, b, y, x)
            else:
                place = cell_of(student.grid, *center_of(teacher.grid, y, x))
                box = box_at(student, b, *place)
            if all(overlap_bev(box, other) <= overlap for other in own):
                own.append(box)
        chosen += [(frame, box) for box in own]
    return chosen


def cells_under(case, boxes):
    """The student's cells that the points of boxes read."""
    return {
        (b, i, j): 1.0
        for b, box in boxes
        for x, y in points_in(box)
        if seen(case.student_grid, x, y) and seen(case.teacher_grid, x, y)
        for i, j, _ in neighbours(case.student_grid, x, y)
    }
