"""`FrameObjects` as the official metric's ``Objects`` files."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from kd3d.errors import InputError, RecordError
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects, split_frame_id
from kd3d.predictions.rows import from_rows
from kd3d.waymo import iterate_objects, object_name, schema, write_objects

__all__ = ["read_official", "write_official"]

_BOX = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")


def read_official(path: str | os.PathLike[str], *, scattered: bool = False) -> FrameObjects:
    """Read a ``.bin`` file; arguments and errors as for `kd3d.predictions.load_objects`.

    A column that no object has is None; one that some have is 0 for the others, as everywhere in
    this format. Point counts of -1 and below are 0. Names of objects and cameras are not kept.
    """
    keys: list[str] = []
    boxes: list[tuple[float, ...]] = []
    integers: list[tuple[int, ...]] = []
    scores: list[float] = []
    present = [False] * 4  # score, overlap, difficulty, points
    for number, message in enumerate(iterate_objects(path)):
        label = message.object
        keys.append(f"{_context(message, path, number)}/{message.frame_timestamp_micros}")
        boxes.append(tuple(getattr(label.box, name) for name in _BOX))
        scores.append(message.score)
        integers.append(
            (
                label.type,
                message.overlap_with_nlz,
                label.detection_difficulty_level,
                max(label.num_lidar_points_in_box, 0),
            )
        )
        present = [
            present[0] or message.HasField("score"),
            present[1] or message.HasField("overlap_with_nlz"),
            present[2] or label.HasField("detection_difficulty_level"),
            present[3] or label.HasField("num_lidar_points_in_box"),
        ]
    whole = np.array(integers, np.int64).reshape(-1, 4)
    columns = {
        "boxes": np.array(boxes, np.float64).reshape(-1, 7),
        "types": whole[:, 0],
    }
    optional = {
        "scores": np.array(scores, np.float32),
        "overlaps_nlz": whole[:, 1] != 0,
        "difficulty": whole[:, 2],
        "num_points": whole[:, 3],
    }
    for (name, values), known in zip(optional.items(), present, strict=True):
        if known:
            columns[name] = values
    return from_rows(path, keys, columns, scattered=scattered)


def write_official(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write a ``.bin`` file that the official metric reads.

    Raises:
        InputError: if a frame or a class is not Waymo's.
        OutputError: if the file cannot be written.
    """
    write_objects(path, _messages(objects))


def _types(objects: FrameObjects) -> list[int]:
    types = objects.class_ids(WAYMO_TYPE_NAMES)
    others = sorted({objects.type_names[kind] for kind in objects.types[types < 0].tolist()})
    if others:
        raise InputError(
            f"a .bin file has Waymo's classes only, not {', '.join(others)}.",
            where="types",
            hint="Write a .parquet or .npz file, which hold any class.",
        )
    return list(types.tolist())


def _context(message: schema.Object, path: str | os.PathLike[str], number: int) -> str:
    try:
        return message.context_name.decode()
    except UnicodeDecodeError as error:
        raise RecordError(
            f"the context name is no text ({error}).",
            where=object_name(path, number),
            hint="Write the file again.",
        ) from error


def _messages(objects: FrameObjects) -> Iterator[schema.Object]:
    frames = [split_frame_id(frame_id) for frame_id in objects.frame_ids]
    frames_bytes = [(context.encode(), time) for context, time in frames]
    columns: dict[str, list[Any]] = {
        name: values.tolist() for name, values in objects.columns().items()
    }
    unknown = [None] * len(objects)
    for frame, box, kind, score, overlap, difficulty, points in zip(
        objects.frame.tolist(),
        columns["boxes"],
        _types(objects),
        *(
            columns.get(name, unknown)
            for name in ("scores", "overlaps_nlz", "difficulty", "num_points")
        ),
        strict=True,
    ):
        context, time = frames_bytes[frame]
        yield schema.Object(
            object=schema.Label(
                box=schema.Label.Box(**dict(zip(_BOX, box, strict=True))),
                type=kind,
                detection_difficulty_level=difficulty,
                num_lidar_points_in_box=None if points == -1 else points,
            ),
            score=score,
            overlap_with_nlz=overlap,
            context_name=context,
            frame_timestamp_micros=time,
        )
