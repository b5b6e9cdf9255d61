"""Files wherever they lie: on a disk, or behind any URL that fsspec opens."""

from kd3d.storage.addresses import clean_root, is_remote, join
from kd3d.storage.listing import list_files
from kd3d.storage.opening import StoredFile, open_stored
from kd3d.storage.read_ahead import ReadAhead
from kd3d.storage.stamp import Stamp

__all__ = [
    "ReadAhead",
    "Stamp",
    "StoredFile",
    "clean_root",
    "is_remote",
    "join",
    "list_files",
    "open_stored",
]
