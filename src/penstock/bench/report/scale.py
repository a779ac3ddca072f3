"""Axes: which range, which ticks. Pure numbers; svg.py draws them."""

from collections.abc import Sequence
from math import ceil, floor, log10

import msgspec

FACTORS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Of powers of ten: ticks of a logarithmic axis, fewer before more."""
PART = 1e-9
"""Of a value: values that differ by less are one."""


class Scale(msgspec.Struct, frozen=True):
    """A direction of a plot. Ticks lie within `low` and `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def part(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`."""
        if self.log:
            return (log10(max(value, self.low)) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def linear(values: Sequence[float], *, count: int = 5, zero: bool = False, tight: bool = False) -> Scale:
    """About `count` ticks at 1, 2 or 5 times a power of ten. `zero`: the axis has 0 on it. `tight`: it ends where the
    values end; else at the next tick, so that it never goes on for more than one tick."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= PART * max(abs(low), abs(high), 1e-300):
        room = abs(high) / 10 or 1.0
        low, high = (0.0, high + room) if zero and high >= 0 else (low - room, high + room)
    step = _step((high - low) / count)
    first, last = floor(low / step + PART), ceil(high / step - PART)
    if tight:
        first, last = ceil(low / step - PART), floor(high / step + PART)
    ticks = tuple(_round(number, step) for number in range(first, last + 1))
    if tight:
        ticks = tuple(tick for tick in ticks if low <= tick <= high)
        if len(ticks) < 2:
            return linear((low, high), count=count + 1, tight=True)
        return Scale(low, high, ticks)
    return Scale(min(low, ticks[0]), max(high, ticks[-1]), ticks)


def logarithmic(values: Sequence[float], *, count: int = 4) -> Scale:
    """At least `count` ticks where round numbers allow it. The axis ends where the values end. All are above 0."""
    low, high = min(values), max(values)
    if high <= low * (1 + 1e-6):
        low, high = low / 1.2, high * 1.2
    powers = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    ticks: tuple[float, ...] = ()
    for factors in FACTORS:
        found = (factor * 10.0**power for power in powers for factor in factors)
        ticks = tuple(tick for tick in found if low <= tick <= high)
        if len(ticks) >= count:
            break
    if len(ticks) < 2:
        ticks = linear((low, high), count=count, tight=True).ticks
    every = ceil(len(ticks) / 8)
    return Scale(low, high, ticks[::every], log=True)


def wide(values: Sequence[float], span: float = 30.0) -> bool:
    """Whether values are so far apart that a logarithmic axis shows them better."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > span


def _step(raw: float) -> float:
    power = 10.0 ** floor(log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - PART))


def _round(number: int, step: float) -> float:
    """A multiple of a step without the dust of its division."""
    return float(f"{number * step:.12g}")
