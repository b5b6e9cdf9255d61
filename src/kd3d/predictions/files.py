"""Files of predictions and ground truth, by their suffix."""

import os
from pathlib import Path

from kd3d.errors import ConfigError
from kd3d.predictions.frame_objects import FrameObjects
from kd3d.predictions.official import read_official, write_official
from kd3d.predictions.parquet import read_parquet, require_pyarrow, write_parquet

__all__ = ["check_format", "load_objects", "save_objects"]


def check_format(path: str | os.PathLike[str], where: str = "path") -> str:
    """Tell the format of a file by its suffix, ``"bin"`` or ``"parquet"``.

    Args:
        path: of the file, which need not exist.
        where: what messages call the path.

    Raises:
        ConfigError: if it is neither, or parquet needs a package that is not installed.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in ("bin", "parquet"):
        raise ConfigError(
            f"{os.fspath(path)!r} is neither .bin nor .parquet.",
            where=where,
            hint="The official metric reads .bin; .parquet is for tables.",
        )
    if kind == "parquet":
        require_pyarrow()
    return kind


def load_objects(path: str | os.PathLike[str], *, scattered: bool = False) -> FrameObjects:
    """Read predictions or ground truth from a ``.bin`` or ``.parquet`` file.

    Args:
        path: the file.
        scattered: allow a frame's rows to lie apart. Without it a frame that comes up a second time
            is an error, because it is usually a frame that was predicted twice.

    Raises:
        ConfigError: if the suffix is neither, or pyarrow is missing.
        DatasetError: if the file cannot be opened.
        RecordError: if it is damaged or holds a value that is not legal, naming file and row.
    """
    read = read_parquet if check_format(path) == "parquet" else read_official
    return read(path, scattered=scattered)


def save_objects(path: str | os.PathLike[str], objects: FrameObjects) -> None:
    """Write predictions or ground truth as a ``.bin`` or ``.parquet`` file, whole or not at all.

    Neither format has room for a frame without boxes: such frames are absent from the file.

    Raises:
        ConfigError: if the suffix is neither, or pyarrow is missing.
        OutputError: if the file cannot be written.
    """
    write = write_parquet if check_format(path) == "parquet" else write_official
    write(path, objects)
