"""Points to head maps of one full-range frame, against a padded implementation.

The peer does what the published code does: voxels as a ``[pillars, P, features]`` tensor of zeros
filled by slot, the encoder over every slot, the scatter frame by frame, and the 2D network in
PyTorch's default layout. Both group the points by the same voxeliser and give the same maps.
"""

import argparse
import copy

import torch
from _padded_pillars import PaddedPillarEncoder, pad, scatter_frame_by_frame
from _scene import full_range_points
from _timing import interleaved_medians, machine

from kd3d.detectors import CenterPointPillar, create_detector
from kd3d.structures import HeadMaps, PointBatch

LEAST_SPEEDUP = 1.3


def main() -> None:
    """Print frames per second of both and their ratio, after a check that the maps agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="cp_pillar_v064")
    parser.add_argument("--points", type=int, default=160_000)
    parser.add_argument("--repeats", type=int, default=9, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    detector = create_detector(arguments.detector).eval()
    assert isinstance(detector, CenterPointPillar)
    batch = PointBatch.from_points([full_range_points(arguments.points)])
    dense = copy.deepcopy(torch.nn.ModuleList([detector.backbone_2d, detector.dense_head]))
    for parameter in dense.parameters():
        parameter.data = parameter.data.contiguous()
    backbone_2d, dense_head = dense
    padded_encoder = PaddedPillarEncoder(detector.vfe).eval()

    @torch.no_grad()
    def ours() -> HeadMaps:
        maps: HeadMaps = detector(batch)
        return maps

    @torch.no_grad()
    def peer() -> HeadMaps:
        voxels = detector.voxelizer(detector.read_points(batch), batch.batch_index, 1)
        rows = pad(voxels, detector.vfe.max_points)
        features = padded_encoder(rows, voxels.counts, voxels.coords)
        canvas = scatter_frame_by_frame(features, voxels.coords, 1, detector.grid.shape)
        maps: HeadMaps = dense_head(backbone_2d(canvas), detector.grid)
        return maps

    own, expected = ours(), peer()
    for name in ("heatmap", "center", "center_z", "dim", "rot"):
        scale = getattr(expected, name).abs().max()
        torch.testing.assert_close(
            getattr(own, name) / scale, getattr(expected, name) / scale, rtol=0, atol=1e-4
        )
    fast, slow = interleaved_medians([ours, peer], arguments.repeats)
    print(machine())
    print(f"{arguments.detector}, {arguments.points} points, batch 1, evaluation")
    print(f"kd3d {1 / fast:.2f} frames/s, padded {1 / slow:.2f} frames/s")
    print(f"throughput ratio {slow / fast:.2f} (at least {LEAST_SPEEDUP})")


if __name__ == "__main__":
    main()
