"""How much fell into a window that slides."""

from collections.abc import Iterable


def most(amounts: Iterable[tuple[float, int]], window_s: float) -> int:
    """The largest sum of amounts whose times lie less than `window_s` apart. (time in seconds, amount)"""
    dated = sorted(amounts)
    largest = total = oldest = 0
    for at, amount in dated:
        total += amount
        while at - dated[oldest][0] >= window_s:
            total -= dated[oldest][1]
            oldest += 1
        largest = max(largest, total)
    return largest
