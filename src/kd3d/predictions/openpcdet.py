"""Results of OpenPCDet, and of the frameworks that grew from it, as `FrameObjects`.

OpenPCDet keeps its detections as a pickled list with one dictionary per frame (``result.pkl``). A
pickle may run code when it is read, so kd3d never opens one. Where the file is trusted, its list
can be passed to `from_openpcdet`; or a few lines of numpy, run where it was made, turn it into a
plain ``.npz`` file for `read_openpcdet`:

    import pickle
    import numpy as np

    with open("result.pkl", "rb") as file:
        frames = pickle.load(file)
    np.savez(
        "result.npz",
        context_name=[frame["metadata"]["context_name"] for frame in frames],
        timestamp_micros=[frame["metadata"]["timestamp_micros"] for frame in frames],
        count=[len(frame["score"]) for frame in frames],
        name=np.concatenate([frame["name"] for frame in frames]).astype(str),
        score=np.concatenate([frame["score"] for frame in frames]),
        boxes_lidar=np.concatenate([frame["boxes_lidar"] for frame in frames]),
    )

Its boxes are kd3d's already: (x, y, z of the centre, length, width, height, heading), metres and
radians, in the vehicle frame. Further columns are left out. Results on another dataset than Waymo
have a ``frame_id`` instead of ``metadata``; put it instead of the first two columns, and the names
of all classes as ``classes``. `write_openpcdet` writes such files, of any classes, too.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import DatasetError, InputError, RecordError
from kd3d.files import whole_file
from kd3d.predictions.builder import ObjectsBuilder
from kd3d.predictions.frame_objects import (
    WAYMO_TYPE_NAMES,
    FrameObjects,
    split_frame_id,
    type_names_of,
)

__all__ = ["from_openpcdet", "read_openpcdet", "write_openpcdet"]

_COLUMNS = ("count", "name", "score", "boxes_lidar")
_WAYMO_FRAME = ("context_name", "timestamp_micros")
_WAYMO_CLASSES = tuple(name for name in WAYMO_TYPE_NAMES if name)


def from_openpcdet(
    results: Sequence[Mapping[str, Any]],
    class_names: Mapping[str, str] | None = None,
    classes: Sequence[str] = _WAYMO_CLASSES,
) -> FrameObjects:
    """Take the list of a ``result.pkl`` over.

    Args:
        results: per frame a dictionary with ``name`` ``[K]``, ``score`` ``[K]``, ``boxes_lidar``
            ``[K, 7 or more]``, and ``metadata`` with ``context_name`` and ``timestamp_micros``, or
            else ``frame_id``.
        class_names: what its names are called among `classes`, ``{"Car": "Vehicle"}`` for example;
            names that are the same may be left out.
        classes: names of the classes, Waymo's by default.

    Returns:
        The boxes with their scores; frames without boxes are there too.

    Raises:
        InputError: if a frame lacks a key or is there twice, a name is unknown, or a value is not
            legal.
    """
    builder = ObjectsBuilder(type_names_of(classes))
    for number, result in enumerate(results):
        where = f"result {number}"
        _add(
            builder,
            _frame_id(result, where),
            np.asarray(_get(result, "name", where)),
            np.asarray(_get(result, "score", where), np.float32),
            np.asarray(_get(result, "boxes_lidar", where), np.float64),
            _types(classes, class_names),
        )
    return builder.build()


def read_openpcdet(
    path: str | os.PathLike[str],
    class_names: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
) -> FrameObjects:
    """Read a ``.npz`` file that the lines above, or `write_openpcdet`, have made.

    Args:
        path: the file.
        class_names: as of `from_openpcdet`.
        classes: names of the classes; by default those in the file, or Waymo's if it has none.

    Raises:
        DatasetError: if there is no such file.
        RecordError: if it is no such file, or holds pickled objects.
        InputError: as `from_openpcdet`.
    """
    columns = _read_columns(Path(path))
    counts = columns["count"].astype(np.int64)
    frame_ids = _frame_ids(columns)
    boxes = len(columns["score"])
    if len(counts) != len(frame_ids) or int(counts.sum()) != boxes or (counts < 0).any():
        raise RecordError(
            f"its counts say {int(counts.sum())} boxes in {len(counts)} frames, but there are "
            f"{boxes} in {len(frame_ids)}.",
            where=os.fspath(path),
            hint="Write the file again.",
        )
    if classes is None:
        classes = [str(name) for name in columns.get("classes", _WAYMO_CLASSES)]
    builder = ObjectsBuilder(type_names_of(classes))
    types = _types(classes, class_names)
    for frame_id, count, stop in zip(frame_ids, counts, counts.cumsum(), strict=True):
        rows = slice(stop - count, stop)
        _add(
            builder,
            frame_id,
            columns["name"][rows],
            columns["score"][rows],
            columns["boxes_lidar"][rows],
            types,
        )
    return builder.build()


def write_openpcdet(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write predictions as `read_openpcdet` reads them, frames without boxes included.

    Raises:
        InputError: if there are no scores.
        OutputError: if the file cannot be written.
    """
    if objects.scores is None and len(objects):
        raise InputError(
            "this format is for predictions, and these boxes have no scores.",
            where=os.fspath(path),
            hint="Write a .parquet file.",
        )
    columns: dict[str, Any] = {
        **_frame_columns(objects.frame_ids),
        "count": np.bincount(objects.frame, minlength=len(objects.frame_ids)),
        "name": np.array(objects.type_names, np.str_)[objects.types],
        "score": np.zeros(0, np.float32) if objects.scores is None else objects.scores,
        "boxes_lidar": objects.boxes,
        "classes": np.array([name for name in objects.type_names if name], np.str_),
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)


