"""What the detectors' arguments must be, said once and in words."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import inf
from numbers import Integral
from typing import Any

from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = [
    "complete_width",
    "count_layers",
    "divisible_grid",
    "limit_around",
    "plain_branches",
    "plain_depth",
    "plain_numbers",
    "plain_sizes",
    "plain_value",
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


def plain_value(value: Any) -> Any:  # noqa: ANN401 - any argument
    """Give the same value in plain Python types, mappings as dictionaries, sequences as tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain_value(one) for key, one in value.items()}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable):
        return tuple(plain_value(one) for one in value)
    return int(value) if isinstance(value, Integral) else float(value)


def plain_sizes(values: Sequence[float], count: int, where: str) -> tuple[float, ...]:
    """Give a tuple of `count` sizes in metres.

    Raises:
        ConfigError: if there are more or fewer, or one is not positive.
    """
    sizes = plain_numbers(values, count, where)
    if not all(size > 0 for size in sizes):
        raise ConfigError(f"sizes must be positive, not {list(sizes)}.", where=where)
    return sizes


def plain_depth(depth: Sequence[int], blocks: int, where: str = "depth") -> tuple[int, ...]:
    """Give a tuple of layer counts, one per block.

    Raises:
        ConfigError: if there is not one count from 0 for each block.
    """
    if len(depth) != blocks or any(layers < 0 for layers in depth):
        raise ConfigError(
            f"needs {blocks} layer counts of at least 0, not {list(depth)}.", where=where
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
    point_cloud_range: tuple[float, ...],
    cell_size: tuple[float, ...],
    divisor: int,
    *,
    stride: int = 1,
) -> BEVGrid:
    """Make the output grid of a network whose strides need a multiple of `divisor` input cells.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        cell_size: (x, y, ...) size of an input cell in metres.
        divisor: the input has a multiple of so many cells along x, and along y.
        stride: input cells per output cell.

    Raises:
        ConfigError: if the range is empty or endless, or not a whole number of `divisor` cells.
    """
    if not all(
        -inf < low < high < inf
        for low, high in zip(point_cloud_range[:3], point_cloud_range[3:], strict=True)
    ):
        raise ConfigError(
            f"{list(point_cloud_range)} is empty or endless.",
            where="point_cloud_range",
            hint="It is (x_min, y_min, z_min, x_max, y_max, z_max) in metres.",
        )
    for axis, number in (("x", 0), ("y", 1)):
        length, size = _length(point_cloud_range, number), cell_size[number]
        count = round(length / size)
        if not _is_whole(length / size):
            wrong = f"{length:g} m along {axis} is not a whole number of {size:g} m cells"
        elif count % divisor:
            wrong = f"{count} cells of {size:g} m along {axis}"
        else:
            continue
        nearest = max(round(count / divisor), 1) * divisor * size / 2
        raise ConfigError(
            f"{wrong}; the strides of the network need a multiple of {divisor} cells.",
            where="point_cloud_range",
            hint=f"The nearest symmetric range along {axis} is ±{nearest:g} m.",
        )
    return BEVGrid.from_range(point_cloud_range, cell_size, stride)


def count_layers(
    point_cloud_range: tuple[float, ...], voxel_size: tuple[float, ...], *, fewest: int
) -> int:
    """Give the number of voxels along z, of which the network's strides need at least `fewest`.

    Raises:
        ConfigError: if there are fewer, or the range is not a whole number of them.
    """
    length, size = _length(point_cloud_range, 2), voxel_size[2]
    count = round(length / size)
    if count < fewest:
        raise ConfigError(
            f"{count} voxels of {size:g} m along z; the strides of the network need at least "
            f"{fewest}.",
            where="voxel_size",
            hint=f"In this range a voxel can be {length / fewest:g} m high at most.",
        )
    if not _is_whole(length / size):
        raise ConfigError(
            f"{length:g} m along z is not a whole number of {size:g} m voxels.",
            where="point_cloud_range",
            hint=f"The nearest z_max is {point_cloud_range[2] + count * size:g} m; in this range "
            f"the nearest height of a voxel is {length / count:g} m.",
        )
    return count


def limit_around(bounds: Sequence[float], usual: Sequence[float]) -> tuple[float, ...]:
    """Give the usual limit (x, y, z, x, y, z) of centres, widened where the range is larger."""
    lower = map(min, usual[:3], bounds[:3])
    upper = map(max, usual[3:], bounds[3:])
    return (*lower, *upper)


def _length(point_cloud_range: tuple[float, ...], axis: int) -> float:
    return point_cloud_range[axis + 3] - point_cloud_range[axis]


def _is_whole(cells: float) -> bool:
    return abs(cells - round(cells)) <= 1e-3
