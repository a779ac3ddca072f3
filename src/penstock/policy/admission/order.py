"""Who goes first and who goes home. `policy.fair` has the order that shares between tenants by tokens."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import msgspec


class Claim(msgspec.Struct, frozen=True):
    """For whom a request is, and what they will be charged, in the units of `policy.fair.Prices`."""

    tenant: str = ""
    weight: float = 1.0
    """Share of what is busy, relative to the other tenants'. Above 0."""
    at_start: float = 0.0
    """Charged when it starts."""
    cost: float = 0.0
    """Expected in all; 0 takes its tokens."""


NOBODY = Claim()
"""For where there are no tenants."""


class Waiter(msgspec.Struct, frozen=True):
    """One request in the queue."""

    key: str
    priority: int
    """Higher goes first; negative is the first to go home."""
    deadline: float
    """Monotonic seconds; it must start before. Infinity: it has none."""
    tokens: int
    """What it is expected to cost, input and output."""
    since: float
    claim: Claim = NOBODY

    @property
    def cost(self) -> float:
        """Above 0, so that requests about which nothing is known count alike."""
        return self.claim.cost or self.tokens or 1.0


class Order(Protocol):
    """Keeps the waiters in order. The queue tells it of every arrival, departure and start."""

    def add(self, waiter: Waiter) -> None:
        """A new waiter."""

    def remove(self, waiter: Waiter) -> None:
        """One that leaves, whatever the reason."""

    def started(self, waiter: Waiter, now: float) -> None:
        """One that begins to be served, after its `remove`, or without having waited: fair orders count it."""

    def first(self, now: float) -> Waiter | None:
        """Who starts next; None when nobody waits."""

    def standing(self, now: float) -> tuple[float, ...] | None:
        """How well placed its first is among those of other queues with orders of its kind that compete for the same
        engines: the smallest goes first. None when nobody waits."""

    def ahead(self, newcomer: Waiter) -> tuple[int, int]:
        """Waiters that would go before a newcomer, and their tokens, as far as can be told."""

    def forward(self) -> Iterator[Waiter]:
        """All waiters, the next to start first, as far as can be told. Not valid after a change."""

    def backward(self, newcomer: Waiter) -> Iterator[Waiter]:
        """Waiters that matter less than a newcomer, least first. Not valid after a change."""


class _Band(msgspec.Struct):
    waiters: OrderedDict[str, Waiter]
    tokens: int = 0


class PriorityFifo:
    """Higher priority first; first come, first served inside one. The youngest of the lowest priority goes home."""

    def __init__(self) -> None:
        self._bands: dict[int, _Band] = {}
        self._lowest_first: list[int] = []

    def add(self, waiter: Waiter) -> None:
        """See Order."""
        band = self._bands.get(waiter.priority)
        if band is None:
            band = self._bands[waiter.priority] = _Band(OrderedDict())
            insort(self._lowest_first, waiter.priority)
        band.waiters[waiter.key] = waiter
        band.tokens += waiter.tokens

    def remove(self, waiter: Waiter) -> None:
        """See Order."""
        band = self._bands[waiter.priority]
        del band.waiters[waiter.key]
        band.tokens -= waiter.tokens
        if not band.waiters:
            del self._bands[waiter.priority]
            del self._lowest_first[bisect_left(self._lowest_first, waiter.priority)]

    def started(self, waiter: Waiter, now: float) -> None:
        """See Order: who was served before plays no part here."""

    def first(self, now: float) -> Waiter | None:
        """See Order."""
        return next(self.forward(), None)

    def standing(self, now: float) -> tuple[float, ...] | None:
        """See Order."""
        first = self.first(now)
        return None if first is None else (-first.priority, first.since)

    def ahead(self, newcomer: Waiter) -> tuple[int, int]:
        """See Order."""
        first = [band for priority, band in self._bands.items() if priority >= newcomer.priority]
        return sum(len(band.waiters) for band in first), sum(band.tokens for band in first)

    def forward(self) -> Iterator[Waiter]:
        """See Order."""
        for priority in reversed(self._lowest_first):
            yield from self._bands[priority].waiters.values()

    def backward(self, newcomer: Waiter) -> Iterator[Waiter]:
        """See Order."""
        for priority in self._lowest_first:
            if priority >= newcomer.priority:
                return
            yield from reversed(self._bands[priority].waiters.values())
