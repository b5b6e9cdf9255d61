"""Small networks for tests of weight inheritance, and batches for them."""

import torch
from torch import Tensor, nn

from kd3d.detectors import Detector, create_detector
from kd3d.structures import AnchorMaps, PointBatch

RANGE = (-6.4, -6.4, -2.0, 6.4, 6.4, 4.0)


def voxels(backbone_3d=0.5, backbone_2d=0.125, head=0.25, *, size=(0.4, 0.4, 0.15), **changes):
    width = {"backbone_3d": backbone_3d, "backbone_2d": backbone_2d, "head": head}
    settings = {
        "point_cloud_range": RANGE,
        "voxel_size": size,
        "width": width,
        "depth": (1, 1),
        "depth_3d": (1, 1, 1, 1),
    }
    return create_detector("cp_voxel", **{**settings, **changes})


def pillars(encoder=0.5, backbone_2d=0.25, head=0.25, *, cell=0.4, **changes):
    width = {"encoder": encoder, "backbone_2d": backbone_2d, "head": head}
    settings = {
        "point_cloud_range": RANGE,
        "cell_size": (cell, cell),
        "width": width,
        "depth": (1, 1, 1),
    }
    return create_detector("cp_pillar", **{**settings, **changes})


def second(backbone_3d=0.5, backbone_2d=0.125):
    return create_detector(
        "second",
        point_cloud_range=RANGE,
        voxel_size=(0.4, 0.4, 0.15),
        width={"backbone_3d": backbone_3d, "backbone_2d": backbone_2d},
        depth=(1, 1),
    )


def pointpillar(encoder=0.5, backbone_2d=0.25):
    return create_detector(
        "pointpillar",
        point_cloud_range=RANGE,
        cell_size=(0.4, 0.4),
        width={"encoder": encoder, "backbone_2d": backbone_2d},
        depth=(1, 1, 1),
    )


def make_points(seed: int = 0) -> PointBatch:
    random = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([*RANGE[:3], 0, 0]), torch.tensor([*RANGE[3:], 1, 1])
    frames = [low + torch.rand(count, 5, generator=random) * (high - low) for count in (400, 150)]
    return PointBatch.from_points(frames)


@torch.no_grad()
def maps_of(detector: Detector) -> Tensor:
    """All head maps of a fixed batch in eval mode, ``[B, C, H, W]``."""
    maps = detector.eval()(make_points())
    if isinstance(maps, AnchorMaps):
        return torch.cat((maps.score, maps.box, maps.direction), dim=1)
    return torch.cat((maps.heatmap, maps.center, maps.center_z, maps.dim, maps.rot), dim=1)


@torch.no_grad()
def randomise(network: nn.Module, seed: int) -> None:
    """Give norms and biases values that a trained network could have."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            sign = torch.randint(0, 2, module.weight.shape, generator=random) * 2.0 - 1
            module.weight.copy_(sign * module.weight.uniform_(0.5, 1.5, generator=random))
            module.bias.normal_(0, 0.3, generator=random)
        elif getattr(module, "bias", None) is not None:
            module.bias.normal_(0, 0.3, generator=random)


@torch.no_grad()
def calibrate(network: nn.Module) -> None:
    """Set running statistics to those of a batch, so that every layer is heard."""
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(make_points())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class StateOnly(nn.Module):
    """A network of which nothing but its tensors is known."""

    def __init__(self, shapes: dict[str, list[int]], seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.tensors = {name: torch.rand(shape, generator=random) for name, shape in shapes.items()}

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:  # type: ignore[override]
        return dict(self.tensors)
