"""Percentiles of raw samples, and how sure one can be of them."""

from collections.abc import Sequence
from math import ceil, floor, sqrt
from statistics import NormalDist

Interval = tuple[float, float]


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least `q` of all are not above (nearest rank; Hyndman and Fan's type 1): a value that
    was measured, never one between two. `ordered` is sorted and not empty."""
    return ordered[max(0, min(len(ordered), ceil(q * len(ordered))) - 1)]


def interval(ordered: Sequence[float], q: float, level: float = 0.95) -> Interval | None:
    """Bounds of the q-quantile of what `ordered` is a sample of; None where it is too small to have both.

    By order statistics: the number of values below the quantile is binomial, here by its normal approximation. Holds
    for independent values; those of one overloaded stage are not, and their true interval is wider.
    """
    count = len(ordered)
    z = NormalDist().inv_cdf((1 + level) / 2)
    spread = z * sqrt(count * q * (1 - q))
    low, high = floor(count * q - spread), ceil(count * q + spread) + 1
    if low < 1 or high > count:
        return None
    return ordered[low - 1], ordered[high - 1]
