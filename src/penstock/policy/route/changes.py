"""When something became more and when less: how much of it there was a moment ago, and in the mean of a while."""

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import islice

_REMEMBERED = 512
"""Of each kind: enough for a reading of an engine's load to find what was in flight when it was taken."""


class Changes:
    """Moments at which something grew by one, and at which it shrank by one, each kind in order of time. Of changes
    long ago no more count than are remembered."""

    __slots__ = ("less", "more")

    def __init__(self) -> None:
        self.more: deque[float] = deque(maxlen=_REMEMBERED)
        self.less: deque[float] = deque(maxlen=_REMEMBERED)

    def since(self, when: float) -> int:
        """By how much it has grown after `when`; negative where it shrank."""
        return _after(self.more, when) - _after(self.less, when)

    def mean(self, since: float, until: float) -> float:
        """How much more there was in the mean from `since` to `until` than at `since`."""
        if until <= since:
            return 0.0
        return (_seconds(self.more, since, until) - _seconds(self.less, since, until)) / (until - since)


def _after(times: deque[float], when: float) -> int:
    return len(times) - bisect_right(times, when)


def _seconds(times: deque[float], since: float, until: float) -> float:
    """From each of the `times` after `since` to `until`, together."""
    first, end = bisect_right(times, since), bisect_left(times, until)
    return (end - first) * until - sum(islice(times, first, end))
