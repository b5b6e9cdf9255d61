"""Names of files and folders: local paths, and URLs."""

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["clean_root", "is_remote", "join"]

_LOCAL_SCHEMES = ("file://", "local://")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a name is a URL of another place than the local disk."""
    name = os.fspath(path)
    return "://" in name and not name.startswith(_LOCAL_SCHEMES)


def clean_root(root: str | os.PathLike[str]) -> str:
    """Return a folder's name in one form: no slash at the end, ``~`` and ``file://`` resolved."""
    name = os.fspath(root)
    if is_remote(name):
        return name if name.endswith("://") else name.rstrip("/")
    if name.startswith(_LOCAL_SCHEMES):
        name = url2pathname(urlsplit(name).path)
    return str(Path(name).expanduser())


def join(root: str, name: str) -> str:
    """Return the full name of a file below a root.

    Args:
        root: as `clean_root` gives it.
        name: relative to `root`, with forward slashes; a URL or an absolute path stays what it is.
    """
    if is_remote(name):
        return name
    if not is_remote(root):
        return str(Path(root) / name)
    return root + name if root.endswith("://") else f"{root}/{name}"
