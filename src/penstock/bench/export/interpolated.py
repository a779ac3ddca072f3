"""Statistics as numpy makes them, which other tools report."""

from collections.abc import Sequence
from math import floor, sqrt


def percentile(ordered: Sequence[float], p: float) -> float:
    """Hyndman and Fan's type 7, as `numpy.percentile`: `p` from 0 to 100. `ordered` is sorted and not empty."""
    place = p / 100 * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Of the values themselves, not of what they are a sample of: divided by their number, as `numpy.std`."""
    middle = mean(values)
    return sqrt(sum((value - middle) ** 2 for value in values) / len(values))
