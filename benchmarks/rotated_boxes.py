"""Rotated overlap of 1,000 x 1,000 boxes and suppression of 4,096, against shapely.

shapely clips the polygons in compiled code; it gets its polygons ready made, and only the pairs
whose bounding rectangles meet (by its own tree).
"""

import argparse
import math

import numpy as np
import shapely
import torch
from _timing import compare, interleaved_medians, machine
from numpy.typing import NDArray
from torch import Tensor

from kd3d.geometry import corners_bev, iou_bev, nms_rotated

LARGEST_RATIO = 1.0


def main() -> None:
    """Print both times and their ratio, for overlap and for suppression."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=int, default=1000, help="on either side of the overlap")
    parser.add_argument("--candidates", type=int, default=4096, help="of the suppression")
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    first, second = draw(arguments.boxes, 75.0, 0), draw(arguments.boxes, 75.0, 1)
    crowd = draw(arguments.candidates, 75.0, 2)
    scores = torch.linspace(1, 0, len(crowd))
    polygons, others = polygons_of(first), polygons_of(second)
    candidates = polygons_of(crowd)
    table = iou_bev(first, second).numpy()
    np.testing.assert_allclose(table, shapely_iou(polygons, others), atol=1e-5)
    kept = nms_rotated(crowd, scores, arguments.threshold, post=len(crowd))
    assert kept.tolist() == shapely_nms(candidates, arguments.threshold)

    pairs = f"{len(first)} x {len(second)} boxes, {np.count_nonzero(table)} overlap"
    rows = [
        (pairs, lambda: iou_bev(first, second), lambda: shapely_iou(polygons, others)),
        (
            f"suppression of {len(crowd)}, {len(kept)} stay",
            lambda: nms_rotated(crowd, scores, arguments.threshold, post=len(crowd)),
            lambda: shapely_nms(candidates, arguments.threshold),
        ),
    ]
    print(machine(), f"shapely {shapely.__version__}")
    print(f"{'':44} {'kd3d':>11} {'shapely':>13} {'ratio':>8}")
    for what, ours, peer in rows:
        compare(what, *interleaved_medians([ours, peer], arguments.repeats), LARGEST_RATIO)


def draw(count: int, reach: float, seed: int) -> Tensor:
    """Draw boxes of vehicles all over a square, many of them overlapping."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=generator)
    boxes[:, :2] = (boxes[:, :2] * 2 - 1) * reach
    boxes[:, 3:6] = torch.tensor([4.7, 2.1, 1.7]) * (0.8 + 0.4 * boxes[:, 3:6])
    boxes[:, 6] = (boxes[:, 6] * 2 - 1) * math.pi
    return boxes


def polygons_of(boxes: Tensor) -> NDArray[np.object_]:
    """Make shapely's polygons."""
    polygons: NDArray[np.object_] = shapely.polygons(corners_bev(boxes.double()).numpy())
    return polygons


def shapely_iou(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    """Overlap ``[N, M]`` of all pairs."""
    rows, columns = shapely.STRtree(second).query(first)
    table = np.zeros((len(first), len(second)))
    table[rows, columns] = pair_iou(first[rows], second[columns])
    return table


def shapely_nms(polygons: NDArray[np.object_], threshold: float) -> list[int]:
    """Go through polygons of falling score, with the overlaps computed at once."""
    rows, columns = shapely.STRtree(polygons).query(polygons)
    lower = columns < rows
    rows, columns = rows[lower], columns[lower]
    over = pair_iou(polygons[rows], polygons[columns]) > threshold
    better: list[list[int]] = [[] for _ in polygons]
    for row, column in zip(rows[over].tolist(), columns[over].tolist(), strict=True):
        better[row].append(column)
    kept = np.zeros(len(polygons), bool)
    for row, above in enumerate(better):
        kept[row] = not any(kept[column] for column in above)
    return np.flatnonzero(kept).tolist()


def pair_iou(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    """Overlap ``[P]`` of aligned pairs."""
    shared = shapely.area(shapely.intersection(first, second))
    ratio: NDArray[np.float64] = shared / (shapely.area(first) + shapely.area(second) - shared)
    return ratio


if __name__ == "__main__":
    main()
