"""A figure with how sure it is: over runs where there are several, else within the one run."""

from collections.abc import Iterable, Sequence
from math import exp, log, sqrt

import msgspec

from penstock.bench.measure.student import critical
from penstock.bench.sample import Sample, Stage

LEVEL = 0.95
SLICES = 10
LEAST = 20
"""Events that a rate must be made of to have an interval."""


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval; None where there is too little for one."""

    value: float
    low: float | None = None
    high: float | None = None
    over: str = ""
    """What varies: `runs`, `requests`, or `slices` of time."""


def of_runs(values: Sequence[float]) -> Estimate:
    """Of one number per run, by Student's t. Geometric where all are above 0, as comparisons are; else arithmetic."""
    if len(values) < 2:
        return Estimate(values[0])
    if min(values) > 0:
        middle, half = _mean_and_half([log(value) for value in values])
        return Estimate(exp(middle), exp(middle - half), exp(middle + half), "runs")
    middle, half = _mean_and_half(values)
    return Estimate(middle, max(0.0, middle - half), middle + half, "runs")


def of_rate(parts: Iterable[tuple[float, float, float]], stage: Stage) -> Estimate:
    """A rate per second in one stage. `parts`: (from, to, amount).

    Its interval is by batch means: the stage is cut into ten equal slices, and the rate of each is one value. Slices
    shorter than a request make it too narrow.
    """
    length = max(1e-9, stage.end - stage.begin) / SLICES
    found, count, total = [0.0] * SLICES, 0, 0.0
    for begin, end, amount in parts:
        count += 1
        total += amount
        first, last = (max(0, min(SLICES - 1, int((at - stage.begin) / length))) for at in (begin, max(begin, end)))
        if first == last:
            found[first] += amount
            continue
        for number in range(first, last + 1):
            left, right = stage.begin + number * length, stage.begin + (number + 1) * length
            found[number] += amount * max(0.0, min(end, right) - max(begin, left)) / (end - begin)
    value = total / (SLICES * length)
    if count < LEAST:
        return Estimate(value)
    _, half = _mean_and_half([each / length for each in found])
    return Estimate(value, max(0.0, value - half), value + half, "slices")


def tokens_of(samples: Iterable[Sample]) -> list[tuple[float, float, float]]:
    """Output tokens, spread evenly from first to last content."""
    return [
        (sample.first or sample.sent, sample.last or sample.ended, float(sample.output_tokens))
        for sample in samples
        if sample.output_tokens
    ]


def ends_of(samples: Iterable[Sample]) -> list[tuple[float, float, float]]:
    """One each, when it ended."""
    return [(sample.ended, sample.ended, 1.0) for sample in samples]


def _mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its interval."""
    count = len(values)
    mean = sum(values) / count
    error = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return mean, critical(LEVEL, count - 1) * error
