"""What a task of ``kd3d-data`` is: a name, a purpose, options, and a function of them."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, fields
from typing import Any, Generic, TypeVar, cast

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd3d.errors import ConfigError

__all__ = ["DataTask"]

_Options = TypeVar("_Options")


@dataclass(frozen=True)
class DataTask(Generic[_Options]):
    """One task of ``kd3d-data``.

    Args:
        name: the word after ``kd3d-data``.
        purpose: what it does, in one sentence.
        options: a dataclass whose fields are the options; the metadata ``help`` explains each, and
            the default ``omegaconf.MISSING`` makes one necessary.
        run: does it. Import what is heavy inside, so that other tasks start fast.
        notes: gives what the help says after the options; nothing by default.
    """

    name: str
    purpose: str
    options: type[_Options]
    run: Callable[[_Options], None]
    notes: Callable[[], str] | None = None

    def help(self) -> str:
        """Describe the task and its options."""
        options = fields(cast(Any, self.options))
        needed = [f"{option.name}=..." for option in options if option.default is MISSING]
        lines = [
            " ".join([f"usage: kd3d-data {self.name}", *needed, "[name=value ...]"]),
            "",
            f"{self.purpose}.",
            "",
        ]
        for option in options:
            lines.append(f"  {option.name:<12}{option.metadata['help']}{_default_of(option)}")
        if self.notes is not None:
            lines += ["", self.notes()]
        return "\n".join(lines)

    def start(self, words: Sequence[str]) -> None:
        """Read the options from words and run.

        Args:
            words: each ``name=value``.

        Raises:
            ConfigError: if a word is no option, a value is not of its kind, or one is missing.
        """
        self.run(self._read(words))

    def _read(self, words: Sequence[str]) -> _Options:
        hint = f"See kd3d-data {self.name} --help."
        for word in words:
            if "=" not in word:
                raise ConfigError(f"{word!r} is not name=value.", hint=hint)
        try:
            given = OmegaConf.from_dotlist(list(words))
            options = OmegaConf.merge(OmegaConf.structured(self.options), given)
            return cast(_Options, OmegaConf.to_object(options))
        except OmegaConfBaseException as error:
            option = getattr(error, "full_key", None) or "options"
            reason = f"{str(error).splitlines()[0].rstrip('.')}."
            raise ConfigError(reason, where=option, hint=hint) from error


def _default_of(option: "Field[Any]") -> str:
    default = option.default
    if default is NO_DEFAULT and option.default_factory is not NO_DEFAULT:
        default = option.default_factory()
    return "" if default is MISSING or default is None else f" (default {default})"
