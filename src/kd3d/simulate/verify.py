"""Is a simulated dataset still what was simulated?"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from kd3d.errors import DatasetError
from kd3d.simulate.making import file_sha256
from kd3d.simulate.manifest import SPLITS, Manifest, load_manifest

__all__ = ["VerifiedDataset", "dataset_fingerprint", "verify_dataset"]

#: Files that a message names, of each kind.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class VerifiedDataset:
    """A simulated dataset that is whole and as it was made.

    Args:
        root: its folder.
        segments: number of segment files, all splits together.
        frames: number of frames.
        bytes: of all segment files.
        fingerprint: what `dataset_fingerprint` says.
    """

    root: Path
    segments: int
    frames: int
    bytes: int
    fingerprint: str


def verify_dataset(root: str | os.PathLike[str], *, progress: bool = False) -> VerifiedDataset:
    """Read every file of a simulated dataset and compare it with its checksum.

    Args:
        root: folder of the dataset.
        progress: show a progress bar.

    Returns:
        What the dataset holds.

    Raises:
        DatasetError: the folder holds no simulated dataset or one that an older kd3d made, a
            segment is not made yet, is missing or changed, or there are files that no segment
            accounts for. The message names all kinds of faults and some files of each.
    """
    root = Path(root)
    manifest = load_manifest(root)
    found = dict(_checksums(root, progress))
    planned = manifest.planned()
    unmade = [name for name in planned if name not in manifest.segments]
    missing = [name for name in planned if name in manifest.segments and name not in found]
    changed = [
        name
        for name in planned
        if name in found
        and name in manifest.segments
        and found[name] != manifest.segments[name].sha256
    ]
    surplus = sorted(set(found) - set(planned)) + _strange_files(root)
    faults = [
        f"{len(planned) - len(unmade)} of {len(planned)} segments are made" if unmade else "",
        _told("changed since it was made", changed),
        _told("missing", missing),
        _told("not part of the dataset", surplus),
    ]
    if any(faults):
        raise DatasetError(
            f"{'; '.join(filter(None, faults))}.",
            where=str(root),
            hint=_next_step(bool(unmade or missing), bool(changed), bool(surplus)),
        )
    return VerifiedDataset(
        root=root,
        segments=len(planned),
        frames=sum(manifest.segments[name].frames for name in planned),
        bytes=sum(manifest.segments[name].bytes for name in planned),
        fingerprint=_fingerprint(manifest, found),
    )


def dataset_fingerprint(root: str | os.PathLike[str]) -> str:
    """Name the content of a simulated dataset by reading all of it.

    The same preset and version is the same benchmark on every machine. The digits are the same too
    where processors round alike (AVX2 or newer did, in a test); elsewhere some points in a hundred
    thousand move by one step of the stored values (1 mm of range, 1/4096 of intensity).

    Returns:
        The preset's name and version and 16 hexadecimal digits, such as
        ``kd3d-sim-small-v1-0123456789abcdef``; without a preset ``simulated`` and the version of
        the simulation. The digits are those of one SHA-256 over names and checksums of the segment
        files that are there, so any changed, missing or added one gives others.

    Raises:
        DatasetError: the folder holds no simulated dataset, or one that an older kd3d made.
    """
    root = Path(root)
    return _fingerprint(load_manifest(root), dict(_checksums(root, progress=False)))


def _checksums(root: Path, progress: bool) -> Iterator[tuple[str, str]]:
    """Path below the root and SHA-256 of every segment file that is there."""
    paths = [path for split in SPLITS for path in sorted((root / split).glob("*.tfrecord"))]
    with Progress(disable=not progress, transient=True) as bar:
        for path in bar.track(paths, description="Verifying"):
            try:
                yield path.relative_to(root).as_posix(), file_sha256(path)
            except OSError as error:
                raise DatasetError(
                    f"cannot be read ({error.strerror or error}).",
                    where=str(path),
                    hint="Check its permissions and the disk.",
                ) from error


def _strange_files(root: Path) -> list[str]:
    """Files in the splits' folders that are no records."""
    inside = (path for split in SPLITS for path in sorted((root / split).rglob("*")))
    return [
        path.relative_to(root).as_posix()
        for path in inside
        if path.is_file() and not (path.suffix == ".tfrecord" and path.parent.parent == root)
    ]


def _fingerprint(manifest: Manifest, checksums: dict[str, str]) -> str:
    lines = "\n".join(f"{checksums[name]}  {name}" for name in sorted(checksums))
    digits = hashlib.sha256(lines.encode()).hexdigest()[:16]
    settings = manifest.settings
    if "preset" in settings:
        return f"{settings['preset']}-v{settings['version']}-{digits}"
    return f"simulated-v{settings.get('generator')}-{digits}"


def _told(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}"


def _next_step(incomplete: bool, changed: bool, surplus: bool) -> str:
    steps: Iterable[tuple[bool, str]] = (
        (surplus, "Move the files that are not part of it away."),
        (changed, "Delete the changed files."),
        (
            changed or incomplete,
            "Give the kd3d-data simulate command of this folder again: it makes what is missing.",
        ),
    )
    return " ".join(step for applies, step in steps if applies)
