"""`FrameObjects` as parquet tables: one row per box, for people and their notebooks."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import ConfigError, DatasetError, InputError, RecordError
from kd3d.files import whole_file
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects, split_frame_id
from kd3d.predictions.rows import from_rows

__all__ = ["read_parquet", "require_pyarrow", "write_parquet"]

_BOX = ("x", "y", "z", "length", "width", "height", "heading")
_NAMES = b"kd3d.type_names"
_COLUMNS = {
    "scores": ("score", np.float32),
    "overlaps_nlz": ("overlaps_nlz", np.bool_),
    "difficulty": ("difficulty", np.int64),
    "num_points": ("num_points", np.int64),
}


def require_pyarrow() -> None:
    """Check that parquet files can be read and written.

    Raises:
        ConfigError: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "parquet files need pyarrow, which is not installed.",
            hint="pip install 'kd3d[parquet]', or use a .bin or .npz file.",
        ) from error


def read_parquet(path: str | os.PathLike[str], *, scattered: bool = False) -> FrameObjects:
    """Read a table; arguments and errors as for `kd3d.predictions.load_objects`.

    Columns: ``x``, ``y``, ``z``, ``length``, ``width``, ``height``, ``heading``; the frame in
    ``context_name`` and ``timestamp_micros``, or in ``frame_id``; the type in ``waymo_type`` (a
    number), or in ``class`` (a name); and where known ``score``, ``overlaps_nlz``, ``difficulty``,
    ``num_points``. Others are ignored. The names of all classes, those without a box included, are
    in the table's metadata; without it, they are those that have boxes.
    """
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise DatasetError("no such file.", where=os.fspath(path), hint="Check the path.")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"cannot be read as parquet ({str(error).splitlines()[0]}).",
            where=os.fspath(path),
            hint="Copy or write the file again: it may be cut.",
        ) from error
    _need(table, _BOX, path)
    boxes = [_column(table, name, np.float64, path) for name in _BOX]
    columns = {
        field: _column(table, name, kind, path)
        for field, (name, kind) in _COLUMNS.items()
        if name in table.column_names
    }
    types, type_names = _types(table, path)
    columns = {"boxes": np.stack(boxes, 1), "types": types, **columns}
    keys = _frame_ids(table, path)
    return from_rows(path, keys, columns, scattered=scattered, type_names=type_names)


def write_parquet(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write a table with one row per box.

    Raises:
        ConfigError: if pyarrow is not installed.
        OutputError: if the file cannot be written.
    """
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = objects.columns()
    columns: dict[str, Any] = {
        **_frame_columns(objects),
        **dict(zip(_BOX, known["boxes"].T, strict=True)),
        **_type_columns(objects),
        **{_COLUMNS[field][0]: values for field, values in known.items() if field in _COLUMNS},
    }
    table = pa.table(columns).replace_schema_metadata({_NAMES: json.dumps(objects.type_names)})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary)


def _frame_columns(objects: FrameObjects) -> dict[str, Any]:
    import pyarrow as pa

    places = pa.array(objects.frame)
    try:
        frames = [split_frame_id(frame_id) for frame_id in objects.frame_ids]
    except InputError:
        return {"frame_id": pa.array(objects.frame_ids, pa.string()).take(places)}
    return {
        "context_name": pa.array([context for context, _ in frames], pa.string()).take(places),
        "timestamp_micros": np.array([time for _, time in frames], np.int64)[objects.frame],
    }


def _type_columns(objects: FrameObjects) -> dict[str, Any]:
    import pyarrow as pa

    if objects.type_names == WAYMO_TYPE_NAMES:
        return {"waymo_type": objects.types}
    return {"class": pa.array(objects.type_names, pa.string()).take(pa.array(objects.types))}


def _frame_ids(table: Any, path: str | os.PathLike[str]) -> list[str]:  # noqa: ANN401
    if "frame_id" in table.column_names:
        return _texts(table, "frame_id", path)
    _need(table, ("context_name", "timestamp_micros"), path)
    contexts = _texts(table, "context_name", path)
    times = _column(table, "timestamp_micros", np.int64, path).tolist()
    return [f"{context}/{time}" for context, time in zip(contexts, times, strict=True)]


def _types(
    table: Any,  # noqa: ANN401 - pyarrow has no types
    path: str | os.PathLike[str],
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Give each row's type, and the names of the types."""
    if "class" not in table.column_names:
        _need(table, ("waymo_type",), path)
        return _column(table, "waymo_type", np.int64, path), WAYMO_TYPE_NAMES
    names = _texts(table, "class", path)
    known = (table.schema.metadata or {}).get(_NAMES)
    type_names = _stored_names(known, path) if known else tuple(sorted(set(names)))
    places = {name: place for place, name in enumerate(type_names)}
    for row, name in enumerate(names):
        if name not in places:
            raise RecordError(
                f"{name!r} is none of the table's classes {', '.join(type_names)}.",
                where=f"{os.fspath(path)}, object {row}, class",
                hint="Write the file again.",
            )
    return np.array([places[name] for name in names], np.int64), type_names


def _stored_names(known: bytes, path: str | os.PathLike[str]) -> tuple[str, ...]:
    try:
        names = json.loads(known)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("they are no list of texts")
    except ValueError as error:
        raise RecordError(
            f"the names of its classes cannot be read ({error}).",
            where=f"{os.fspath(path)}, metadata {_NAMES.decode()}",
            hint="Write the file again.",
        ) from error
    return tuple(names)


def _need(
    table: Any,  # noqa: ANN401 - pyarrow has no types
    names: Sequence[str],
    path: str | os.PathLike[str],
) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise RecordError(
            f"the table has no column {', '.join(missing)}.",
            where=os.fspath(path),
            hint=f"It has {', '.join(table.column_names)}.",
        )


def _texts(
    table: Any,  # noqa: ANN401 - pyarrow has no types
    name: str,
    path: str | os.PathLike[str],
) -> list[str]:
    values: list[str] = table[name].to_pylist()
    if not all(isinstance(value, str) for value in values):
        raise RecordError(
            "holds cells that are no text.",
            where=f"{os.fspath(path)}, column {name}",
            hint="Every row needs one.",
        )
    return values


def _column(
    table: Any,  # noqa: ANN401 - pyarrow has no types
    name: str,
    kind: type[np.generic],
    path: str | os.PathLike[str],
) -> NDArray[Any]:
    """Take a column as an array; an empty cell of a number counts as not a number."""
    try:
        return table[name].to_numpy().astype(kind, casting="same_kind")  # type: ignore[no-any-return]
    except TypeError as error:
        raise RecordError(
            f"holds {table[name].type} with {table[name].null_count} empty cells.",
            where=f"{os.fspath(path)}, column {name}",
            hint=f"It must hold {np.dtype(kind).name} in every row.",
        ) from error
