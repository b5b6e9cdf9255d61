"""Which files a dataset has, and what they look like."""

import glob
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kd3d.errors import DatasetError
from kd3d.storage.addresses import is_remote, join
from kd3d.storage.opening import open_stored
from kd3d.storage.remote import file_system, remote_stamp
from kd3d.storage.retry import MissingFileError, patiently
from kd3d.storage.stamp import Stamp

__all__ = ["INDEX_NAME", "list_files"]

INDEX_NAME = "index.txt"
"""What lists the files of a dataset on a plain web server, one name per line."""

_MANIFESTS = (".txt", ".json")
_MAGIC = re.compile(r"[*?\[]")
_WEB = ("http://", "https://")
_LOOKS_AT_ONCE = 32
_LARGEST_MANIFEST = 64 * 2**20


def list_files(root: str, patterns: str | Sequence[str]) -> dict[str, Stamp]:
    """Find the files below a root and look at each.

    A pattern is one of: a glob (``training/*.tfrecord``); the name of a file; a manifest, which is
    a ``.txt`` file with one name per line (``#`` starts a comment) or a ``.json`` file with a list
    of names. Names are relative to `root` or URLs of their own. A plain web server cannot be asked
    for a listing: below ``http://`` a glob chooses among the names in ``<root>/index.txt``, or,
    without that file, among the links of the server's own page of the folder.

    Args:
        root: the dataset's folder, as `kd3d.storage.clean_root` gives it.
        patterns: one, or several whose files are put together.

    Returns:
        name relative to the root and stamp, sorted by name.

    Raises:
        DatasetError: if the root is missing, a pattern has no file, or a file cannot be looked at.
    """
    chosen = [patterns] if isinstance(patterns, str) else list(patterns)
    found: dict[str, Stamp] = {}
    for pattern in chosen:
        if pattern.lower().endswith(_MANIFESTS):
            found.update(_look(root, _read_manifest(join(root, pattern))))
        elif is_remote(root) or is_remote(pattern):
            found.update(_find_remote(root, pattern))
        else:
            found.update(_find_local(root, pattern))
    if not found:
        raise DatasetError("no file is asked for.", where=root, hint="Give a pattern such as *.")
    return dict(sorted(found.items()))


def _find_local(root: str, pattern: str) -> dict[str, Stamp]:
    folder = Path(root)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(
            f"the dataset's root {problem}.",
            where=root,
            hint="Give the folder that holds the segment files' folders.",
        )
    # Path.glob would refuse a pattern that is an absolute path.
    matches = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    names = [name for name in matches if (folder / name).is_file()]
    if names:
        return _look(root, names)
    others = len(list(folder.glob("**/*.tfrecord")))
    advice = f"{others} other *.tfrecord files lie below it: change the pattern, or the root."
    raise DatasetError(
        f"no file matches the pattern {pattern!r}.",
        where=root,
        hint=advice if others else "There is no *.tfrecord file below it: check the root.",
    )


def _find_remote(root: str, pattern: str) -> dict[str, Stamp]:
    if not _MAGIC.search(pattern):
        return _look(root, [pattern])
    if root.startswith(_WEB):
        names = _names_in_index(root, pattern)
        if names is not None:
            return _look(root, names)
    system, base = file_system(root)
    address = f"{base.rstrip('/')}/{pattern}"

    def search() -> dict[str, Any]:
        system.invalidate_cache()
        matches: dict[str, Any] = system.glob(address, detail=True)
        return matches

    infos = {
        path.removeprefix(base).lstrip("/"): info
        for path, info in patiently(search, f"{root}/{pattern}").items()
        if info.get("type") != "directory"
    }
    if not infos:
        raise DatasetError(
            f"no file matches the pattern {pattern!r}.",
            where=root,
            hint=f"A web server needs a file {INDEX_NAME} below the root, one name per line."
            if root.startswith(_WEB)
            else "Check the root and the pattern; a bucket that may not be listed looks empty.",
        )
    stamps = {name: Stamp.of_remote(info) for name, info in infos.items()}
    unknown = [name for name, stamp in stamps.items() if stamp is None]
    return {name: stamp for name, stamp in stamps.items() if stamp} | _look(root, unknown)


def _names_in_index(root: str, pattern: str) -> list[str] | None:
    """Return the names of a web server's index that match, nothing if it has no index."""
    from fsspec.utils import glob_translate

    address = join(root, INDEX_NAME)
    try:
        names = _read_manifest(address)
    except MissingFileError:
        return None
    expression = re.compile(glob_translate(pattern))
    matches = [name for name in names if expression.match(name)]
    if not matches:
        raise DatasetError(
            f"none of its {len(names)} names matches the pattern {pattern!r}.",
            where=address,
            hint=f"The first one is {names[0]!r}.",
        )
    return matches


def _read_manifest(address: str) -> list[str]:
    with open_stored(address) as file:
        if file.size > _LARGEST_MANIFEST:
            raise DatasetError(
                f"has {file.size:,} bytes, which is too long for a list of names.",
                where=address,
                hint="Name a text file with one name per line.",
            )
        (content,) = file.read_parts(0, file.size)
    try:
        names = _parse_manifest(content.decode(), is_json=address.lower().endswith(".json"))
    except ValueError as error:
        raise DatasetError(
            f"is no list of names ({error}).",
            where=address,
            hint="Write one name per line (.txt), or a list of strings (.json).",
        ) from error
    if not names:
        raise DatasetError("lists no file.", where=address, hint="Write one name per line.")
    return names


def _parse_manifest(text: str, *, is_json: bool) -> list[str]:
    if not is_json:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return [line for line in lines if line]
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("it holds something else")
    return names


def _look(root: str, names: Iterable[str]) -> dict[str, Stamp]:
    """Look at each file; remote ones many at a time."""
    wanted = list(names)
    if not any(is_remote(join(root, name)) for name in wanted):
        return {name: _local_stamp(join(root, name)) for name in wanted}
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        stamps = pool.map(lambda name: remote_stamp(join(root, name)), wanted)
        return dict(zip(wanted, stamps, strict=True))


def _local_stamp(path: str) -> Stamp:
    try:
        return Stamp.of_local(path)
    except OSError as error:
        raise DatasetError(
            f"cannot be looked at ({error.strerror or error}).",
            where=path,
            hint="Check the name in the manifest, and the file's permissions.",
        ) from error
