"""A queue whose knee is known: so many slots, each of which takes a fixed time, first come first served. Pure.

With Poisson arrivals this is M/D/c. Its knee is what `penstock bench saturate` looks for: the rate at which a trial
passes as often as it fails, found by simulating many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapreplace
from random import Random

HALVINGS = 10
TRIALS = 201


class Slots:
    """Their occupation over time. Moments and durations in the same unit."""

    def __init__(self, count: int, holds: float) -> None:
        self._free = [0.0] * count
        self._holds = holds

    def leaves(self, comes: float) -> float:
        """When a request that comes now, never before the one before it, is served."""
        ends = max(comes, self._free[0]) + self._holds
        heapreplace(self._free, ends)
        return ends


def times(arrivals: Iterable[float], slots: Slots) -> Iterator[float]:
    """From arrival to end, of each."""
    for at in arrivals:
        yield slots.leaves(at) - at


def poisson(rate: float, seconds: float, rng: Random) -> Iterator[float]:
    """Moments of a Poisson process."""
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


def knee(slots: int, holds: float, bound: float, share: float, seconds: float) -> float:
    """The rate at which half of all trials of `seconds`, begun idle, have at least `share` of the times up to `bound`.

    The trials of one rate are those of another with other gaps: the part that passes falls as the rate rises.
    """
    low, high = 0.0, 2 * slots / holds
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        passed = 0
        for seed in range(TRIALS):
            found = list(times(poisson(rate, seconds, Random(seed)), Slots(slots, holds)))
            passed += sum(each <= bound for each in found) >= share * len(found)
        low, high = (rate, high) if passed > TRIALS / 2 else (low, rate)
    return (low + high) / 2
