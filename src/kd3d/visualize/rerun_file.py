"""Scenes as a recording for the Rerun viewer."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.errors import ConfigError, InputError, OutputError
from kd3d.files import whole_file
from kd3d.visualize.scenes import BoxSource, PointColour, Scene, point_colours, sources_of

__all__ = ["save_scene"]

_POINT_RADIUS = 0.03  # metres


def save_scene(
    path: str | os.PathLike[str],
    scenes: Scene | Sequence[Scene],
    *,
    classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
    colour: PointColour = "height",
) -> Path:
    """Save frames as an ``.rrd`` file; ``rerun FILE`` shows it.

    The frames follow each other on the timeline ``frame``. Points lie at ``points``; the boxes of
    each source at ``boxes/<source>``, in the source's colour, with class names and scores, and an
    arrow out of their front at ``boxes/<source>/heading``. Needs the extra ``viz``.

    Args:
        path: a file that ends in ``.rrd``.
        scenes: one frame, or several in order.
        classes: names by class id.
        colour: what the points are coloured by.

    Returns:
        the path.

    Raises:
        ConfigError: if `rerun` is not installed, or `colour` is unknown.
        InputError: if there is no frame, or points have no intensity to be coloured by.
        OutputError: if the file cannot be written, or does not end in ``.rrd``.

    Example:
        >>> scene = Scene(points, {"student": found}, ground_truth=truth)  # doctest: +SKIP
        >>> save_scene("frame.rrd", scene)  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".rrd":
        raise OutputError("is not the name of a Rerun recording.", where=str(path), hint="*.rrd")
    frames = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if not frames:
        raise InputError("there is no frame to save.", where="scenes")
    rerun = _rerun()
    clouds = [scene.cloud() for scene in frames]
    colours = [point_colours(cloud, colour) for cloud in clouds]
    with whole_file(path) as temporary:
        recording = rerun.RecordingStream("kd3d", recording_id=uuid.uuid4())
        recording.save(temporary)
        recording.log("/", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for order, (scene, cloud, shades) in enumerate(zip(frames, clouds, colours, strict=True)):
            recording.set_time("frame", sequence=order)
            recording.log("name", rerun.TextDocument(scene.name))
            recording.log(
                "points", rerun.Points3D(cloud[:, :3], colors=shades, radii=_POINT_RADIUS)
            )
            for source in _every_source(frames, order, classes):
                _log_boxes(rerun, recording, source)
        recording.disconnect()
    return path


def _log_boxes(rerun: Any, recording: Any, source: BoxSource) -> None:  # noqa: ANN401 - an extra
    half = source.boxes[:, 6] / 2
    none = np.zeros_like(half)
    place = rerun.new_entity_path(["boxes", source.name])
    boxes = rerun.Boxes3D(
        centers=source.boxes[:, :3],
        half_sizes=source.boxes[:, 3:6] / 2,
        quaternions=np.stack((none, none, np.sin(half), np.cos(half)), axis=1),  # x, y, z, w
        colors=[source.colour] * len(half),
        labels=source.labels,
        show_labels=len(half) <= 30,  # more would cover the points; selected boxes still show it
    )
    recording.log(place, boxes)
    start, end = source.arrows()
    arrows = rerun.Arrows3D(
        origins=start, vectors=end - start, colors=[source.colour] * len(half), radii=0.04
    )
    recording.log(rerun.new_entity_path(["boxes", source.name, "heading"]), arrows)


def _every_source(
    frames: Sequence[Scene], order: int, classes: Sequence[str]
) -> Sequence[BoxSource]:
    """Give the boxes of a frame, and no boxes for other frames' sources: theirs would stay."""
    here = {source.name: source for source in sources_of(frames[order], classes)}
    for scene in frames:
        for other in sources_of(scene, classes):
            empty = BoxSource(other.name, other.colour, np.zeros((0, 7)), [], None)
            here.setdefault(other.name, empty)
    return list(here.values())


def _rerun() -> Any:  # noqa: ANN401 - an extra, imported when it is needed
    try:
        import rerun
    except ImportError as error:
        raise ConfigError(
            "recordings for Rerun need the package rerun-sdk.",
            where="save_scene",
            hint="Install it: pip install 'kd3d[viz]'.",
        ) from error
    return rerun
