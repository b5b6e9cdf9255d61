"""`FrameObjects` as parquet tables: one row per box, for people and their notebooks."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import ConfigError, DatasetError, RecordError
from kd3d.files import whole_file
from kd3d.predictions.frame_objects import FrameObjects, split_frame_id
from kd3d.predictions.rows import from_rows

__all__ = ["read_parquet", "require_pyarrow", "write_parquet"]

_BOX = ("x", "y", "z", "length", "width", "height", "heading")
_KEYS = ("context_name", "timestamp_micros")
_TYPES = {
    "waymo_types": ("waymo_type", np.int64),
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
            hint="pip install 'kd3d[parquet]', or use a .bin file.",
        ) from error


def read_parquet(path: str | os.PathLike[str], *, scattered: bool = False) -> FrameObjects:
    """Read a table; arguments and errors as for `kd3d.predictions.load_objects`.

    Columns: ``context_name``, ``timestamp_micros``, ``x``, ``y``, ``z``, ``length``, ``width``,
    ``height``, ``heading``, ``waymo_type``, and where known ``score``, ``overlaps_nlz``,
    ``difficulty``, ``num_points``. Others are ignored.
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
    missing = [name for name in (*_KEYS, *_BOX, "waymo_type") if name not in table.column_names]
    if missing:
        raise RecordError(
            f"the table has no column {', '.join(missing)}.",
            where=os.fspath(path),
            hint=f"It has {', '.join(table.column_names)}.",
        )
    boxes = [_column(table, name, np.float64, path) for name in _BOX]
    columns = {
        field: _column(table, name, kind, path)
        for field, (name, kind) in _TYPES.items()
        if name in table.column_names
    }
    contexts = _contexts(table, path)
    times = _column(table, "timestamp_micros", np.int64, path).tolist()
    keys = list(zip(contexts, times, strict=True))
    return from_rows(path, keys, {"boxes": np.stack(boxes, 1), **columns}, scattered=scattered)


def write_parquet(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write a table with one row per box.

    Raises:
        ConfigError: if pyarrow is not installed.
        OutputError: if the file cannot be written.
    """
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = [split_frame_id(frame_id) for frame_id in objects.frame_ids]
    contexts = pa.array([context for context, _ in frames], pa.string())
    times = np.array([time for _, time in frames], np.int64)
    known = objects.columns()
    columns: dict[str, Any] = {
        "context_name": contexts.take(pa.array(objects.frame)),
        "timestamp_micros": times[objects.frame],
        **dict(zip(_BOX, known["boxes"].T, strict=True)),
        **{_TYPES[field][0]: values for field, values in known.items() if field in _TYPES},
    }
    with whole_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _contexts(table: Any, path: str | os.PathLike[str]) -> list[str]:  # noqa: ANN401
    values: list[str] = table["context_name"].to_pylist()
    if not all(isinstance(value, str) for value in values):
        raise RecordError(
            "holds cells that are no text.",
            where=f"{os.fspath(path)}, column context_name",
            hint="Every row needs the name of its segment.",
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
