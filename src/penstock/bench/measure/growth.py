"""Whether an open loop offers more than the server does: then requests under way and time to first token both grow.

The test of GuideLLM's over-saturation detection: two slopes over time, and both must be surely positive. Here they are
of means of slices of the stage, because what one request waits says much of what the next one does. Not looked at is
the beginning, in which an idle server fills; not judged are stages whose offered rate grows by itself.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import median

import msgspec

from penstock.bench.measure.moments import e2e, ttft
from penstock.bench.measure.student import critical
from penstock.bench.sample import Sample, Stage

SLICES = 20
LEAST_SLICES = 8
LEAST_REQUESTS = 40
LEAST_PART = 0.02
"""Of the offered rate: a queue that takes less of it may end."""
EARLY = 10
"""Whole answers whose median is the time that a stage is given to fill the server: later ones may have waited."""
LEVEL = 0.95


class Slope(msgspec.Struct, frozen=True):
    """Per second, with the bounds of its t-interval."""

    value: float
    low: float
    high: float


class Growth(msgspec.Struct, frozen=True):
    """`requests`: of those under way, per second. `ttft`: seconds per second."""

    requests: Slope
    ttft: Slope
    offered: float
    """Requests per second in the time that was looked at."""

    @property
    def queue_grows(self) -> bool:
        return self.requests.low > 0 and self.ttft.low > 0 and self.requests.value >= LEAST_PART * self.offered

    @property
    def notice(self) -> str:
        """What it means; empty unless the queue grows."""
        if not self.queue_grows:
            return ""
        more, later = self.requests, self.ttft
        return (
            f"queue grows: offered rate is above what the server does; of {self.offered:.3g} requests/s "
            f"{more.value:.2g} ({more.low:.2g} to {more.high:.2g}) stayed, and TTFT grew by {later.value * 1e3:.3g} ms "
            f"({later.low * 1e3:.3g} to {later.high * 1e3:.3g}) each second"
        )


def growth(stage: Stage, samples: Sequence[Sample]) -> Growth | None:
    """Of an open loop; None for a closed one, where there is too little to tell, or where the offered rate grows."""
    whole = [value for sample in sorted(samples, key=_due) if (value := e2e(sample)) is not None]
    if stage.concurrency or not whole:
        return None
    begin = stage.begin + median(whole[:EARLY])
    end = max(sample.due for sample in samples)
    own = [sample for sample in samples if sample.due >= begin]
    if len(own) < LEAST_REQUESTS or end <= begin:
        return None
    length = (end - begin) / SLICES
    at = [begin + (number + 0.5) * length for number in range(SLICES)]
    firsts: list[list[float]] = [[] for _ in range(SLICES)]
    arrived = [0.0] * SLICES
    for sample in own:
        place = min(SLICES - 1, int((sample.due - begin) / length))
        arrived[place] += 1
        if (found := ttft(sample)) is not None:
            firsts[place].append(found)
    seen = [(moment, sum(values) / len(values)) for moment, values in zip(at, firsts, strict=True) if values]
    if len(seen) < LEAST_SLICES or slope(list(zip(at, arrived, strict=True))).low > 0:
        return None
    under_way = list(zip(at, _under_way(samples, begin, length), strict=True))
    return Growth(slope(under_way), slope(seen), len(own) / (end - begin))


def _due(sample: Sample) -> float:
    return sample.due


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """Least squares through three points or more, with Student's interval."""
    count = len(points)
    x_mean, y_mean = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    value = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    left = sum((y - y_mean - value * (x - x_mean)) ** 2 for x, y in points)
    margin = critical(LEVEL, count - 2) * sqrt(left / (count - 2) / spread)
    return Slope(value, value - margin, value + margin)


def _under_way(samples: Sequence[Sample], begin: float, length: float) -> list[float]:
    """Mean number of requests between due and ended, slice by slice."""
    found = [0.0] * SLICES
    for sample in samples:
        first = max(0, int((sample.due - begin) / length))
        last = min(SLICES - 1, int((sample.ended - begin) / length))
        for number in range(first, last + 1):
            low, high = begin + number * length, begin + (number + 1) * length
            found[number] += max(0.0, min(high, sample.ended) - max(low, sample.due)) / length
    return found
