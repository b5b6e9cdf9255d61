"""Checks of a data module's options."""

from kd3d.data.dataset import DecodeOn
from kd3d.errors import ConfigError

__all__ = ["at_least", "known_place", "limit"]


def at_least(lowest: int, value: int, option: str) -> int:
    """Give a number back.

    Raises:
        ConfigError: if it is below the lowest; names ``data.{option}``.
    """
    if value < lowest:
        raise ConfigError(f"{value} is below {lowest}.", where=f"data.{option}")
    return value


def limit(value: int | None, option: str) -> int | None:
    """Give a number of frames back, or None for no limit.

    Raises:
        ConfigError: if it is below 1.
    """
    return None if value is None else at_least(1, value, option)


def known_place(decode_on: DecodeOn) -> DecodeOn:
    """Give the place to decode on back.

    Raises:
        ConfigError: if there is no such place.
    """
    if decode_on not in ("worker", "device"):
        raise ConfigError(
            f"{decode_on!r} is no place to decode on.",
            where="data.decode_on",
            hint="Say worker or device.",
        )
    return decode_on
