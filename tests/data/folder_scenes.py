"""Small made-up scenes as a folder of scans, right or wrong in one way."""

import json

import numpy as np

CLASSES = ("Car", "Truck", "Bus", "Walker", "Bike")
SIZES = ((4.5, 1.9, 1.6), (8.5, 2.6, 3.2), (11.5, 2.8, 3.3), (0.7, 0.8, 1.8), (1.8, 0.7, 1.7))


def make_scene(number, objects=12, ground=1500):
    """Points ``[N, 4]`` on the ground and on the sides of boxes ``[M, 7]`` of all headings."""
    random = np.random.default_rng([7, number])
    cells = random.permutation(36)[:objects]
    labels = random.integers(len(SIZES), size=objects)
    sizes = np.array(SIZES)[labels] * random.uniform(0.9, 1.1, (objects, 3))
    x = (cells // 6) * 13.0 - 32 + random.uniform(-0.5, 0.5, objects)
    y = (cells % 6) * 13.0 - 28 + random.uniform(-0.5, 0.5, objects)
    heading = random.uniform(-np.pi, np.pi, objects)
    boxes = np.column_stack((x, y, sizes[:, 2] / 2, sizes, heading))
    flat = np.column_stack((random.uniform(-40, 50, (ground, 2)), random.normal(0, 0.02, ground)))
    flat = flat[~inside_footprints(flat, boxes)]
    points = np.concatenate([flat, *(surface(box, 60, random) for box in boxes)])
    intensity = random.uniform(0, 1, (len(points), 1))
    return np.column_stack((points, intensity)).astype(np.float32), boxes, labels


def inside_footprints(points, boxes):
    offset = points[:, None, :2] - boxes[:, :2]
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    inside = (np.abs(along) < boxes[:, 3] / 2) & (np.abs(across) < boxes[:, 4] / 2)
    return inside.any(axis=1)


def surface(box, count, random):
    """Points just within the four sides of a box."""
    along = random.uniform(-0.5, 0.5, count)
    side = random.integers(4, size=count)
    local = np.where(
        (side < 2)[:, None],
        np.column_stack((along, np.where(side == 0, 0.48, -0.48))),
        np.column_stack((np.where(side == 2, 0.48, -0.48), along)),
    )
    local = local * box[3:5]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turned = local @ np.array([[cos, sin], [-sin, cos]])
    z = box[2] + random.uniform(-0.45, 0.48, count) * box[5]
    return np.column_stack((turned + box[:2], z))


def write_folder(root, train=12, val=6, change=None, **facts):
    """Write a dataset; `change` may edit the arrays of every scan in place."""
    root.mkdir(parents=True, exist_ok=True)
    names = {"classes": list(CLASSES), "features": ["x", "y", "z", "intensity"], **facts}
    (root / "dataset.json").write_text(json.dumps(names))
    for split, frames in (("train", train), ("val", val)):
        for number in range(frames):
            write_scan(root, split, number, change)
    return root


def write_scan(root, split, number, change=None):
    points, boxes, labels = make_scene(number + 1000 * (split == "val"))
    scan = {"points": points, "boxes": boxes, "labels": np.array(CLASSES)[labels]}
    if change is not None:
        change(scan)
    path = root / split / f"drive_{number // 6}" / f"scan_{number}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **scan)
    return path
