"""What this router has in flight on one engine, and how many engines have anything; now and a moment ago."""

from penstock.policy.route.changes import Changes
from penstock.policy.route.facts import Lease


class Busy:
    """How many engines have requests of this router's: those that share a machine slow each other down."""

    __slots__ = ("changes", "engines", "requests")

    def __init__(self) -> None:
        self.engines = 0
        self.requests = 0
        """On all of them together."""
        self.changes = Changes()


class Claims:
    """Leases of one engine. Survives the engine's absence, so one that comes back finds its true count."""

    __slots__ = ("_changes", "adapters", "busy", "requests", "tokens")

    def __init__(self, busy: Busy) -> None:
        self.requests = 0
        self.tokens = 0
        self.adapters: dict[str, int] = {}
        """Leases by LoRA adapter."""
        self.busy = busy
        """Of all engines."""
        self._changes = Changes()

    def take(self, lease: Lease, now: float) -> None:
        """Counts a lease."""
        busy = self.busy
        busy.requests += 1
        if not self.requests:
            busy.engines += 1
            busy.changes.more.append(now)
        self.requests += 1
        self.tokens += lease.tokens
        if lease.adapter:
            self.adapters[lease.adapter] = self.adapters.get(lease.adapter, 0) + 1
        self._changes.more.append(now)

    def give(self, lease: Lease, now: float) -> None:
        """Counts a lease no more. The caller sees to it that this happens once."""
        busy = self.busy
        busy.requests -= 1
        self.requests -= 1
        self.tokens -= lease.tokens
        if lease.adapter:
            left = self.adapters[lease.adapter] - 1
            if left:
                self.adapters[lease.adapter] = left
            else:
                del self.adapters[lease.adapter]
        self._changes.less.append(now)
        if not self.requests:
            busy.engines -= 1
            busy.changes.less.append(now)

    def at(self, when: float) -> int:
        """Requests in flight at `when`."""
        return self.requests - self._changes.since(when)

    def joined(self, since: float, until: float) -> float:
        """How many more requests were in flight in the mean from `since` to `until` than at `since`."""
        return self._changes.mean(since, until)
