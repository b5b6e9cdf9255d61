"""What the detectors' arguments must be, said once and in words."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = [
    "complete_width",
    "divisible_grid",
    "plain_branches",
    "plain_depth",
    "plain_numbers",
    "plain_threshold",
    "scale_channels",
]


def plain_numbers(values: Sequence[float], count: int, where: str) -> tuple[float, ...]:
    """Give a tuple of `count` floats.

    Raises:
        ConfigError: if there are more or fewer.
    """
    if len(values) != count:
        raise ConfigError(f"needs {count} numbers, not {list(values)}.", where=where)
    return tuple(float(value) for value in values)


def plain_threshold(values: float | Sequence[float]) -> float | tuple[float, ...]:
    """Give one float, or a tuple of them."""
    if isinstance(values, float | int):
        return float(values)
    return tuple(float(value) for value in values)


def plain_depth(depth: Sequence[int], blocks: int) -> tuple[int, ...]:
    """Give a tuple of layer counts, one per block.

    Raises:
        ConfigError: if there is not one count from 0 for each block.
    """
    if len(depth) != blocks or any(layers < 0 for layers in depth):
        raise ConfigError(
            f"needs {blocks} layer counts of at least 0, not {list(depth)}.", where="depth"
        )
    return tuple(int(layers) for layers in depth)


def plain_branches(branches: Mapping[str, int] | None, taken: Sequence[str]) -> dict[str, int]:
    """Give the extra head branches, name to channels.

    Raises:
        ConfigError: if a name is taken or a branch has no channels.
    """
    for name, channels in (branches or {}).items():
        if name in taken:
            raise ConfigError(f"the branch {name!r} is always there.", where="extra_branches")
        if channels < 1:
            raise ConfigError(
                f"needs at least 1 channel, not {channels}.", where=f"extra_branches.{name}"
            )
    return {str(name): int(channels) for name, channels in (branches or {}).items()}


def complete_width(width: Mapping[str, float] | None, parts: Sequence[str]) -> dict[str, float]:
    """Give a factor for every part of a network, 1 where none is asked for.

    Raises:
        ConfigError: if a part is unknown or a factor is not positive.
    """
    factors = dict.fromkeys(parts, 1.0)
    for part, factor in (width or {}).items():
        if part not in factors:
            close = get_close_matches(part, parts, n=1) or list(parts)
            raise ConfigError(f"no part {part!r}.", where="width", hint=f"Try {', '.join(close)}.")
        if not factor > 0:
            raise ConfigError(f"must be positive, not {factor}.", where=f"width.{part}")
        factors[part] = float(factor)
    return factors


def scale_channels(
    channels: Sequence[int], factor: float, part: str, *, fewest: int = 1
) -> tuple[int, ...]:
    """Multiply channel counts by `factor`, truncated towards zero, as the field does.

    Raises:
        ConfigError: if that leaves a layer with less than `fewest` channels.
    """
    scaled = tuple(int(count * factor) for count in channels)
    if min(scaled) < fewest:
        raise ConfigError(
            f"{factor:g} x {min(channels)} channels leaves {min(scaled)}.",
            where=f"width.{part}",
            hint=f"The smallest possible factor is {fewest / min(channels):g}.",
        )
    return scaled


def divisible_grid(
    point_cloud_range: tuple[float, ...], cell_size: tuple[float, ...], divisor: int
) -> BEVGrid:
    """Make the input grid of a network whose strides need a multiple of `divisor` cells.

    Raises:
        ConfigError: if the range is empty, not a whole number of cells, or of the wrong number.
    """
    if not all(
        low < high for low, high in zip(point_cloud_range[:3], point_cloud_range[3:], strict=True)
    ):
        raise ConfigError(
            f"{list(point_cloud_range)} is empty.",
            where="point_cloud_range",
            hint="It is (x_min, y_min, z_min, x_max, y_max, z_max) in metres.",
        )
    grid = BEVGrid.from_range(point_cloud_range, cell_size)
    for axis, count, size in zip("xy", (grid.width, grid.height), cell_size, strict=True):
        if count % divisor:
            nearest = max(round(count / divisor), 1) * divisor * size / 2
            raise ConfigError(
                f"{count} cells of {size:g} m along {axis}; the strides of the network need a "
                f"multiple of {divisor}.",
                where="point_cloud_range",
                hint=f"The nearest symmetric range along {axis} is ±{nearest:g} m.",
            )
    return grid
