"""The options that a run's numbers depend on: kept once, named by a digest, compared by key."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kd3d.errors import OutputError
from kd3d.files import write_text

__all__ = [
    "differing",
    "digest_of",
    "file_digest",
    "read_settings",
    "value_at",
    "write_settings",
]

_FOLDER = "settings"
_DIGITS = 12


def digest_of(settings: Mapping[str, Any]) -> str:
    """Name plain nested settings by twelve hexadecimal digits, whatever the order of their keys."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def file_digest(path: Path) -> str:
    """Name the bytes of a file by twelve hexadecimal digits.

    Raises:
        OutputError: if it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
    except OSError as error:
        raise OutputError(
            f"cannot be read ({error.strerror or error}).", where=str(path)
        ) from error


def write_settings(folder: Path, settings: Mapping[str, Any]) -> str:
    """Keep settings in a study's folder, and give their digest.

    Raises:
        OutputError: if the file cannot be written.
    """
    digest = digest_of(settings)
    path = _path(folder, digest)
    if not path.is_file():
        write_text(path, json.dumps(settings, indent=1, sort_keys=True) + "\n")
    return digest


def read_settings(folder: Path, digest: str) -> dict[str, Any] | None:
    """Read settings back; None where they are not kept.

    Raises:
        OutputError: if the file holds something else.
    """
    path = _path(folder, digest)
    if not path.is_file():
        return None
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = digest_of(settings)
    except (OSError, ValueError, TypeError) as error:
        raise _changed(path, str(error)) from error
    if found != digest:
        raise _changed(path, f"its digest is {found}")
    return settings


def differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare nested settings.

    Returns:
        dotted key: both values, where they differ; None for a key that one lacks.
    """
    first, second = dict(_leaves(one)), dict(_leaves(two))
    return {
        key: (first.get(key), second.get(key))
        for key in {**first, **second}
        if first.get(key) != second.get(key) or (key in first) != (key in second)
    }


def value_at(settings: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - any value
    """Give what nested settings hold at a dotted key; None where there is nothing."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _path(folder: Path, digest: str) -> Path:
    return folder / _FOLDER / f"{digest}.json"


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any values
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _changed(path: Path, why: str) -> OutputError:
    return OutputError(
        f"is not what the study wrote ({why}).",
        where=str(path),
        hint="Bring the file back (git checkout), or delete it with the runs that name it.",
    )
