"""Means, spreads and intervals over paired seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Estimate", "estimate", "paired"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a few runs say about a mean.

    Args:
        mean: of the values; NaN without any.
        spread: their standard deviation (n - 1); None for fewer than two values.
        low: lower end of the interval; None for fewer than two values.
        high: upper end.
        count: number of values.
    """

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    count: int


def estimate(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Estimate a mean with a two-sided Student-t interval.

    The interval is ``mean ± t * spread / sqrt(n)``, where t is the quantile of Student's
    distribution with n - 1 degrees of freedom (Student 1908, "The probable error of a mean"). It
    says where the mean of endlessly many such runs lies, if the values spread normally. One value
    has no interval.

    Args:
        values: one per seed. NaN (no such object in the split) makes everything NaN.
        confidence: share of studies whose interval holds the true mean.
    """
    from scipy.stats import t

    count = len(values)
    if count == 0:
        return Estimate(math.nan, None, None, None, 0)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, None, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = float(t.ppf(0.5 + confidence / 2, count - 1)) * spread / math.sqrt(count)
    return Estimate(mean, spread, mean - reach, mean + reach, count)


def paired(
    row: Mapping[int, float], base: Mapping[int, float], *, confidence: float = 0.95
) -> Estimate:
    """Estimate the mean difference of two rows, seed by seed.

    Pairing removes what runs of one seed share (first weights, order of frames): the interval is
    that of the differences, not of the rows.

    Args:
        row: value by seed.
        base: what it is compared with; seeds that only one of the two has are left out.
        confidence: as in `estimate`.
    """
    seeds = [seed for seed in row if seed in base]
    return estimate([row[seed] - base[seed] for seed in seeds], confidence=confidence)
