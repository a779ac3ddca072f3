"""Throughput at an equal p95: which rate to try next, where p95 crosses its bound, and the ratio of two such rates.

Pure. Within a round a trial has the requests of every slower trial and some more. So p95 rises with the rate but for
the engines' own noise, and two ways of running engines can be compared round by round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from typing import NamedTuple

from penstock.bench.measure.student import critical

STEP = 1.25
"""Between neighbouring rates."""
LEAPS = 2
"""Times that a step doubles: a rate far beyond the bound takes long to be answered."""
SLACK = 1.001
"""For rounded rates."""


class Point(NamedTuple):
    rate: float
    """Requests per second offered."""
    p95: float
    """Seconds from due to the last byte; infinite when more than one in twenty failed."""


class Ratio(NamedTuple):
    value: float
    low: float
    high: float


def next_rate(points: Sequence[Point], start: float, bound: float, most: int) -> float | None:
    """The rate to try now; None when the bound lies between neighbours, or `most` trials were made.

    Away from `start` in steps, the first ones each twice the one before it in logarithms, until trials lie on both
    sides of the bound; then in the middle of the two.
    """
    if not points:
        return start
    below, above = sides(points, bound)
    if len(points) >= most:
        return None
    if below and above:
        return None if above.rate <= below.rate * STEP * SLACK else sqrt(below.rate * above.rate)
    leap: float = STEP ** (2.0 ** min(len(points) - 1, LEAPS))
    return below.rate * leap if below else min(point.rate for point in points) / leap


def sides(points: Sequence[Point], bound: float) -> tuple[Point | None, Point | None]:
    """The last point within the bound below all that are beyond it, and the first beyond it."""
    above = min((point for point in points if point.p95 > bound), default=None)
    within = [point for point in points if point.p95 <= bound and (above is None or point.rate < above.rate)]
    return max(within, default=None), above


def crossing(points: Sequence[Point], bound: float) -> float | None:
    """The rate at which p95 is `bound`: on the line between the two points beside it, in logarithms.

    None where all points are on one side. A failed trial gives no slope: then the rate below it is taken.
    """
    below, above = sides(points, bound)
    if below is None or above is None:
        return None
    if above.p95 == float("inf"):
        return below.rate
    part = log(bound / below.p95) / log(above.p95 / below.p95)
    return exp(log(below.rate) + part * log(above.rate / below.rate))


def ratio(rounds: Sequence[Mapping[str, float | None]], fast: str, slow: str, level: float = 0.95) -> Ratio | None:
    """Geometric mean over rounds of `fast` / `slow`, with the t interval of its logarithm; None without a round that
    has both, an interval from 0 to infinity with a single one."""
    logs = [log(a / b) for each in rounds if (a := each.get(fast)) and (b := each.get(slow))]
    if not logs:
        return None
    mean = sum(logs) / len(logs)
    if len(logs) < 2:
        return Ratio(exp(mean), 0.0, float("inf"))
    error = (sum((each - mean) ** 2 for each in logs) / (len(logs) - 1) / len(logs)) ** 0.5
    half = critical(level, len(logs) - 1) * error
    return Ratio(exp(mean), exp(mean - half), exp(mean + half))


def middle(values: Sequence[float]) -> float:
    """The geometric mean; of rates, as of everything that is compared by its ratio."""
    return exp(sum(map(log, values)) / len(values))
