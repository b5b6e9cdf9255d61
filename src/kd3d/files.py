"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kd3d.errors import OutputError

__all__ = ["whole_file", "write_text"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lend a temporary path beside `path`; what was written there becomes `path` at the end.

    If the block raises, the temporary file is removed and whatever `path` held before stays.

    Args:
        path: the file to make; missing folders are made too.

    Yields:
        a free path in the same folder, with the same suffix.

    Raises:
        OutputError: if the folder or the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError("is a folder.", where=str(path), hint="Name a file.")
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error}).",
            where=str(path),
            hint="Name a folder that you may write to, on a disk with space left.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a UTF-8 text file through a temporary name.

    Raises:
        OutputError: if the folder or the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)
