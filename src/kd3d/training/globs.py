"""Choosing tensors of a network by patterns of their names."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from kd3d.errors import ConfigError

__all__ = ["check_globs", "matching"]


def check_globs(globs: Sequence[str], where: str) -> tuple[str, ...]:
    """Give patterns as a tuple.

    Raises:
        ConfigError: if they are one string: its letters would be taken for patterns.
    """
    if isinstance(globs, str):
        raise ConfigError(
            f"{globs!r} is not a list of patterns.", where=where, hint=f"Say [{globs}]."
        )
    return tuple(globs)


def matching(names: Iterable[str], glob: str, where: str) -> list[str]:
    """Give the names that a pattern matches; ``*`` stands for anything, dots included.

    Args:
        names: dotted names of tensors.
        glob: such as ``backbone_2d.*`` or ``*.bias``.
        where: the option, for the error.

    Raises:
        ConfigError: if there is none; tells the most similar names.
    """
    names = list(names)
    found = [name for name in names if fnmatchcase(name, glob)]
    if not found:
        raise ConfigError(
            f"{glob!r} matches no tensor of the network.", where=where, hint=_near(names, glob)
        )
    return found


def _near(names: Sequence[str], glob: str) -> str:
    """Hint at what a pattern could have meant: a part of the network, or a tensor."""
    parts = {".".join(pieces[:depth]) for pieces in map(_split, names) for depth in range(1, 4)}
    wanted = glob.removesuffix("*").removesuffix(".")
    if wanted in parts:
        return f"Say {wanted}.* for everything in it."
    close = get_close_matches(wanted, sorted(parts | set(names)), n=3, cutoff=0.4)
    tops = dict.fromkeys(pieces[0] for pieces in map(_split, names))
    near = ", ".join(name if name in names else f"{name}.*" for name in close)
    return f"Near it: {near}." if near else f"There are {', '.join(f'{top}.*' for top in tops)}."


def _split(name: str) -> list[str]:
    return name.split(".")
