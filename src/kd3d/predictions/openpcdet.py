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
radians, in the vehicle frame. Further columns are left out.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import DatasetError, InputError, RecordError
from kd3d.predictions.builder import ObjectsBuilder
from kd3d.predictions.frame_objects import WAYMO_TYPE_OF, FrameObjects

__all__ = ["from_openpcdet", "read_openpcdet"]

_COLUMNS = ("context_name", "timestamp_micros", "count", "name", "score", "boxes_lidar")


def from_openpcdet(
    results: Sequence[Mapping[str, Any]], class_names: Mapping[str, str] | None = None
) -> FrameObjects:
    """Take the list of a ``result.pkl`` over.

    Args:
        results: per frame a dictionary with ``name`` ``[K]``, ``score`` ``[K]``, ``boxes_lidar``
            ``[K, 7 or more]`` and ``metadata`` with ``context_name`` and ``timestamp_micros``.
        class_names: what its names are called in the Waymo dataset, ``{"Car": "Vehicle"}`` for
            example; names that are the same may be left out.

    Returns:
        The boxes with their scores; frames without boxes are there too.

    Raises:
        InputError: if a frame lacks a key or is there twice, a name is unknown, or a value is not
            legal.
    """
    builder = ObjectsBuilder()
    for number, result in enumerate(results):
        where = f"result {number}"
        meta = _get(result, "metadata", where)
        context = _get(meta, "context_name", f"{where}, metadata")
        time = _get(meta, "timestamp_micros", f"{where}, metadata")
        _add(
            builder,
            f"{context}/{int(time)}",
            np.asarray(_get(result, "name", where)),
            np.asarray(_get(result, "score", where), np.float32),
            np.asarray(_get(result, "boxes_lidar", where), np.float64),
            class_names,
        )
    return builder.build()


def read_openpcdet(
    path: str | os.PathLike[str], class_names: Mapping[str, str] | None = None
) -> FrameObjects:
    """Read a ``.npz`` file that the lines above have made.

    Args:
        path: the file.
        class_names: as of `from_openpcdet`.

    Raises:
        DatasetError: if there is no such file.
        RecordError: if it is no such file, or holds pickled objects.
        InputError: as `from_openpcdet`.
    """
    columns = _read_columns(Path(path))
    counts = columns["count"].astype(np.int64)
    frames, boxes = len(columns["context_name"]), len(columns["score"])
    if len(counts) != frames or int(counts.sum()) != boxes or (counts < 0).any():
        raise RecordError(
            f"its counts say {int(counts.sum())} boxes in {len(counts)} frames, but there are "
            f"{boxes} in {frames}.",
            where=os.fspath(path),
            hint="Write the file again.",
        )
    builder = ObjectsBuilder()
    stops = counts.cumsum()
    for frame, stop in enumerate(stops.tolist()):
        rows = slice(stop - int(counts[frame]), stop)
        _add(
            builder,
            f"{columns['context_name'][frame]}/{int(columns['timestamp_micros'][frame])}",
            columns["name"][rows],
            columns["score"][rows],
            columns["boxes_lidar"][rows],
            class_names,
        )
    return builder.build()


def _add(
    builder: ObjectsBuilder,
    frame_id: str,
    names: NDArray[Any],
    scores: NDArray[Any],
    boxes: NDArray[Any],
    class_names: Mapping[str, str] | None,
) -> None:
    known = {**{name: name for name in WAYMO_TYPE_OF}, **(class_names or {})}
    for name in dict.fromkeys(names.tolist()):
        if known.get(str(name)) not in WAYMO_TYPE_OF:
            raise InputError(
                f"{str(name)!r} is no class of Waymo's files.",
                where=f"frame {frame_id}, name",
                hint=f"Say which of {', '.join(WAYMO_TYPE_OF)} it is: class_names="
                f"{{{str(name)!r}: ...}}.",
            )
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] < 7):
        raise InputError(
            f"boxes_lidar must be [K, 7 or more], not {boxes.shape}.", where=f"frame {frame_id}"
        )
    builder.add(
        frame_id,
        boxes=boxes[:, :7] if boxes.size else [],
        waymo_types=[WAYMO_TYPE_OF[known[str(name)]] for name in names.tolist()],
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
            missing = [name for name in _COLUMNS if name not in archive.files]
            if missing:
                raise RecordError(
                    f"has no {', '.join(missing)}, but {', '.join(archive.files) or 'nothing'}.",
                    where=str(path),
                    hint=hint,
                )
            return {name: archive[name] for name in _COLUMNS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"cannot be read as arrays of plain values ({str(error).splitlines()[0]}).",
            where=str(path),
            hint=hint,
        ) from error
