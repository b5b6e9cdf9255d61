"""Reading one scan of a folder, and nothing but arrays from it."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.data.folder_layout import POINTS_SUFFIX
from kd3d.errors import ConfigError, RecordError

__all__ = ["BOX_COLUMNS", "read_arrays"]

BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "heading")
"""Columns of a table of boxes, beside ``label``."""
_OPTIONAL_BOX_COLUMNS = ("num_points", "difficulty")
_KNOWN = ("points", "boxes", "labels", "num_points", "difficulty", "pose", "time")
_NEEDED = ("points", "boxes", "labels")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a scan as they are stored.

    Args:
        path: an ``.npz`` file with ``points``, ``boxes``, ``labels`` and perhaps ``num_points``,
            ``difficulty``, ``pose``, ``time``. Or a ``.points.parquet`` file with the columns x, y,
            z and any features; a ``.boxes.parquet`` file beside it has the columns x, y, z, length,
            width, height, heading, label and perhaps num_points and difficulty; a ``.json`` file
            beside it may have ``pose`` and ``time``.

    Returns:
        the arrays by these names.

    Raises:
        RecordError: if a file is missing or damaged, lacks an array, or holds Python objects.
        ConfigError: if pyarrow is needed and not installed.
    """
    if path.name.endswith(POINTS_SUFFIX):
        return _read_tables(path)
    return _read_npz(path)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _KNOWN if name in stored.files}
            there = list(stored.files)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "pickle" in str(error).lower()
        raise RecordError(
            "holds Python objects, which are never unpickled."
            if pickled
            else f"cannot be read as npz ({str(error) or type(error).__name__}).",
            where=str(path),
            hint="Store plain arrays of numbers, and labels as numpy strings (dtype <U) or ids."
            if pickled
            else "Write the file again: it may be cut.",
        ) from error
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise RecordError(
            f"has no array {', '.join(missing)}.",
            where=str(path),
            hint=f"It has {', '.join(there) or 'none'}. A scan without objects needs empty boxes"
            " [0, 7] and labels [0].",
        )
    return arrays


def _read_tables(path: Path) -> dict[str, NDArray[Any]]:
    boxes_path = path.with_name(path.name.removesuffix(POINTS_SUFFIX) + ".boxes.parquet")
    facts_path = path.with_name(path.name.removesuffix(POINTS_SUFFIX) + ".json")
    points, boxes = _read_columns(path), _read_columns(boxes_path)
    _need(points, ("x", "y", "z"), path)
    _need(boxes, (*BOX_COLUMNS, "label"), boxes_path)
    features = [name for name in points if name not in ("x", "y", "z")]
    arrays = {
        "points": _stack(points, ("x", "y", "z", *features), path),
        "boxes": _stack(boxes, BOX_COLUMNS, boxes_path),
        "labels": boxes["label"],
        **{name: boxes[name] for name in _OPTIONAL_BOX_COLUMNS if name in boxes},
    }
    return {**arrays, **(_read_facts(facts_path) if facts_path.is_file() else {})}


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            "parquet files need pyarrow, which is not installed.",
            where=str(path),
            hint="pip install 'kd3d[parquet]', or write .npz files.",
        ) from error
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"cannot be read as parquet ({str(error).splitlines()[0]}).",
            where=str(path),
            hint="Every scan has a .points.parquet and a .boxes.parquet file."
            if not path.is_file()
            else "Write the file again: it may be cut.",
        ) from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _need(columns: Mapping[str, object], names: Sequence[str], path: Path) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise RecordError(
            f"the table has no column {', '.join(missing)}.",
            where=str(path),
            hint=f"It has {', '.join(columns) or 'none'}.",
        )


def _stack(
    columns: Mapping[str, NDArray[Any]], names: Sequence[str], path: Path
) -> NDArray[np.floating[Any]]:
    for name in names:
        if columns[name].dtype.kind not in "fiu":
            raise RecordError(
                f"holds {columns[name].dtype}, not numbers.",
                where=f"{path}, column {name}",
                hint="Every cell of it must hold a number.",
            )
    return np.stack([columns[name].astype(np.float64) for name in names], axis=1)


def _read_facts(path: Path) -> dict[str, NDArray[Any]]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: np.array(facts[name], np.float64) for name in ("pose", "time") if name in facts
        }
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"cannot be read ({error}).",
            where=str(path),
            hint='Write {"time": seconds, "pose": [[4 numbers] * 4]}, or leave the file out.',
        ) from error
