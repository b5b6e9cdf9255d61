"""The layers of CenterPoint and anchor networks, read from the names of their tensors.

kd3d's detectors and OpenPCDet's share these names, so either can be described, and nothing of a
network but its state dict is needed. What has other names is left to the caller.
"""

import re
from collections.abc import Iterator

from kd3d.distill.inherit.channels import Axis, Layer, Run, Shapes

__all__ = ["centerpoint_layers"]

ANCHOR_BRANCHES = ("conv_cls", "conv_box", "conv_dir_cls")
SPARSE_INPUTS = 4  # weights of sparse convolutions are [out, z, y, x, in]


def centerpoint_layers(shapes: Shapes) -> list[Layer]:
    """Find the layers of a network with the names of kd3d's detectors, in the order of the data.

    Args:
        shapes: the network's tensors.
    """
    pillars, pillar_features = _pillar_encoder(shapes)
    voxels, voxel_features = _backbone_3d(shapes)
    backbone, branches = _backbone_2d(shapes, _stacked(shapes, voxel_features) or pillar_features)
    return [*pillars, *voxels, *backbone, *_head(shapes, branches)]


def _pillar_encoder(shapes: Shapes) -> tuple[list[Layer], Axis]:
    layers: list[Layer] = []
    reads: Axis = ()
    for i in _numbers(shapes, r"vfe\.pfn_layers\.(\d+)\.linear\.weight"):
        path = f"vfe.pfn_layers.{i}"
        layers.append(Layer(f"{path}.linear.weight", reads, (Run(path),), f"{path}.norm"))
        reads = (Run(path), Run(path))  # each point's features beside their maximum
    return layers, reads[:1]


def _backbone_3d(shapes: Shapes) -> tuple[list[Layer], Axis]:
    layers: list[Layer] = []
    reads: Axis = ()
    for path in _units_3d(shapes):
        if f"{path}.0.weight" in shapes:
            writes = (Run(path),)
            layers.append(_sparse(f"{path}.0.weight", reads, writes, f"{path}.1"))
            reads = writes
        elif f"{path}.conv1.weight" in shapes:
            inner = (Run(f"{path}.conv1"),)
            layers.append(_sparse(f"{path}.conv1.weight", reads, inner, f"{path}.bn1"))
            # the block's output is added to its input: the same channels
            layers.append(_sparse(f"{path}.conv2.weight", inner, reads, f"{path}.bn2"))
    return layers, reads


def _units_3d(shapes: Shapes) -> Iterator[str]:
    """Name the convolutions and residual blocks of the 3D backbone, if there is one."""
    yield "backbone_3d.conv_input"
    for stage in _numbers(shapes, r"backbone_3d\.conv(\d+)\..*"):
        for i in _numbers(shapes, rf"backbone_3d\.conv{stage}\.(\d+)\..*"):
            yield f"backbone_3d.conv{stage}.{i}"
    yield "backbone_3d.conv_out"


def _sparse(weight: str, reads: Axis, writes: Axis, norm: str) -> Layer:
    return Layer(weight, reads, writes, norm, inputs=SPARSE_INPUTS)


def _stacked(shapes: Shapes, features: Axis) -> Axis:
    """Give the channels of the map that a volume is stacked into: its layers lie innermost."""
    volume = shapes.get("backbone_3d.conv_out.0.weight")
    stacked = shapes.get("backbone_2d.blocks.0.1.weight")
    if not features or volume is None or stacked is None:
        return features
    return (Run(features[0].group, depths=stacked[1] // volume[0]),)


def _backbone_2d(shapes: Shapes, reads: Axis) -> tuple[list[Layer], Axis]:
    layers: list[Layer] = []
    branches: list[Layer] = []
    reads = reads or (Run("backbone_2d.input"),)
    for block in _numbers(shapes, r"backbone_2d\.blocks\.(\d+)\..*"):
        for i in _numbers(shapes, rf"backbone_2d\.blocks\.{block}\.(\d+)\.weight"):
            path = f"backbone_2d.blocks.{block}.{i}"
            if len(shapes[f"{path}.weight"]) != 4:  # a norm
                continue
            norm = f"backbone_2d.blocks.{block}.{i + 1}"
            layers.append(Layer(f"{path}.weight", reads, (Run(path),), norm))
            reads = layers[-1].writes
        branch = f"backbone_2d.deblocks.{block}"
        if f"{branch}.0.weight" in shapes:
            # transposed convolutions count inputs first
            upsampling = Layer(
                f"{branch}.0.weight", reads, (Run(branch),), f"{branch}.1", inputs=0, outputs=1
            )
            branches.append(upsampling)
    concatenated = tuple(run for branch in branches for run in branch.writes)
    return [*layers, *branches], concatenated


def _head(shapes: Shapes, reads: Axis) -> list[Layer]:
    reads = reads or (Run("dense_head.input"),)
    path = "dense_head.shared_conv"
    if f"{path}.0.weight" not in shapes:
        weights = [f"dense_head.{name}.weight" for name in ANCHOR_BRANCHES]
        return [Layer(weight, reads, ()) for weight in weights if weight in shapes]
    shared = Layer(f"{path}.0.weight", reads, (Run(path),), f"{path}.1")
    pattern = re.compile(r"(dense_head\.(?:branches|heads_list\.\d+)\.[^.]+)\.")
    branches = dict.fromkeys(match[1] for match in map(pattern.match, shapes) if match)
    return [shared, *(layer for one in branches for layer in _branch(shapes, one, shared.writes))]


def _branch(shapes: Shapes, path: str, reads: Axis) -> Iterator[Layer]:
    for i in _numbers(shapes, rf"{re.escape(path)}\.(\d+)\..*"):
        if f"{path}.{i}.weight" in shapes:  # the last one: its outputs are a map's
            yield Layer(f"{path}.{i}.weight", reads, ())
        else:
            writes = (Run(f"{path}.{i}"),)
            yield Layer(f"{path}.{i}.0.weight", reads, writes, f"{path}.{i}.1")
            reads = writes


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """Give the distinct numbers in names that match a pattern, ascending."""
    found = map(re.compile(pattern).fullmatch, shapes)
    return sorted({int(match[1]) for match in found if match})
