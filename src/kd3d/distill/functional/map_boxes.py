"""Reading boxes from head maps, wherever they are wanted."""

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.residuals import exp_of_size
from kd3d.structures import HeadMaps

__all__ = ["boxes_at", "highest_boxes"]


@torch.no_grad()
def boxes_at(maps: HeadMaps, cells: Tensor) -> Tensor:
    """Decode the boxes that maps predict at given cells.

    Args:
        maps: a batch of raw maps, any floating dtype.
        cells: ``[B, K]`` int64, ``row * width + column``.

    Returns:
        ``[B, K, 7]`` float32 (x, y, z, length, width, height, heading), metres and radians.
    """

    def read(branch: Tensor) -> Tensor:
        wanted = cells[:, None].expand(-1, branch.shape[1], -1)
        return branch.flatten(2).gather(2, wanted).transpose(1, 2).float()

    corner = torch.stack((cells % maps.grid.width, cells // maps.grid.width), dim=-1)
    heading = read(maps.rot)
    return torch.cat(
        (
            maps.grid.to_metres(corner + read(maps.center)),
            read(maps.center_z),
            exp_of_size(read(maps.dim)),
            torch.atan2(heading[..., 1:], heading[..., :1]),
        ),
        dim=-1,
    )


@torch.no_grad()
def highest_boxes(maps: HeadMaps, most: int, score_threshold: float) -> tuple[Tensor, Tensor]:
    """Decode the boxes at the highest cells of the heatmap, without suppression of overlaps.

    Nothing waits for the device.

    Args:
        maps: a batch of raw maps, any floating dtype.
        most: boxes per frame.
        score_threshold: a box must score more.

    Returns:
        Boxes ``[B, K, 7]`` float32 in falling order of score, K being `most` or the number of
        (class, cell) pairs if that is less, and class ids ``[B, K]`` int64, -1 where the score is
        not above the threshold.

    Raises:
        ConfigError: if `most` is less than one.
    """
    if most < 1:
        raise ConfigError(f"at least one box, not {most}.", where="most")
    scores = maps.heatmap.detach().float().sigmoid().flatten(1)
    scores, found = scores.topk(min(most, scores.shape[1]), dim=1)
    cells = maps.grid.width * maps.grid.height
    labels = torch.where(scores > score_threshold, found // cells, -1)
    return boxes_at(maps, found % cells), labels
