"""Records that cannot be used, and what to do with them."""

from dataclasses import dataclass
from typing import Literal

from kd3d.errors import ConfigError, RecordError

__all__ = ["BadRecord", "OnError", "known_policy"]

OnError = Literal["raise", "skip"]
"""What to do with damaged records: stop, or leave them out and count them."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used.

    Args:
        file: the path of its segment file.
        name: what messages call the record.
        error: what is wrong with it.
    """

    file: str
    name: str
    error: RecordError


def known_policy(on_error: str) -> OnError:
    """Return a policy if there is such a one.

    Raises:
        ConfigError: if there is not.
    """
    if on_error == "raise":
        return "raise"
    if on_error == "skip":
        return "skip"
    raise ConfigError(f"{on_error!r} is neither 'raise' nor 'skip'.", where="data.on_error")
