"""How fair it was: service per tenant, shares, and Jain's index."""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, MutableMapping
from typing import TypeVar

import msgspec

Key = TypeVar("Key", bound=Hashable)


class Served(msgspec.Struct):
    """Service of one tenant, added up. Costs are in the units of Prices. Sums over workers and replicas stay sums."""

    cost: float = 0.0
    """All service."""
    backlog_s: float = 0.0
    """Seconds in which some of its requests waited."""
    backlog_cost: float = 0.0
    """Service in that time, by the tenant's weight."""
    started: int = 0
    """Requests that were let through."""


class Backlog:
    """Fills what Served says of backlog, from looks a few times a second. The time between two looks counts for who
    waited at both."""

    def __init__(self) -> None:
        self._waited: dict[Hashable, float] = {}
        """Who waited at the last look, and the cost of their service then."""
        self._at = 0.0

    def look(self, now: float, waiting: Mapping[Key, float], served: MutableMapping[Key, Served]) -> None:
        """`waiting`: the weights of those who wait now."""
        passed_s, self._at = now - self._at, now
        before, self._waited = self._waited, {}
        for key, weight in waiting.items():
            own = served.get(key)
            if own is None:
                own = served[key] = Served()
            if key in before:
                own.backlog_s += passed_s
                own.backlog_cost += (own.cost - before[key]) / weight
            self._waited[key] = own.cost


def jain(values: Iterable[float]) -> float | None:
    """Jain's index of fairness: (sum x)^2 / (n sum x^2). 1: all equal; 1/n: one has all. None without service.

    Jain, Chiu, Hawe: "A quantitative measure of fairness and discrimination for resource allocation in shared computer
    systems", DEC-TR-301, 1984.
    """
    listed = list(values)
    largest = max(listed, default=0.0)
    if largest <= 0:
        return None
    scaled = [value / largest for value in listed]  # squares of tiny numbers would vanish
    return sum(scaled) ** 2 / (len(scaled) * sum(value * value for value in scaled))


def shares(costs: Mapping[str, float]) -> dict[str, float]:
    """Tenant -> its part of all service, 0 to 1. Empty without service."""
    whole = sum(costs.values())
    return {tenant: cost / whole for tenant, cost in costs.items()} if whole > 0 else {}


class Window:
    """Shares and index over the last `length_s` seconds, from totals that only grow.

    A tenant counts for the index when it waited for at least a tenth of the window: by its weighted service per second
    of waiting. Who asks for less than its share waits little and says nothing about fairness.
    """

    def __init__(self, length_s: float = 60.0) -> None:
        self._length_s = length_s
        self._kept: deque[tuple[float, dict[str, Served]]] = deque()

    def take(self, now: float, totals: Mapping[str, Served]) -> None:
        """The totals as they are now."""
        kept = self._kept
        kept.append((now, {tenant: Served(s.cost, s.backlog_s, s.backlog_cost) for tenant, s in totals.items()}))
        while len(kept) > 2 and kept[1][0] <= now - self._length_s:
            kept.popleft()

    def _gained(self) -> dict[str, Served]:
        if not self._kept:
            return {}
        first, last, none = self._kept[0][1], self._kept[-1][1], Served()
        gained = {}
        for tenant, late in last.items():
            early = first.get(tenant, none)
            gained[tenant] = Served(
                late.cost - early.cost, late.backlog_s - early.backlog_s, late.backlog_cost - early.backlog_cost
            )
        return gained

    def shares(self) -> dict[str, float]:
        """See `shares`; tenants without service in the window have 0 or are absent."""
        return shares({tenant: max(0.0, served.cost) for tenant, served in self._gained().items()})

    def index(self) -> float | None:
        """Jain's index; None when fewer than two tenants were backlogged."""
        if not self._kept:
            return None
        enough_s = (self._kept[-1][0] - self._kept[0][0]) / 10
        rates = [s.backlog_cost / s.backlog_s for s in self._gained().values() if s.backlog_s > enough_s]
        return jain(rates) if len(rates) > 1 else None
