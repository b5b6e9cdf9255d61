"""Files of predictions and ground truth, by their suffix."""

import os
from collections.abc import Sequence
from pathlib import Path

from kd3d.errors import ConfigError
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects
from kd3d.predictions.official import read_official, write_official
from kd3d.predictions.openpcdet import read_openpcdet, write_openpcdet
from kd3d.predictions.parquet import read_parquet, require_pyarrow, write_parquet

__all__ = ["check_format", "load_objects", "save_objects"]


def check_format(
    path: str | os.PathLike[str], where: str = "path", *, classes: Sequence[str] = ()
) -> str:
    """Tell the format of a file by its suffix, ``"bin"``, ``"parquet"`` or ``"npz"``.

    Args:
        path: of the file, which need not exist.
        where: what messages call the path.
        classes: what is to be written.

    Raises:
        ConfigError: if it is none of these, has no room for a class, or parquet needs a package
            that is not installed.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in ("bin", "parquet", "npz"):
        raise ConfigError(
            f"{os.fspath(path)!r} is neither .bin nor .parquet nor .npz.",
            where=where,
            hint="The official metric reads .bin; .parquet is for tables; .npz is OpenPCDet's list"
            " as plain arrays.",
        )
    others = [name for name in classes if name not in WAYMO_TYPE_NAMES]
    if kind == "bin" and others:
        raise ConfigError(
            f"a .bin file has Waymo's classes only, not {', '.join(others)}.",
            where=where,
            hint="Write a .parquet or .npz file, which hold any class.",
        )
    if kind == "parquet":
        require_pyarrow()
    return kind


def load_objects(path: str | os.PathLike[str], *, scattered: bool = False) -> FrameObjects:
    """Read predictions or ground truth from a ``.bin``, ``.parquet`` or ``.npz`` file.

    Args:
        path: the file.
        scattered: allow a frame's rows to lie apart. Without it a frame that comes up a second time
            is an error, because it is usually a frame that was predicted twice. A ``.npz`` file
            lists its frames and knows no such rows.

    Raises:
        ConfigError: if the suffix is none of these, or pyarrow is missing.
        DatasetError: if the file cannot be opened.
        RecordError: if it is damaged or holds a value that is not legal, naming file and row.
    """
    kind = check_format(path)
    if kind == "npz":
        return read_openpcdet(path)
    read = read_parquet if kind == "parquet" else read_official
    return read(path, scattered=scattered)


def save_objects(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write predictions or ground truth to a file, whole or not at all.

    ``.bin`` is the official metric's and has room for Waymo's classes and frames only; ``.parquet``
    and ``.npz`` hold any. ``.npz`` (`kd3d.predictions.openpcdet`) holds predictions only; it alone
    has room for a frame without boxes: such frames are absent from the other files.

    Raises:
        ConfigError: if the suffix is none of these, or pyarrow is missing.
        InputError: if the format has no room for a class or a frame, or needs scores.
        OutputError: if the file cannot be written.
    """
    kind = check_format(path)
    write = {"parquet": write_parquet, "npz": write_openpcdet, "bin": write_official}[kind]
    write(path, objects)
