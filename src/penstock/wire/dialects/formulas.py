"""How a signal comes from samples: the words that the dialects' tables are written in.

Counts add up over an engine's replicas (data-parallel ranks, models). Utilisation is their mean, so that utilisation
times the summed capacity is what is in use. Where every process of a tensor-parallel group reports the same number, the
highest in the group stands for it. A formula without the samples it needs gives None.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from penstock.wire.dialects.exposition import Readings, Sample, stem

Value: TypeAlias = float | tuple[str, ...] | None
Where: TypeAlias = tuple[str, str] | None
"""A label and the value it must have."""


@dataclass(frozen=True, slots=True)
class Formula:
    """The metrics it reads, as engines' documents name them, and what it makes of them."""

    metrics: tuple[str, ...]
    value: Callable[[Readings], Value]


@dataclass(frozen=True, slots=True)
class Number(Formula):
    """A formula that gives a number."""

    value: Callable[[Readings], float | None]


def _finite(readings: Readings, metric: str, where: Where) -> Iterator[Sample]:
    for sample in readings.get(stem(metric), ()):
        if math.isfinite(sample.value) and (where is None or sample.labels.get(where[0]) == where[1]):
            yield sample


def _by_rank(readings: Readings, metric: str, where: Where, rank: str) -> dict[str, float]:
    """The highest value of each replica; `rank` is the label that tells replicas apart."""
    highest: dict[str, float] = {}
    for sample in _finite(readings, metric, where):
        key = sample.labels.get(rank, "")
        highest[key] = max(highest.get(key, -math.inf), sample.value)
    return highest


def _shown(metric: str, where: Where) -> str:
    return metric if where is None else f'{metric}{{{where[0]}="{where[1]}"}}'


def total(metric: str, where: Where = None) -> Number:
    """The sum of all samples."""

    def value(readings: Readings) -> float | None:
        found = [sample.value for sample in _finite(readings, metric, where)]
        return sum(found) if found else None

    return Number((_shown(metric, where),), value)


def ranks(metric: str, rank: str, where: Where = None) -> Number:
    """The sum over replicas, of which each may report the same more than once."""

    def value(readings: Readings) -> float | None:
        found = _by_rank(readings, metric, where, rank)
        return sum(found.values()) if found else None

    return Number((_shown(metric, where),), value)


def share(metric: str, rank: str, where: Where = None) -> Number:
    """The mean over replicas of a share, at most 1."""

    def value(readings: Readings) -> float | None:
        found = _by_rank(readings, metric, where, rank)
        return min(1.0, sum(found.values()) / len(found)) if found else None

    return Number((_shown(metric, where),), value)


def times(left: str, right: str, rank: str, wheres: tuple[Where, Where] = (None, None)) -> Number:
    """The product within each replica, summed: blocks and tokens per block."""

    def value(readings: Readings) -> float | None:
        one, other = _by_rank(readings, left, wheres[0], rank), _by_rank(readings, right, wheres[1], rank)
        found = [one[key] * other[key] for key in one.keys() & other.keys()]
        return sum(found) if found else None

    return Number((_shown(left, wheres[0]), _shown(right, wheres[1])), value)


def plus(first: Number, *others: Number) -> Number:
    """A sum whose first part must be there; the others are added where the engine has them."""

    def value(readings: Readings) -> float | None:
        begun = first.value(readings)
        return None if begun is None else begun + sum(other.value(readings) or 0.0 for other in others)

    return Number((*first.metrics, *(metric for other in others for metric in other.metrics)), value)


def minus(left: Number, right: Number) -> Number:
    """A difference, at least 0: the two are not read in one instant."""

    def value(readings: Readings) -> float | None:
        one, other = left.value(readings), right.value(readings)
        return None if one is None or other is None else max(0.0, one - other)

    return Number((*left.metrics, *right.metrics), value)


def ratio(part: Number, whole: Number) -> Number:
    """A share from two counts."""

    def value(readings: Readings) -> float | None:
        one, other = part.value(readings), whole.value(readings)
        return None if one is None or not other else min(1.0, one / other)

    return Number((*part.metrics, *whole.metrics), value)


def either(first: Number, second: Number) -> Number:
    """The first, or the second where the engine has not the first."""

    def value(readings: Readings) -> float | None:
        found = first.value(readings)
        return second.value(readings) if found is None else found

    return Number((*first.metrics, *second.metrics), value)


def scaled(counted: Number, info: str, label: str) -> Number:
    """A count times the number in a label of an info metric: blocks to tokens."""

    def value(readings: Readings) -> float | None:
        found = counted.value(readings)
        factor = next((n for s in readings.get(stem(info), ()) if (n := _label(s, label)) is not None), None)
        return None if found is None or factor is None else found * factor

    return Number((*counted.metrics, info), value)


def label_product(info: str, rank: str, *alternatives: tuple[str, ...]) -> Number:
    """From the labels of an info metric, per replica and summed: the first alternative whose labels are all numbers."""

    def value(readings: Readings) -> float | None:
        highest: dict[str, float] = {}
        for sample in readings.get(stem(info), ()):
            found = _product(sample, alternatives)
            if found is not None:
                key = sample.labels.get(rank, "")
                highest[key] = max(highest.get(key, 0.0), found)
        return sum(highest.values()) if highest else None

    return Number((info,), value)


def _product(sample: Sample, alternatives: tuple[tuple[str, ...], ...]) -> float | None:
    for names in alternatives:
        numbers = [_label(sample, name) for name in names]
        present = [number for number in numbers if number is not None]
        if len(present) == len(numbers):
            return math.prod(present)
    return None


def _label(sample: Sample, name: str) -> float | None:
    """The whole number in a label; None where it is absent or a word such as `None`."""
    written = sample.labels.get(name, "")
    return float(written) if written.isascii() and written.isdigit() and len(written) <= 18 else None


def newest_label(metric: str, label: str) -> Number:
    """The number in a label of the newest series, where a series' value is the time it was set."""

    def value(readings: Readings) -> float | None:
        newest = _newest(readings, metric)
        return None if newest is None else _label(newest, label)

    return Number((metric,), value)


def newest_names(metric: str, *labels: str) -> Formula:
    """The names in comma-separated labels of the newest series, each once, in order."""

    def value(readings: Readings) -> Value:
        newest = _newest(readings, metric)
        if newest is None:
            return None
        names = (name.strip() for label in labels for name in newest.labels.get(label, "").split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    return Formula((metric,), value)


def _newest(readings: Readings, metric: str) -> Sample | None:
    return max(_finite(readings, metric, None), key=lambda sample: sample.value, default=None)
