"""What this router has in flight on one engine, now and a moment ago."""

from bisect import bisect_right
from collections import deque

from penstock.policy.route.facts import Lease

_REMEMBERED = 512
"""Changes kept: enough for a reading of the engine's load to find what was in flight when it was taken."""


class Claims:
    """Leases of one engine. Survives the engine's absence, so one that comes back finds its true count."""

    __slots__ = ("_after", "_at", "models", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0
        self.models: dict[str, int] = {}
        self._at: deque[float] = deque(maxlen=_REMEMBERED)
        self._after: deque[int] = deque(maxlen=_REMEMBERED)

    def take(self, lease: Lease, now: float) -> None:
        """Counts a lease."""
        self.requests += 1
        self.tokens += lease.tokens
        model = lease.ask.model
        self.models[model] = self.models.get(model, 0) + 1
        self._at.append(now)
        self._after.append(self.requests)

    def give(self, lease: Lease, now: float) -> None:
        """Counts a lease no more. The caller sees to it that this happens once."""
        self.requests -= 1
        self.tokens -= lease.tokens
        model = lease.ask.model
        left = self.models[model] - 1
        if left:
            self.models[model] = left
        else:
            del self.models[model]
        self._at.append(now)
        self._after.append(self.requests)

    def at(self, when: float) -> int:
        """Requests in flight at `when`; the oldest known count when that is longer ago than memory."""
        index = bisect_right(self._at, when)
        if index:
            return self._after[index - 1]
        return self._after[0] if len(self._at) == _REMEMBERED else 0
