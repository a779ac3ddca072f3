"""A brute-force sweep judged: where its knee lies, and whether two intervals agree. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

FROM, TO = 0.5, 1.5


class Judged(NamedTuple):
    """One repetition at one rate."""

    rate: float
    passes: bool


class Interval(NamedTuple):
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high

    def gap(self, other: Interval) -> float:
        """What lies between the two; 0 when they touch."""
        return max(0.0, self.low - other.high, other.low - self.high)

    @property
    def middle(self) -> float:
        """Geometric; the other end where one is 0 or infinite."""
        if not self.low or self.high == inf:
            return self.low or self.high
        return sqrt(self.low * self.high)


def grid(around: float, count: int) -> list[float]:
    """`count` rates, evenly from half to one and a half times `around`."""
    return [around * (FROM + (TO - FROM) * number / (count - 1)) for number in range(count)]


def knee(judged: Sequence[Judged]) -> Interval:
    """Up to the low end every repetition of every rate passed, from the high end on every one failed.

    0 where the lowest rate already fails once, infinite where the highest still passes once.
    """
    by_rate: dict[float, list[bool]] = defaultdict(list)
    for each in judged:
        by_rate[each.rate].append(each.passes)
    low, high = 0.0, inf
    for rate in sorted(by_rate):
        if not all(by_rate[rate]):
            break
        low = rate
    for rate in sorted(by_rate, reverse=True):
        if any(by_rate[rate]):
            break
        high = rate
    return Interval(low, high)


def distance(point: float, stated: Interval, other: float) -> float | None:
    """How far two points are apart, in half widths of the stated interval; None where that has no width."""
    half = (stated.high - stated.low) / 2
    return abs(point - other) / half if 0 < half < inf else None
