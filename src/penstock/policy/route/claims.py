"""What this router has in flight on one engine, now and a moment ago."""

from bisect import bisect_right
from collections import deque

from penstock.policy.route.facts import Lease

_REMEMBERED = 512
"""Changes kept: enough for a reading of the engine's load to find what was in flight when it was taken."""


class Claims:
    """Leases of one engine. Survives the engine's absence, so one that comes back finds its true count."""

    __slots__ = ("_after", "_at", "adapters", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0
        self.adapters: dict[str, int] = {}
        """Leases by LoRA adapter."""
        self._at: deque[float] = deque(maxlen=_REMEMBERED)
        self._after: deque[int] = deque(maxlen=_REMEMBERED)

    def take(self, lease: Lease, now: float) -> None:
        """Counts a lease."""
        self.requests += 1
        self.tokens += lease.tokens
        if lease.adapter:
            self.adapters[lease.adapter] = self.adapters.get(lease.adapter, 0) + 1
        self._at.append(now)
        self._after.append(self.requests)

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
        self._at.append(now)
        self._after.append(self.requests)

    def at(self, when: float) -> int:
        """Requests in flight at `when`; the oldest known count when that is longer ago than memory."""
        index = bisect_right(self._at, when)
        if index:
            return self._after[index - 1]
        return self._after[0] if len(self._at) == _REMEMBERED else 0