def _frame_columns(frame_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        frames = [split_frame_id(frame_id) for frame_id in frame_ids]
    except InputError:
        return {"frame_id": np.array(frame_ids, np.str_)}
    return {
        "context_name": np.array([context for context, _ in frames], np.str_),
        "timestamp_micros": np.array([time for _, time in frames], np.int64),
    }


def _frame_ids(columns: Mapping[str, NDArray[Any]]) -> list[str]:
    if "frame_id" in columns:
        return [str(name) for name in columns["frame_id"]]
    times = columns["timestamp_micros"].astype(np.int64).tolist()
    names = columns["context_name"].tolist()
    return [f"{name}/{time}" for name, time in zip(names, times, strict=False)]


def _frame_id(result: Mapping[str, Any], where: str) -> str:
    if isinstance(result, Mapping) and "metadata" not in result and "frame_id" in result:
        return str(result["frame_id"])
    meta = _get(result, "metadata", where)
    context, time = (_get(meta, name, f"{where}, metadata") for name in _WAYMO_FRAME)
    return f"{context}/{int(time)}"


def _types(classes: Sequence[str], class_names: Mapping[str, str] | None) -> dict[str, int]:
    """Give the type of each name that a file may have."""
    places = {name: place for place, name in enumerate(type_names_of(classes)) if name}
    others = {name: places[own] for name, own in (class_names or {}).items() if own in places}
    return {**places, **others}


def _add(
    builder: ObjectsBuilder,
    frame_id: str,
    names: NDArray[Any],
    scores: NDArray[Any],
    boxes: NDArray[Any],
    types: Mapping[str, int],
) -> None:
    for name in map(str, dict.fromkeys(names.tolist())):
        if name not in types:
            waymo = builder.type_names == WAYMO_TYPE_NAMES
            known = ", ".join(filter(None, builder.type_names))
            raise InputError(
                f"{name!r} is no class of Waymo's files."
                if waymo
                else f"{name!r} is none of the classes {known}.",
                where=f"frame {frame_id}, name",
                hint=f"Say which of {known} it is: class_names={{{name!r}: ...}}."
                + (" For other classes than Waymo's give all of them: classes=[...]." * waymo),
            )
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] < 7):
        raise InputError(
            f"boxes_lidar must be [K, 7 or more], not {boxes.shape}.", where=f"frame {frame_id}"
        )
    builder.add(
        frame_id,
        boxes=boxes[:, :7] if boxes.size else [],
        types=[types[str(name)] for name in names.tolist()],
        scores=scores,
    )


def _get(values: Any, key: str, where: str) -> Any:  # noqa: ANN401 - whatever the list holds
    if not isinstance(values, Mapping) or key not in values:
        found = (
            ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        )
        raise InputError(
            f"has no {key!r}, but {found}.",
            where=where,
            hint="Pass the list of OpenPCDet's result.pkl for the Waymo dataset.",
        )
    return values[key]


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise DatasetError("no such file.", where=str(path), hint="Check the path.")
    hint = "Write it as the documentation of kd3d.predictions.openpcdet says."
    if not zipfile.is_zipfile(path):
        raise RecordError("is no .npz file.", where=str(path), hint=hint)
    try:
        with np.load(path, allow_pickle=False) as archive:
            frame = ("frame_id",) if "frame_id" in archive.files else _WAYMO_FRAME
            wanted = (*frame, *_COLUMNS)
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise RecordError(
                    f"has no {', '.join(missing)}, but {', '.join(archive.files) or 'nothing'}.",
                    where=str(path),
                    hint=hint,
                )
            optional = [name for name in ("classes",) if name in archive.files]
            return {name: archive[name] for name in (*wanted, *optional)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"cannot be read as arrays of plain values ({str(error).splitlines()[0]}).",
            where=str(path),
            hint=hint,
        ) from error
