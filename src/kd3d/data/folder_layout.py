"""Where the scans of a folder lie, and in which order."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kd3d.errors import DatasetError

__all__ = ["POINTS_SUFFIX", "SCAN_SUFFIX", "FrameFile", "find_frames"]

SCAN_SUFFIX = ".npz"
"""A scan with everything about it in one file."""
POINTS_SUFFIX = ".points.parquet"
"""The points of a scan; its boxes lie beside, see `kd3d.data.parquet_scan`."""

_LISTS = (".txt",)


class FrameFile(NamedTuple):
    """One scan: its name below the root without a suffix, and the file of its points."""

    name: str
    path: Path

    @property
    def sequence(self) -> str:
        """The folder, below the root, that the scan lies in."""
        return self.name.rpartition("/")[0]


def find_frames(root: Path, split: str) -> list[FrameFile]:
    """Find the scans of a split, sequence after sequence, each in the order of its names.

    Numbers within names count as numbers: ``scan_9`` comes before ``scan_10``.

    Args:
        root: the dataset's folder.
        split: a folder below it, at any depth; or a ``.txt`` file with one name per line, relative
            to the root and without suffix (``#`` starts a comment).

    Raises:
        DatasetError: if root, split or a listed scan is missing, or two scans have one name.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"the dataset's root {problem}.", where=str(root), hint="Check root=.")
    listed = split.lower().endswith(_LISTS)
    frames = _read_list(root, root / split) if listed else _walk(root, root / split)
    _refuse_doubles(frames, root / split)
    return sorted(frames, key=lambda frame: (_natural(frame.sequence), _natural(frame.name)))


def _walk(root: Path, folder: Path) -> list[FrameFile]:
    if not folder.is_dir():
        beside = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise DatasetError(
            "there is no such folder.",
            where=str(folder),
            hint=f"Folders of the root: {', '.join(beside[:8]) or 'none'}.",
        )
    frames = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            suffix = _suffix_of(file)
            if suffix and not file.startswith("."):
                path = Path(place) / file
                name = path.relative_to(root).as_posix().removesuffix(suffix)
                frames.append(FrameFile(name, path))
    if frames:
        return frames
    raise DatasetError(
        f"holds no scan (*{SCAN_SUFFIX} or *{POINTS_SUFFIX}).",
        where=str(folder),
        hint="docs/own-data.md shows how to write one.",
    )


def _read_list(root: Path, path: Path) -> list[FrameFile]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot be read ({error}).", where=str(path), hint="Write one scan's name per line."
        ) from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise DatasetError("lists no scan.", where=str(path), hint="Write one name per line.")
    return [_listed_frame(root, name, path) for name in names]


def _listed_frame(root: Path, name: str, where: Path) -> FrameFile:
    bare = name.removesuffix(_suffix_of(name))
    for suffix in (SCAN_SUFFIX, POINTS_SUFFIX):
        if (root / f"{bare}{suffix}").is_file():
            return FrameFile(bare, root / f"{bare}{suffix}")
    raise DatasetError(
        f"names {name!r}, and there is neither {bare}{SCAN_SUFFIX} nor {bare}{POINTS_SUFFIX} below"
        f" {root}.",
        where=str(where),
        hint="Names are relative to the dataset's root.",
    )


def _refuse_doubles(frames: Sequence[FrameFile], where: Path) -> None:
    counts = Counter(frame.name for frame in frames)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise DatasetError(
            f"{len(doubled)} frame ids are there twice, the first is {doubled[0]!r}.",
            where=str(where),
            hint=f"Keep each scan once: as {SCAN_SUFFIX} or {POINTS_SUFFIX}, once in a list.",
        )


def _suffix_of(name: str) -> str:
    for suffix in (SCAN_SUFFIX, POINTS_SUFFIX):
        if name.endswith(suffix):
            return suffix
    return ""


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Give a key that sorts numbers within names by value."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part]
