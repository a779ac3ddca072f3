"""Finds the knee: the highest offered rate at which enough answers are good. Pure: trials so far in, next rate out."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import msgspec


class Trial(msgspec.Struct, frozen=True):
    """What one rate gave."""

    rate: float
    """Requests per second offered."""
    judged: int
    good: int
    valid: bool = True
    """The client kept up."""

    def passes(self, share: float) -> bool:
        return self.judged > 0 and self.good >= share * self.judged

    def sure(self, share: float, level: float = 0.95) -> bool:
        """Whether the side of `share` it is on is no chance: Wilson's interval of the good share leaves `share` out."""
        if not self.judged:
            return False
        z = NormalDist().inv_cdf((1 + level) / 2)
        n, p = self.judged, self.good / self.judged
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return not middle - half <= share <= middle + half


class Knee(msgspec.Struct, frozen=True):
    """The answer: the knee lies between `low` and `high`."""

    rate: float
    """The highest rate that passed."""
    low: float
    high: float
    """Requests per second. Widened to trials that were on the other side by no more than chance."""
    why: str


def next_rate(trials: Sequence[Trial], first: float, share: float, width: float, most: int) -> float | Knee:
    """The rate to try now, or the answer.

    From `first` it doubles until a rate fails (or halves until one passes), then bisects until the gap is at most
    `width` of the passing rate, or `most` trials were made. A rate whose side may be chance is tried once more.
    """
    if not trials:
        return first
    rates: dict[float, Trial] = {}
    for trial in trials:
        before = rates.get(trial.rate)
        if before is not None:
            trial = Trial(trial.rate, before.judged + trial.judged, before.good + trial.good)
        rates[trial.rate] = trial
    last = trials[-1]
    tried = sum(trial.rate == last.rate for trial in trials)
    if len(trials) < most and tried < 2 and not rates[last.rate].sure(share):
        return last.rate
    passed = [trial.rate for trial in rates.values() if trial.passes(share)]
    failed = [trial.rate for trial in rates.values() if not trial.passes(share)]
    low = max((rate for rate in passed if all(rate < other for other in failed)), default=0.0)
    high = min((rate for rate in failed if rate > low), default=0.0)
    if len(trials) >= most or (low and high and (high - low) <= width * low):
        return _knee(rates, low, high, share, "bisected" if len(trials) < most else f"{most} trials were made")
    if not high:
        return low * 2
    if not low:
        return high / 2
    return (low + high) / 2


def _knee(rates: dict[float, Trial], low: float, high: float, share: float, why: str) -> Knee:
    unsure = [trial.rate for trial in rates.values() if not trial.sure(share)]
    below = [rate for rate in rates if rate < low and rates[rate].passes(share) and rate not in unsure]
    above = [rate for rate in rates if rate > high and not rates[rate].passes(share) and rate not in unsure]
    lowest = max(below, default=0.0) if low in unsure else low
    highest = (min(above, default=high) if high in unsure else high) or float("inf")
    return Knee(low, lowest, highest, why)
