"""A slow request at two engines: the first to send content answers, the other is let go of (law 2: never both)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.clock import monotonic
from penstock.core.engine import Exchange, Flow, ResponseHead
from penstock.core.errors import RequestError, UpstreamFailed
from penstock.core.record import Attempt
from penstock.gateway.verdict import Verdict
from penstock.policy.route.facts import Lease

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.relay import Relay

WEAK = frozenset({429, 500, 502, 503, 504})
"""Statuses that do not win a race while the other engine is still at work."""


class Leg:
    """One engine's copy. A Sink that holds what comes until it is known who answers."""

    def __init__(self, race: Race, lease: Lease, started: float) -> None:
        self.lease = lease
        self.started = started
        self.exchange: Exchange | None = None
        self.flow: Flow | None = None
        self.held: ResponseHead | None = None
        self.winner: Relay | None = None
        """Where everything goes once this copy has won."""
        self._race = race

    def head(self, head: ResponseHead) -> None:
        if head.status in WEAK and self._race.others(self):
            self._race.lost(self, UpstreamFailed(f"The engine answered {head.status}.", code="upstream_busy"))
            return
        self.held = head

    def data(self, piece: bytes, last: bool) -> None:
        if (relay := self._answering()) is not None:
            relay.data(piece, last)
            self.flow = relay.flow

    def end(self) -> None:
        if (relay := self._answering()) is not None:
            relay.end()

    def failed(self, error: RequestError) -> None:
        if self.winner is None:
            self._race.lost(self, error)
        elif self.winner.head_held is self.held:
            self.winner.failed(error)

    def _answering(self) -> Relay | None:
        """The relay, if it takes this answer: the first content wins; a head it does not want sends it elsewhere."""
        if self.winner is None:
            self.winner = self._race.won(self)
        return self.winner if self.winner.head_held is self.held else None


class Race:
    """Both copies; to the relay it is the one exchange that it steers."""

    def __init__(self, app: App, relay: Relay, first: Exchange, lease: Lease) -> None:
        self.reused = first.reused
        self.sink = first.sink
        self._app = app
        self._relay = relay
        leg = Leg(self, lease, relay.sent_at)
        leg.exchange = first
        first.sink = leg
        self._legs = [leg]
        self._paused = False

    def join(self, engine: str) -> None:
        """Asks a second engine."""
        app, relay = self._app, self._relay
        assert relay.tries is not None
        leg = Leg(self, app.fleet.lease(engine, relay.tries.ask, monotonic()), monotonic())
        self._legs.append(leg)
        exchange = app.fleet.engines[engine].send(relay.request, leg, relay.request_id)
        if leg in self._legs:  # it may have failed at once
            leg.exchange = exchange

    def others(self, leg: Leg) -> bool:
        """Whether another copy is still under way."""
        return any(other is not leg for other in self._legs)

    def won(self, leg: Leg) -> Relay:
        """The first content has come: from here on this engine's answer is the relay's own."""
        relay = self._relay
        for other in [each for each in self._legs if each is not leg]:
            self._drop(other, Verdict(None), "hedged")
        self._legs.clear()
        assert leg.exchange is not None
        assert leg.held is not None
        leg.exchange.sink = relay
        relay.taken_over(leg.exchange, leg.lease, leg.started)
        relay.head(leg.held)
        return relay

    def lost(self, leg: Leg, error: RequestError) -> None:
        """One copy has failed; the relay hears of it only when it was the last."""
        if not self.others(leg):
            self._legs.clear()
            self._relay.taken_over(None, leg.lease, leg.started)
            self._relay.failed(error)
            return
        self._drop(leg, Verdict(False, error.code), error.code)

    def _drop(self, leg: Leg, verdict: Verdict, code: str) -> None:
        self._legs.remove(leg)
        if leg.exchange is not None:
            leg.exchange.cancel()
        now = monotonic()
        self._app.fleet.release(leg.lease, now)
        self._app.fleet.observed(leg.lease, now, verdict)
        relay = self._relay
        relay.attempts.append(Attempt(leg.lease.engine, leg.started - relay.request.received, False, code))

    # -- Exchange ---------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        for leg in self._legs:
            if leg.exchange is not None:
                leg.exchange.pause()

    def resume(self) -> None:
        for leg in self._legs:
            if leg.exchange is not None:
                leg.exchange.resume()

    def cancel(self) -> None:
        """The client left, or time is up: both go, and the relay answers for the first."""
        first, *rest = self._legs
        for leg in rest:
            self._drop(leg, Verdict(None), "hedged")
        self._legs.clear()
        if first.exchange is not None:
            first.exchange.cancel()
        self._relay.taken_over(None, first.lease, first.started)
