"""Requests to engines that one turn of the event loop brings: sent together at its end.

To send wakes the reader, and to wake one that sleeps on another core costs the sender an interrupt between cores: of a
virtual machine, as much as the rest of the send. Requests that go out one after the other find their engine, or the
card that carries them there, awake. The first waits for what came in the same turn with it; a turn that brings one
request sends it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engines.http.exchange import HttpExchange
    from penstock.engines.http.upstream import Upstream

MOST = 16
"""So many wait for no turn's end: a busy turn lasts milliseconds."""


class Outbox:
    """One per event loop."""

    __slots__ = ("_due", "_soon")

    def __init__(self) -> None:
        self._due: list[tuple[Upstream, HttpExchange, bytes]] = []
        self._soon: Callable[[Callable[[], None]], object] | None = None
        """The loop's `call_soon`, once it runs. To ask which loop runs is a system call before Python 3.12."""

    def put(self, upstream: Upstream, exchange: HttpExchange, payload: bytes) -> None:
        """Has `upstream` send the payload soon, unless it is rid of the exchange by then."""
        due = self._due
        if not due:
            if self._soon is None:
                self._soon = asyncio.get_running_loop().call_soon
            self._soon(self.flush)
        due.append((upstream, exchange, payload))
        if len(due) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Sends what waits."""
        due, self._due = self._due, []
        for upstream, exchange, payload in due:
            upstream.send(exchange, payload)
