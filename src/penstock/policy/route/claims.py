"""What this router has in flight on one engine, now and a moment ago."""

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import islice

from penstock.policy.route.facts import Lease

_REMEMBERED = 512
"""Of each kind of change: enough for a reading of the engine's load to find what was in flight when it was taken."""


class Claims:
    """Leases of one engine. Survives the engine's absence, so one that comes back finds its true count."""

    __slots__ = ("_begun", "_ended", "adapters", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0
        self.adapters: dict[str, int] = {}
        """Leases by LoRA adapter."""
        self._begun: deque[float] = deque(maxlen=_REMEMBERED)
        self._ended: deque[float] = deque(maxlen=_REMEMBERED)
        """When leases were taken, and given."""

    def take(self, lease: Lease, now: float) -> None:
        """Counts a lease."""
        self.requests += 1
        self.tokens += lease.tokens
        if lease.adapter:
            self.adapters[lease.adapter] = self.adapters.get(lease.adapter, 0) + 1
        self._begun.append(now)

    def give(self, lease: Lease, now: float) -> None:
        """Counts a lease no more. The caller sees to it that this happens once."""
        self.requests -= 1
        self.tokens -= lease.tokens
        if lease.adapter:
            left = self.adapters[lease.adapter] - 1
            if left:
                self.adapters[lease.adapter] = left
            else:
                del self.adapters[lease.adapter]
        self._ended.append(now)

    def at(self, when: float) -> int:
        """Requests in flight at `when`; of changes since then no more are taken back than are remembered."""
        return self.requests - _since(self._begun, when) + _since(self._ended, when)

    def joined(self, since: float, until: float) -> float:
        """How many more requests were in flight in the mean from `since` to `until` than at `since`; of changes since
        then no more are counted than are remembered."""
        if until <= since:
            return 0.0
        more = _seconds(self._begun, since, until) - _seconds(self._ended, since, until)
        return more / (until - since)


def _since(times: deque[float], when: float) -> int:
    return len(times) - bisect_right(times, when)


def _seconds(times: deque[float], since: float, until: float) -> float:
    """From each of the `times` after `since` to `until`, together."""
    first, end = bisect_right(times, since), bisect_left(times, until)
    return (end - first) * until - sum(islice(times, first, end))
