"""Targets of a center head for 2 x 100 boxes on 464 x 464 cells, against a loop over the boxes.

The loop is how the reference does it: per frame and per box one radius, one Gaussian in numpy, and
one window of the heatmap at a time.
"""

import argparse
import math

import numpy as np
import torch
from _timing import compare, interleaved_medians, machine
from torch import Tensor

from kd3d.detectors import create_detector
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.heat import gaussian_radius

LARGEST_RATIO = 0.2


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--boxes", type=int, default=100, help="per frame")
    parser.add_argument("--repeats", type=int, default=15, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    detector = create_detector("cp_pillar")
    boxes, labels = draw_boxes(arguments.frames, arguments.boxes)
    targets = detector.assign_targets(boxes, labels)
    heatmap, codes = box_by_box(boxes, labels, detector.grid)
    torch.testing.assert_close(targets.heatmap, heatmap)
    torch.testing.assert_close(targets.codes, codes[:, : boxes.shape[1]], rtol=1e-4, atol=1e-4)

    ours, peer = interleaved_medians(
        [
            lambda: detector.assign_targets(boxes, labels),
            lambda: box_by_box(boxes, labels, detector.grid),
        ],
        arguments.repeats,
    )
    print(machine())
    print(f"{'':44} {'kd3d':>11} {'loop':>13} {'ratio':>8}")
    compare(f"{len(boxes)} x {boxes.shape[1]} boxes", ours, peer, LARGEST_RATIO)


def draw_boxes(frames: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw vehicles, pedestrians and cyclists all over the range."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (frames, count), generator=generator)
    sizes = torch.tensor([[4.7, 2.1, 1.7], [0.9, 0.86, 1.73], [1.78, 0.84, 1.78]])[labels]
    boxes = torch.rand(frames, count, 7, generator=generator)
    boxes[..., :2] = boxes[..., :2] * 148 - 74
    boxes[..., 3:6] = sizes * (0.8 + 0.4 * boxes[..., 3:6])
    boxes[..., 6] = (boxes[..., 6] * 2 - 1) * math.pi
    return boxes, labels


def box_by_box(boxes: Tensor, labels: Tensor, grid: BEVGrid) -> tuple[Tensor, Tensor]:
    """Make heatmaps and box codes as the reference does, in 500 slots per frame."""
    heatmaps, all_codes = [], []
    for frame_boxes, frame_labels in zip(boxes, labels, strict=True):
        heatmap = torch.zeros(3, grid.height, grid.width)
        codes = torch.zeros(500, 8)
        indices, mask = torch.zeros(500, dtype=torch.int64), torch.zeros(500, dtype=torch.bool)
        x = ((frame_boxes[:, 0] - grid.x_min) / grid.cell_x).clamp(0, grid.width - 0.5)
        y = ((frame_boxes[:, 1] - grid.y_min) / grid.cell_y).clamp(0, grid.height - 0.5)
        centers = torch.stack((x, y), dim=-1)
        cells = centers.int()
        length, width = frame_boxes[:, 3] / grid.cell_x, frame_boxes[:, 4] / grid.cell_y
        radii = gaussian_radius(length, width, 0.1).int().clamp(min=2)
        for k in range(len(frame_boxes)):
            if length[k] <= 0 or width[k] <= 0:
                continue
            draw(heatmap[int(frame_labels[k])], cells[k], int(radii[k].item()))
            indices[k] = cells[k, 1] * grid.width + cells[k, 0]
            mask[k] = True
            codes[k, 0:2] = centers[k] - cells[k].float()
            codes[k, 2] = frame_boxes[k, 2]
            codes[k, 3:6] = frame_boxes[k, 3:6].log()
            codes[k, 6] = torch.cos(frame_boxes[k, 6])
            codes[k, 7] = torch.sin(frame_boxes[k, 6])
        heatmaps.append(heatmap)
        all_codes.append(codes)
    return torch.stack(heatmaps), torch.stack(all_codes)


def draw(heatmap: Tensor, cell: Tensor, radius: int) -> None:
    """Merge one Gaussian into a heatmap."""
    row, column = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    sigma = (2 * radius + 1) / 6
    window = np.exp(-(column * column + row * row) / (2 * sigma * sigma))
    x, y = int(cell[0]), int(cell[1])
    height, width = heatmap.shape
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    part = heatmap[y - top : y + bottom, x - left : x + right]
    cropped = window[radius - top : radius + bottom, radius - left : radius + right]
    torch.max(part, torch.from_numpy(cropped).float(), out=part)


if __name__ == "__main__":
    main()
