"""Anchors: boxes of usual sizes at every cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = [
    "HEADINGS",
    "KITTI_ANCHORS",
    "WAYMO_ANCHORS",
    "AnchorClass",
    "anchor_places",
    "lay_anchors",
    "plain_anchors",
]

HEADINGS = (0.0, 1.57)
"""Headings of the anchors of every class, radians (the published networks round pi / 2)."""


@dataclass(frozen=True, slots=True)
class AnchorClass:
    """The anchors of one class.

    Args:
        size: (length, width, height) in metres.
        bottom: z of their lower face, metres.
        matched: overlap from which an anchor is positive.
        unmatched: overlap below which it is background; between the two it is left out.
    """

    size: tuple[float, float, float]
    bottom: float
    matched: float
    unmatched: float


#: The anchors of OpenPCDet's networks on Waymo.
WAYMO_ANCHORS: dict[str, dict[str, Any]] = {
    "Vehicle": {"size": (4.7, 2.1, 1.7), "bottom": 0.0, "matched": 0.55, "unmatched": 0.4},
    "Pedestrian": {"size": (0.91, 0.86, 1.73), "bottom": 0.0, "matched": 0.5, "unmatched": 0.35},
    "Cyclist": {"size": (1.78, 0.84, 1.78), "bottom": 0.0, "matched": 0.5, "unmatched": 0.35},
}

#: The anchors of OpenPCDet's networks on KITTI, whose sensor is 1.73 m above the ground.
KITTI_ANCHORS: dict[str, dict[str, Any]] = {
    "Car": {"size": (3.9, 1.6, 1.56), "bottom": -1.78, "matched": 0.6, "unmatched": 0.45},
    "Pedestrian": {"size": (0.8, 0.6, 1.73), "bottom": -0.6, "matched": 0.5, "unmatched": 0.35},
    "Cyclist": {"size": (1.76, 0.6, 1.73), "bottom": -0.6, "matched": 0.5, "unmatched": 0.35},
}


def plain_anchors(
    anchors: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
) -> tuple[AnchorClass, ...]:
    """Give the anchors of each class in the order of the classes.

    Args:
        anchors: per class name what `AnchorClass` takes.
        classes: names of the classes.

    Raises:
        ConfigError: if a class has none, or they cannot work.
    """
    missing = [name for name in classes if name not in anchors]
    if missing:
        raise ConfigError(
            f"there are no anchors for {', '.join(missing)}.",
            where="anchors",
            hint="Give each class its size, bottom, matched and unmatched.",
        )
    return tuple(_plain(anchors[name], f"anchors.{name}") for name in classes)


def _plain(given: Mapping[str, Any], where: str) -> AnchorClass:
    try:
        length, width, height = (float(value) for value in given["size"])
        bottom, matched, unmatched = (
            float(given[key]) for key in ("bottom", "matched", "unmatched")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{dict(given)} is not size (length, width, height), bottom, matched and unmatched.",
            where=where,
        ) from error
    if min(length, width, height) <= 0:
        raise ConfigError(f"sizes must be positive, not {list(given['size'])}.", where=where)
    if not 0 < unmatched <= matched <= 1:
        raise ConfigError(
            f"needs 0 < unmatched <= matched <= 1, not {unmatched:g} and {matched:g}.", where=where
        )
    return AnchorClass((length, width, height), bottom, matched, unmatched)


def anchor_places(grid: BEVGrid, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """Give the anchors' x ``[W]`` and y ``[H]`` over a grid in metres, as OpenPCDet lays them.

    They do not stand on the cells' centres: along each axis the first stands on the lower border of
    the range and the last on the upper one.
    """
    x_max, y_max = grid.x_min + grid.width * grid.cell_x, grid.y_min + grid.height * grid.cell_y
    return (
        torch.linspace(grid.x_min, x_max, grid.width, device=device),
        torch.linspace(grid.y_min, y_max, grid.height, device=device),
    )


def lay_anchors(classes: Sequence[AnchorClass], grid: BEVGrid) -> Tensor:
    """Lay anchors over a grid.

    Returns:
        ``[H, W, A, 7]`` float32 boxes, A = classes times headings, headings fastest.
    """
    x, y = anchor_places(grid)
    each = torch.tensor(
        [
            (one.bottom + one.size[2] / 2, *one.size, heading)
            for one in classes
            for heading in HEADINGS
        ]
    )
    anchors = torch.empty(grid.height, grid.width, len(each), 7)
    anchors[..., 0] = x[None, :, None]
    anchors[..., 1] = y[:, None, None]
    anchors[..., 2:] = each
    return anchors
