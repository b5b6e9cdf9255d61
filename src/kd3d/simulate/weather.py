"""What the air and the water on the road take from a sensor, and what droplets add."""

from dataclasses import dataclass

import numpy as np

from kd3d.errors import ConfigError

__all__ = ["CLEAR", "Weather", "fog", "rain", "sample_weather"]

#: Shares of the kinds of weather among scenes: clear, rain, fog.
_SHARES = (0.85, 0.1, 0.05)


@dataclass(frozen=True, slots=True)
class Weather:
    """The weather of a scene.

    Args:
        name: as records call it: "sunny", "rain" or "fog".
        extinction: of the air, per metre of way; light goes there and back.
        dropout: share of the echoes that get lost besides, whatever their strength (drops on the
            sensor's window).
        backscatter: share of the rays that meet a droplet which answers.
        depth: mean distance of such droplets beyond the sensor's blind range, metres.
        wetness: of the ground, from 0 (dry) to 1.

    Raises:
        ConfigError: a value is out of range.
    """

    name: str
    extinction: float = 0.0
    dropout: float = 0.0
    backscatter: float = 0.0
    depth: float = 2.5
    wetness: float = 0.0

    def __post_init__(self) -> None:
        for field, low, high in (
            ("extinction", 0.0, np.inf),
            ("dropout", 0.0, 1.0),
            ("backscatter", 0.0, 1.0),
            ("depth", 1e-3, np.inf),
            ("wetness", 0.0, 1.0),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(
                    f"{value} is out of range.",
                    where=f"Weather.{field}",
                    hint=f"Give a number from {low} to {high}.",
                )


CLEAR = Weather("sunny")


def rain(rate: float) -> Weather:
    """Rain of a rate in mm/h.

    Extinction is 1.076 rate^0.67 dB/km (Carbonneau and Wisely 1998, as in Recommendation ITU-R
    P.1814); drops on the window, wet ground and droplets that answer are choices.

    Raises:
        ConfigError: the rate is not above 0 and at most 150 mm/h.
    """
    if not 0.0 < rate <= 150.0:
        raise ConfigError(
            f"{rate} mm/h is out of range.", where="rate", hint="Give a rate above 0, up to 150."
        )
    heavy = min(rate / 30.0, 1.0)
    return Weather(
        name="rain",
        extinction=1.076 * rate**0.67 * np.log(10.0) / 10.0 / 1000.0,
        dropout=0.02 + 0.1 * heavy,
        backscatter=0.001 + 0.006 * heavy,
        wetness=min(0.5 + heavy, 1.0),
    )


def fog(visibility: float) -> Weather:
    """Fog with a meteorological optical range in metres.

    Extinction is ln(20) / visibility, the range's definition (5 % contrast, World Meteorological
    Organization); backscatter is a choice.

    Raises:
        ConfigError: the visibility is below 30 m or not a number.
    """
    if not visibility >= 30.0:
        raise ConfigError(
            f"{visibility} m is out of range.", where="visibility", hint="Give 30 m or more."
        )
    return Weather(
        name="fog",
        extinction=float(np.log(20.0)) / visibility,
        backscatter=min(2.5 / visibility, 0.05),
        depth=4.0,
        wetness=0.3,
    )


def sample_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of a scene: mostly clear; rain of 2 to 40 mm/h; fog of 120 to 500 m."""
    kind = rng.choice(len(_SHARES), p=_SHARES)
    strength = float(rng.random())
    if kind == 1:
        return rain(2.0 * 20.0**strength)
    if kind == 2:
        return fog(120.0 * (500.0 / 120.0) ** strength)
    return CLEAR
