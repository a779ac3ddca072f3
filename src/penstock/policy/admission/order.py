"""Who goes first and who goes home: the seam for another order, such as token-fair sharing between tenants."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import msgspec


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
    tenant: str = ""


class Order(Protocol):
    """Keeps the waiters in order. The queue tells it of every arrival, departure and start."""

    def add(self, waiter: Waiter) -> None:
        """A new waiter."""

    def remove(self, waiter: Waiter) -> None:
        """One that leaves, whatever the reason."""

    def started(self, waiter: Waiter) -> None:
        """One that begins to be served, after its `remove`, or without having waited: fair orders count it."""

    def ahead(self, newcomer: Waiter) -> tuple[int, int]:
        """Waiters that would go before a newcomer, and their tokens."""

    def forward(self) -> Iterator[Waiter]:
        """All waiters, the next to start first. Not valid after a change."""

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

    def started(self, waiter: Waiter) -> None:
        """See Order: who was served before plays no part here."""

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
