"""The errors that kd3d raises on bad input.

Each message says what is wrong, where, and what to do next. All of them derive from `Kd3dError`, so
``except kd3d.errors.Kd3dError`` catches what a user can cause and nothing else.
"""

__all__ = [
    "Kd3dError",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "InputError",
    "OutputError",
    "RecordError",
    "TapError",
    "TeacherError",
]


class Kd3dError(RuntimeError):
    """Something outside kd3d's code is wrong: a file, an option, a tensor.

    Args:
        what: what is wrong, in one sentence.
        where: the file, record, field or option at fault.
        hint: what to do next.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        parts = [f"{where}: {what}" if where else what]
        if hint:
            parts.append(hint)
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type[Kd3dError], what: str, where: str | None, hint: str | None) -> Kd3dError:
    return kind(what, where=where, hint=hint)


class ConfigError(Kd3dError):
    """An option, or a combination of options, that cannot work."""


class DatasetError(Kd3dError):
    """A dataset root that is missing, empty, or not what it should be."""


class RecordError(Kd3dError):
    """A record of a tfrecord file that is truncated, corrupt or not a Waymo frame."""


class InputError(Kd3dError):
    """Tensors that do not fit: NaN, wrong shape, wrong dtype, unknown class."""


class CheckpointError(Kd3dError):
    """A checkpoint that is missing, unreadable, unsafe or of another network."""


class TeacherError(Kd3dError):
    """A teacher that does not fit its student, or is too weak to teach."""


class TapError(Kd3dError):
    """A tapped module that does not exist or did not run."""


class OutputError(Kd3dError):
    """A file or folder that cannot be written."""
