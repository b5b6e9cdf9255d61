"""Pillar encoder and scatter on a full-range frame, against the padded form that is published.

Both get the same voxels; the padded form gets them as its ``[pillars, P, features]`` tensor, ready
made. Grouping the points, which either needs, is timed by itself.
"""

import argparse
from collections.abc import Callable

import torch
from _padded_pillars import PaddedPillarEncoder, pad, scatter_frame_by_frame
from _scene import full_range_points
from _timing import compare, interleaved_medians, machine
from torch import Tensor

from kd3d.detectors import CenterPointPillar, create_detector
from kd3d.detectors.pillar_encoder import scatter_pillars

LARGEST_RATIO = 0.5


def main() -> None:
    """Print the times and their ratios, after a check that the results agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="cp_pillar_v064")
    parser.add_argument("--points", type=int, default=160_000)
    parser.add_argument("--repeats", type=int, default=11, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    detector = create_detector(arguments.detector)
    assert isinstance(detector, CenterPointPillar)
    points = full_range_points(arguments.points)
    index = torch.zeros(len(points), dtype=torch.int64)
    voxels = detector.voxelizer(points, index, 1)
    encoder, padded_encoder = detector.vfe, PaddedPillarEncoder(detector.vfe)
    padded = pad(voxels, encoder.max_points)

    def ours() -> Tensor:
        return scatter_pillars(encoder(voxels), voxels, detector.grid.shape)

    def peer() -> Tensor:
        features = padded_encoder(padded, voxels.counts, voxels.coords)
        return scatter_frame_by_frame(features, voxels.coords, 1, detector.grid.shape)

    def backward(forward: Callable[[], Tensor]) -> Callable[[], None]:
        gradient = torch.randn(1, 64, *detector.grid.shape)
        return lambda: forward().backward(gradient)

    check(ours, peer, encoder, padded_encoder)
    encoder.eval(), padded_encoder.eval()
    with torch.no_grad():
        grouping, forward, padded_forward = interleaved_medians(
            [lambda: detector.voxelizer(points, index, 1), ours, peer], arguments.repeats
        )
    encoder.train(), padded_encoder.train()
    step, padded_step = interleaved_medians(
        [backward(ours), backward(peer)], max(arguments.repeats // 2, 3)
    )
    print(machine())
    print(
        f"{arguments.detector}: {len(points)} points, {len(voxels.points)} kept in {len(voxels)} "
        f"pillars; the padded form has {padded.shape[0] * padded.shape[1]} rows"
    )
    print(f"grouping the points into pillars {1e3 * grouping:.2f} ms")
    print(f"{'':44} {'kd3d':>11} {'padded':>13} {'ratio':>8}")
    compare("encoder + scatter, evaluation", forward, padded_forward, LARGEST_RATIO)
    compare("encoder + scatter, training, with backward", step, padded_step, LARGEST_RATIO)


def check(
    ours: Callable[[], Tensor],
    peer: Callable[[], Tensor],
    encoder: torch.nn.Module,
    padded_encoder: torch.nn.Module,
) -> None:
    """Make sure that maps, gradients and running statistics agree."""
    maps, expected = ours(), peer()
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4)
    for output in (maps, expected):
        output.square().mean().backward()
    for own, other in zip(encoder.parameters(), padded_encoder.parameters(), strict=True):
        scale = other.grad.abs().max()
        torch.testing.assert_close(own.grad / scale, other.grad / scale, rtol=1e-3, atol=1e-4)
    for own, other in zip(encoder.buffers(), padded_encoder.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main()
