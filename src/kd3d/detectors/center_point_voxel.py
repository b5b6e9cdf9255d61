"""CenterPoint on voxels."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd3d.detectors.arguments import (
    complete_width,
    count_layers,
    divisible_grid,
    limit_around,
    plain_branches,
    plain_depth,
    plain_numbers,
    plain_sizes,
    plain_threshold,
    scale_channels,
)
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.center_head import BOX_BRANCHES, CenterHead
from kd3d.detectors.center_point import CenterPoint
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.map_to_bev import HeightCompression
from kd3d.detectors.mean_encoder import MeanEncoder
from kd3d.detectors.sparse import Engine, SparseTensor
from kd3d.detectors.voxel_backbone import BEV_STRIDE, VoxelBackbone, fewest_cells, output_shape
from kd3d.detectors.voxelize import Voxelizer

__all__ = ["CenterPointVoxel"]

PARTS = ("backbone_3d", "backbone_2d", "head")
STAGE_FILTERS = (16, 32, 64, 128)
VOLUME_FILTERS = 128
BLOCK_FILTERS = (128, 256)
BLOCK_STRIDES = (1, 2)
BRANCH_FILTERS = (256, 256)
BRANCH_STRIDES = (1, 2)
HEAD_CHANNELS = 64
CENTER_LIMIT = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
SPARE_LAYERS = 1  # the published networks add an empty layer on top of the grid


class CenterPointVoxel(CenterPoint):
    """CenterPoint on voxels (CP-Voxel).

    Its maps are eight times coarser than its voxels along x and y.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres; along x and y a
            whole number of 16 voxels, along z of at least 24.
        voxel_size: (x, y, z) size of a voxel in metres.
        max_points: points kept per voxel.
        max_voxels: voxels kept per frame.
        classes: names of the classes.
        point_features: features per point, x, y, z included.
        intensity: "tanh" squashes the fourth feature, "as_is" leaves it.
        width: factors of the channel counts of "backbone_3d", "backbone_2d" and "head".
        depth: convolutions per block of the 2D backbone after its first one.
        depth_3d: residual blocks per stage of the 3D backbone.
        engine: sparse convolutions of "torch", of "spconv", or whichever is right and fast on the
            device ("auto"), see `kd3d.detectors.sparse`.
        extra_branches: further regression branches, name to channels; they learn the box columns
            after the seventh, in this order.
        norm_momentum: how fast running statistics of the backbones' norms follow the batches; runs
            of under about a thousand steps want 0.1.
        center_limit: (x, y, z, x, y, z) limits of a detected centre in metres; by default
            ±75.2 m and -2 to 4 m, or the range where it is larger.
        score_threshold: a detection scores higher than this.
        nms: which detections suppress each other: "class_agnostic" (the paper's), "per_class", or
            "circle" (by distance of centres).
        nms_threshold: bird's-eye-view overlap above which the lower of two detections goes, for
            "per_class" also one number for each class; "circle": metres.
        name: the name the detector goes by.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        voxel_size: Sequence[float],
        max_points: int = 5,
        max_voxels: int = 150_000,
        classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
        point_features: int = 5,
        intensity: str = "tanh",
        width: Mapping[str, float] | None = None,
        depth: Sequence[int] = (5, 5),
        depth_3d: Sequence[int] = (2, 2, 2, 2),
        engine: Engine = "auto",
        extra_branches: Mapping[str, int] | None = None,
        norm_momentum: float = 0.01,
        center_limit: Sequence[float] | None = None,
        score_threshold: float = 0.1,
        nms: Suppression = "class_agnostic",
        nms_threshold: Threshold = 0.7,
        name: str = "cp_voxel",
    ) -> None:
        bounds = plain_numbers(point_cloud_range, 6, "point_cloud_range")
        voxel = plain_sizes(voxel_size, 3, "voxel_size")
        factors = complete_width(width, PARTS)
        layers = plain_depth(depth, len(BLOCK_FILTERS))
        blocks_3d = plain_depth(depth_3d, len(STAGE_FILTERS), "depth_3d")
        branches = plain_branches(extra_branches, [*BOX_BRANCHES, "heatmap"])
        limit = None if center_limit is None else plain_numbers(center_limit, 6, "center_limit")
        super().__init__(
            name=name,
            arguments={
                "point_cloud_range": bounds,
                "voxel_size": voxel,
                "max_points": int(max_points),
                "max_voxels": int(max_voxels),
                "classes": tuple(str(one) for one in classes),
                "point_features": int(point_features),
                "intensity": str(intensity),
                "width": factors,
                "depth": layers,
                "depth_3d": blocks_3d,
                "engine": str(engine),
                "extra_branches": branches,
                "norm_momentum": float(norm_momentum),
                "center_limit": limit,
                "score_threshold": float(score_threshold),
                "nms": str(nms),
                "nms_threshold": plain_threshold(nms_threshold),
            },
            classes=classes,
            point_cloud_range=bounds,
            grid=divisible_grid(
                bounds, voxel, divisor=BEV_STRIDE * max(BRANCH_STRIDES), stride=BEV_STRIDE
            ),
            point_features=point_features,
            intensity=intensity,
            center_limit=limit or limit_around(bounds, CENTER_LIMIT),
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        cells = count_layers(bounds, voxel, fewest=fewest_cells() - SPARE_LAYERS)
        *stages, volume = scale_channels(
            (*STAGE_FILTERS, VOLUME_FILTERS), factors["backbone_3d"], "backbone_3d"
        )
        blocks = scale_channels(BLOCK_FILTERS, factors["backbone_2d"], "backbone_2d")
        upsampled = scale_channels(BRANCH_FILTERS, factors["backbone_2d"], "backbone_2d")
        (head,) = scale_channels((HEAD_CHANNELS,), factors["head"], "head")

        self.voxelizer = Voxelizer(bounds, voxel, max_points, max_voxels)
        x_cells, y_cells, _ = self.voxelizer.grid_size
        self.sparse_shape = (cells + SPARE_LAYERS, y_cells, x_cells)
        self.vfe = MeanEncoder()
        self.backbone_3d = VoxelBackbone(point_features, stages, volume, blocks_3d, engine)
        self.map_to_bev = HeightCompression()
        self.backbone_2d = BEVBackbone(
            volume * output_shape(self.sparse_shape)[0],
            layers,
            BLOCK_STRIDES,
            blocks,
            BRANCH_STRIDES,
            upsampled,
        )
        self.dense_head = CenterHead(self.backbone_2d.out_channels, head, len(classes), branches)

        for module in (*self.backbone_3d.modules(), *self.backbone_2d.modules()):
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = norm_momentum

    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into the map ``[B, C, H, W]`` of voxel features, layers among channels."""
        voxels = self.voxelizer(points, batch_index, num_frames)
        volume = SparseTensor(self.vfe(voxels), voxels.coords, self.sparse_shape, num_frames)
        features: Tensor = self.map_to_bev(self.backbone_3d(volume))
        return features
