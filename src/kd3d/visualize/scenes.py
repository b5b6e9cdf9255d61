"""A frame in three dimensions: points, and boxes by where they come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.structures import Detections
from kd3d.visualize.palette import SOURCE_COLOURS

__all__ = ["BoxSource", "PointColour", "Scene", "point_colours", "sources_of"]

PointColour = Literal["height", "intensity"]

#: Heights (metres, vehicle frame) where the colours of the points begin and end.
_HEIGHTS = (-0.5, 3.5)
_TRUTH = "ground truth"
_CLASSES = ("Vehicle", "Pedestrian", "Cyclist")


@dataclass(frozen=True, slots=True)
class Scene:
    """One frame to look at in three dimensions.

    Args:
        points: ``[N, 3 or more]`` x, y, z (metres, vehicle frame), then the raw intensity, if any.
        found: what detectors found, by the detector's name ("teacher", "student").
        ground_truth: annotated boxes; their scores are not used.
        name: the frame's name.

    Raises:
        InputError: if shapes do not fit.
    """

    points: Tensor | npt.NDArray[np.floating]
    found: Mapping[str, Detections] = field(default_factory=dict)
    ground_truth: Detections | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] < 3:
            raise InputError(
                f"points must be [N, 3 or more], not {tuple(self.points.shape)}.", where="points"
            )
        for name, found in self.found.items():
            if name == _TRUTH:
                raise InputError("is the name of the ground truth.", where=f"found[{name!r}]")
            _check_boxes(name, found)
        if self.ground_truth is not None:
            _check_boxes(_TRUTH, self.ground_truth)

    def cloud(self) -> npt.NDArray[np.float32]:
        """Give the finite points ``[N, F]`` on the host."""
        points = self.points
        values = points.detach().cpu().numpy() if isinstance(points, Tensor) else points
        finite: npt.NDArray[np.float32] = values[np.isfinite(values[:, :3]).all(axis=1)]
        return finite.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Boxes of one source, as viewers take them.

    Args:
        name: where they come from.
        colour: (red, green, blue) of the source, 0 to 255.
        boxes: ``[M, 7]`` float64, metres and radians.
        labels: class name, and score if the source has any, of each box.
        scores: ``[M]``, or None for the ground truth.
    """

    name: str
    colour: tuple[int, int, int]
    boxes: npt.NDArray[np.float64]
    labels: list[str]
    scores: npt.NDArray[np.float64] | None

    def arrows(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give start and end ``[M, 3]`` of arrows from each centre out through the front."""
        forward = np.stack((np.cos(self.boxes[:, 6]), np.sin(self.boxes[:, 6])), axis=1)
        reach = self.boxes[:, 3:4] / 2 + np.clip(self.boxes[:, 3:4] / 4, 0.5, 1.5)
        start = self.boxes[:, :3]
        return start, start + np.concatenate((forward * reach, np.zeros_like(reach)), axis=1)


def sources_of(scene: Scene, classes: Sequence[str] = _CLASSES) -> Iterator[BoxSource]:
    """Yield the sources of a scene's boxes: the ground truth first, if it is known.

    Args:
        scene: the frame.
        classes: names by class id.
    """
    named = [(_TRUTH, scene.ground_truth), *scene.found.items()]
    for order, (name, found) in enumerate(named):
        if found is not None:
            yield _source(name, SOURCE_COLOURS[order % len(SOURCE_COLOURS)], found, classes)


def _source(name: str, colour: str, found: Detections, classes: Sequence[str]) -> BoxSource:
    boxes = found.boxes[:, :7].detach().cpu().double().numpy()
    scores = None if name == _TRUTH else found.scores.detach().cpu().double().numpy()
    labels = [
        classes[label] if 0 <= label < len(classes) else f"class {label}"
        for label in found.labels.tolist()
    ]
    if scores is not None:
        labels = [f"{label} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return BoxSource(name, (red, green, blue), boxes, labels, scores)


def point_colours(
    cloud: npt.NDArray[np.floating], colour: PointColour = "height"
) -> npt.NDArray[np.uint8]:
    """Colour points, from dark violet (low) to yellow (high).

    Args:
        cloud: ``[N, 3 or more]`` x, y, z, then the raw intensity.
        colour: "height" (from -0.5 m to 3.5 m), or "intensity" (its hyperbolic tangent).

    Returns:
        ``[N, 3]`` red, green, blue from 0 to 255.

    Raises:
        ConfigError: if `colour` is unknown.
        InputError: if the points have no intensity.
    """
    from matplotlib import colormaps

    if colour not in get_args(PointColour):
        raise ConfigError(
            f"{colour!r} is not one of {list(get_args(PointColour))}.", where="colour"
        )
    if colour == "height":
        low, high = _HEIGHTS
        values = (cloud[:, 2] - low) / (high - low)
    elif cloud.shape[1] < 4:
        raise InputError(
            "points of three columns have no intensity.",
            where="points",
            hint="Give [N, 4 or more], or colour='height'.",
        )
    else:
        values = np.tanh(cloud[:, 3])
    shades = colormaps["viridis"](np.clip(values, 0, 1), bytes=True)
    return np.ascontiguousarray(shades[:, :3], dtype=np.uint8)


def _check_boxes(name: str, found: Detections) -> None:
    count = len(found.boxes)
    if found.boxes.ndim != 2 or found.boxes.shape[1] < 7:
        raise InputError(f"boxes must be [M, 7], not {tuple(found.boxes.shape)}.", where=name)
    if len(found.labels) != count or len(found.scores) != count:
        raise InputError(
            f"{len(found.labels)} labels and {len(found.scores)} scores for {count} boxes.",
            where=name,
        )
