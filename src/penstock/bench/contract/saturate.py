"""Finds the knee: the offered rate at which a trial passes as often as it fails. Pure: trials so far in, next rate out.

Requests of one trial share its weather: one long answer delays those behind it, so the answers of a trial say less than
their number. What is sure is therefore told by trials, each of which passes or fails, and never by the answers in one.
"""

from collections.abc import Sequence
from math import inf, sqrt

import msgspec

ENOUGH = 4
"""Trials on one side that bound the knee: four passes above a rate that fails more often than not have a chance of at
most 1 in 16."""
CLOSE = 4
"""Steps between the bounds at which the search ends."""


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


class Knee(msgspec.Struct, frozen=True):
    """The answer: the knee lies between `low` and `high`."""

    rate: float
    """Middle of the two; the highest rate that passed, or 0, where one of them is not known."""
    low: float
    """Requests per second, like `high`. So many trials passed there or above; 0: too few passed."""
    high: float
    """So many trials failed there or below; infinite: too few failed."""
    why: str


def next_rate(trials: Sequence[Trial], first: float, share: float, width: float, most: int) -> float | Knee:
    """The rate to try now, or the answer.

    From `first` it doubles until a rate fails (or halves until one passes) and bisects until the gap is two steps; a
    step is `width` of the rate. Then it goes a step up after each pass and a step down after each failure, which keeps
    it where both are as likely, until the bounds are few steps apart or `most` trials were made.
    """
    if not trials:
        return first
    judged = [(trial.rate, trial.passes(share)) for trial in trials]
    low, high = _bounds(judged)
    if low and high <= low * (1 + width) ** CLOSE:
        return Knee(sqrt(low * high), low, high, f"{ENOUGH} trials on either side")
    if len(trials) >= most:
        passed = max((rate for rate, passes in judged if passes), default=0.0)
        return Knee(sqrt(low * high) if low and high < inf else passed, low, high, f"{most} trials were made")
    if any(_between(judged[:count], width) for count in range(2, len(judged) + 1)):
        last, passes = judged[-1]
        return last * (1 + width) if passes else last / (1 + width)
    below, above = _bracket(judged)
    if not above:
        return below * 2
    return (below + above) / 2 if below else above / 2


def _bounds(judged: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    passed = sorted((rate for rate, passes in judged if passes), reverse=True)
    failed = sorted(rate for rate, passes in judged if not passes)
    low = passed[ENOUGH - 1] if len(passed) >= ENOUGH else 0.0
    high = failed[ENOUGH - 1] if len(failed) >= ENOUGH else inf
    # Where many passed above many that failed, the two are the other way round.
    return min(low, high), max(low, high)


def _bracket(judged: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """The highest rate that passed below all that failed, and the lowest above it that failed; 0 for none."""
    failed = [rate for rate, passes in judged if not passes]
    low = max((rate for rate, passes in judged if passes and all(rate < other for other in failed)), default=0.0)
    return low, min((rate for rate in failed if rate > low), default=0.0)


def _between(judged: Sequence[tuple[float, bool]], width: float) -> bool:
    low, high = _bracket(judged)
    return bool(low and high) and high - low <= 2 * width * low
