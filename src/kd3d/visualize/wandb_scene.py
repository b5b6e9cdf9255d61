"""Scenes as Weights & Biases shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kd3d.errors import ConfigError
from kd3d.geometry import corners_3d
from kd3d.visualize.scenes import BoxSource, Scene, point_colours, sources_of

__all__ = ["wandb_scene"]

#: Corners of `corners_3d` in the order of ``wandb.box3d``: the rear before the front, there the
#: right before the left, there the bottom before the top.
_CORNERS = [2, 6, 1, 5, 3, 7, 0, 4]


def wandb_scene(
    scene: Scene,
    *,
    classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
    max_points: int = 40_000,
) -> Any:  # noqa: ANN401 - of an extra
    """Make a ``wandb.Object3D`` of a frame: log it like any value. Needs the extra ``wandb``.

    Points are coloured by height. Boxes have the colour of their source, which their label names
    before class and score, and an arrow out of their front.

    Args:
        scene: the frame.
        classes: names by class id.
        max_points: larger clouds are thinned evenly; what is logged is sent as text.

    Raises:
        ConfigError: if `wandb` is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "scenes for Weights & Biases need the package wandb.",
            where="wandb_scene",
            hint="Install it: pip install 'kd3d[wandb]'.",
        ) from error
    cloud = scene.cloud()
    cloud = cloud[:: max(1, -(-len(cloud) // max_points))]
    places = np.round(cloud[:, :3].astype(np.float64), 3)  # millimetres: short text
    sources = list(sources_of(scene, classes))
    kind: Any = wandb.Object3D  # its types ask for tuples, number by number
    return kind.from_point_cloud(
        points=np.concatenate((places, point_colours(cloud)), axis=1),
        boxes=[box for source in sources for box in _boxes(source)],
        vectors=[arrow for source in sources for arrow in _arrows(source)],
    )


def _boxes(source: BoxSource) -> list[dict[str, Any]]:
    corners = corners_3d(torch.from_numpy(source.boxes))[:, _CORNERS].numpy()
    scores = [None] * len(corners) if source.scores is None else source.scores.tolist()
    return [
        {
            "corners": np.round(corner, 3).tolist(),
            "label": f"{source.name}: {label}",
            "color": [part / 255 for part in source.colour],
            "score": score,
        }
        for corner, label, score in zip(corners, source.labels, scores, strict=True)
    ]


def _arrows(source: BoxSource) -> list[dict[str, Any]]:
    ends = (np.round(end, 3).tolist() for end in source.arrows())
    return [{"start": start, "end": end} for start, end in zip(*ends, strict=True)]
