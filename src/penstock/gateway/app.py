"""What a Config compiles to inside a worker, and the sweep that enforces its timeouts."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from penstock.config.engines import Http
from penstock.config.schema import Config
from penstock.core.clock import monotonic, wall
from penstock.core.endpoint import Endpoint
from penstock.core.engine import Engine
from penstock.core.errors import RequestError, UpstreamTimeout
from penstock.core.record import Record
from penstock.core.request import Request
from penstock.engines.http import HttpEngine, Outbox
from penstock.gateway.ask import AskReader
from penstock.gateway.billing import Billing
from penstock.gateway.books import Books, Choices, choices_of
from penstock.gateway.lanes import Lanes
from penstock.gateway.lessons import Lessons
from penstock.gateway.limiter import Limiter
from penstock.gateway.lookup import Tokens
from penstock.gateway.relay import Relay
from penstock.gateway.verdict import Verdict
from penstock.gateway.view import FleetView, health_settings
from penstock.gateway.waiting import Waiting, fair_settings
from penstock.policy.limit.messages import Wants
from penstock.policy.resilience.bulkhead import Bulkheads, BulkheadSettings
from penstock.policy.resilience.health import Health
from penstock.policy.resilience.hedge import Hedger, HedgeSettings
from penstock.policy.resilience.retry import RetryBudget, RetrySettings
from penstock.policy.resilience.timeouts import Ceilings, Timeouts, TimeoutSettings
from penstock.policy.route.facts import Lease
from penstock.state.audit.log import AuditLog
from penstock.state.identity.callers import Callers
from penstock.state.ledger.prices import load_book
from penstock.telemetry.accesslog import RecordSink
from penstock.telemetry.meter import Meter
from penstock.wire.heads import valid_request_id
from penstock.wire.openai import NO_CALL
from penstock.wire.request_head import HeadReader

if TYPE_CHECKING:
    from penstock.gateway.connection import Connection

MOST_UNBOOKED = 64
"""Ended requests that may wait to be booked; they hold on to what is needed to read their usage."""


MOST_UNCOUNTED = 32
"""Chunks of a stream that may have passed uncounted: many are cheaper to count at once."""
COUNT_S = 0.5
"""Seconds after which the chunks of a slow stream are counted too."""
STEP = 32
"""Requests or connections that one step of the sweep looks at: well under a millisecond of work."""


def _nobody_hears(wants: Wants) -> None:
    """Where there is no supervisor: nothing is granted, and no rule that counts exists."""


class App:
    """Everything a request may need, passed along instead of found."""

    def __init__(
        self,
        config: Config,
        meter: Meter,
        log: RecordSink,
        callers: Callers | None = None,
        tell: Callable[[Wants], None] = _nobody_hears,
        billing: Billing | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        callers = callers or Callers(config.auth.keys)
        self.limits = config.limits
        self.timeouts = config.timeouts
        self.heartbeat_s = config.streaming.heartbeat
        self.meter = meter
        self.log = log
        self.callers = callers
        self.limited = bool(config.rate_limits.rules()) or config.auth.tenants
        """Whether anybody can have a limit."""
        self.billing = billing
        self.audit = audit
        self.content_bytes = config.audit.content_bytes if audit and config.audit.requests == "content" else 0
        """Bytes of an answer that the audit log keeps; 0 for none."""
        self.epoch = wall() - monotonic()
        """Wall-clock time of monotonic zero, as of the last sweep."""
        self.asks = AskReader(config.routing)
        self.heads = HeadReader(self.asks.noted)
        self.routing = config.routing
        self.attempts = config.resilience.attempts
        self.retries = RetryBudget(RetrySettings(ratio=config.resilience.retry_ratio))
        self.chance: Callable[[], float] = random.random
        self.fleet = FleetView(self._open_engine, config.routing, Health(health_settings(config.resilience)))
        precise = config.routing.prefixes == "precise"
        self.tokens = Tokens(config.routing.token_wait, self.fleet, meter.add_lookup) if precise else None
        """Looks up token ids; None where prefixes are guessed by what was sent where."""
        self.limiter = Limiter(config.rate_limits, load_book(config.ledger.prices), tell, self.fleet.known_model)
        self.draining = False
        self.waiting = Waiting(config.queue, self.fleet, fair_settings(config.queue))
        self.lanes = Lanes(self.fleet, config.queue.max_wait)
        self.bulkheads = Bulkheads(
            BulkheadSettings(models={name: model.max_in_flight for name, model in config.models.items()})
        )
        self.models = config.models
        self.learned = Timeouts(
            TimeoutSettings(adaptive=config.resilience.adaptive_timeouts),
            Ceilings(self.timeouts.first_byte, self.timeouts.stall, self.timeouts.total),
        )
        self.lessons = Lessons(self.fleet, self.learned)
        self.routed = 0
        """Requests that had a choice and have not earned their share of a retry yet."""
        self.hedger = Hedger(HedgeSettings(enabled=config.resilience.hedge), self.retries, self.learned)
        self._books = Books(meter, log, config.admin.records, self.fleet.known_model, audit)
        self._ended: list[Relay] = []
        self._accepted = 0
        self._counted_at = 0.0
        self.running: dict[Relay, Connection] = {}
        self.connections: set[Connection] = set()
        self._outbox = Outbox()
        self._http = {engine.name: engine for engine in config.engines if isinstance(engine, Http)}
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex().encode()

    def _open_engine(self, endpoint: Endpoint) -> Engine:
        settings = self._http.get(endpoint.name)
        if settings is not None and settings.api_key:
            authorization: bytes | None = b"Bearer " + settings.api_key.encode()
        else:
            # The gateway's own keys are no engine's business; where it has none, the client's credentials pass.
            authorization = None if self.callers.open else b""
        return HttpEngine(
            endpoint.url,
            authorization=authorization,
            connect_timeout=self.timeouts.connect,
            connections=settings.connections if settings is not None else 64,
            outbox=self._outbox,
        )

    # -- connections ------------------------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._accepted += 1
        if len(self.connections) > self.limits.connections:
            connection.overloaded()

    def disconnected(self, connection: Connection) -> None:
        self.connections.discard(connection)

    # -- requests ---------------------------------------------------------------------------------------------------

    def open(self, connection: Connection, request: Request) -> Relay:
        """Accepts a request: from here on exactly one Record will be closed for it (law 1)."""
        given = request.special.get(b"x-request-id")
        if given is not None and valid_request_id(given):
            request_id = given
        else:
            request_id = b"req-%b-%x" % (self._id_prefix, next(self._ids))
        relay = Relay(connection, request, request_id, keep=request.keep_alive and not self.draining)
        connection.relay = relay
        self.running[relay] = connection
        return relay

    def close(self, connection: Connection, relay: Relay) -> None:
        """Ends a request: it will be booked, and its connection goes on to the next."""
        now = relay.ended_at = monotonic()
        if relay.bill is not None:
            relay.bill.close(relay, relay.failure, now)
        if relay.held is not None:
            relay.held.settle(relay, self.epoch)
        relay.request.body = b""  # its size is known; booking needs no more
        relay.call = NO_CALL
        del self.running[relay]
        self._ended.append(relay)
        if len(self._ended) >= MOST_UNBOOKED:
            self.book()
        connection.done(relay.keep, now)

    def book(self) -> None:
        """Closes the Records of requests that have ended."""
        ended, self._ended = self._ended, []
        if ended or self.audit is not None:
            self.lessons.take(ended)
            if self.limited:
                self.limiter.learn(ended)
            self._books.enter(ended, self.epoch)

    def judge(self, relay: Relay, lease: Lease, verdict: Verdict, failure: RequestError | None) -> None:
        """Learns at once from an attempt, after what ended before it."""
        self.book()
        self.lessons.at_once(relay, lease, verdict, failure)

    def may_retry(self) -> bool:
        """Whether one more attempt may be sent now. A yes is counted: ask only when it will be sent."""
        return self.budget(monotonic()).may_retry(monotonic())

    def budget(self, now: float) -> RetryBudget:
        """The budget of retries, with what the requests so far have earned."""
        if self.routed:
            self.retries.requested(now, self.routed)
            self.routed = 0
        return self.retries

    # -- time -------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """A whole pass at once. See `steps`."""
        for _ in self.steps(now):
            pass

    def steps(self, now: float) -> Iterator[None]:
        """Ends what has lasted too long, and counts what has passed. One pass over everything open, a few times a
        second, is cheaper than a timer per request; in steps, so that no stream waits for a thousand others.
        """
        self._keep_up(now)
        whole = now - self._counted_at >= COUNT_S
        if whole:
            self._counted_at = now
        yield
        for number, (relay, connection) in enumerate(list(self.running.items()), 1):
            if not relay.ended and relay.sent_at:
                if relay.flowed >= MOST_UNCOUNTED or (whole and relay.streaming):
                    relay.mark(self.meter)
                    if relay.turn is not None:
                        relay.turn.charge(relay.events)
                self._check(relay, connection, now)
            if not number % STEP:
                yield
        for number, connection in enumerate(list(self.connections), 1):
            connection.sweep(now)
            if not number % STEP:
                yield
        self.meter.flush()

    def _keep_up(self, now: float) -> None:
        """What is due a few times a second, whatever runs."""
        self.book()
        self.epoch = wall() - monotonic()
        if self.billing is not None:
            self.billing.sweep(self.epoch)
        if self.limited:
            self.limiter.report(now)
        self.log.flush()
        self._show_load()
        self.fleet.weigh(now)
        self.asks.bytes_per_token = self.fleet.router.bytes_per_token
        self.budget(now)
        self.lanes.sweep(now)
        self.waiting.sweep(now)

    def _show_load(self) -> None:
        meter = self.meter
        meter.show_load(len(self.running), len(self.connections), self._accepted, self.log.lost)
        for engine, count in self.fleet.in_flight.items():
            meter.show_engine_load(engine, count)
        waits_there = self.lanes.depths()
        for place, depth in self.waiting.depths().items():
            meter.show_queue(*place, depth + waits_there.get(place, 0))
        for news in self.waiting.news():
            meter.add_tenant(news.tenant, news.at_once, news.waits, news.cost, news.backlog_s)
        if self.billing is not None:
            meter.show_ledger(self.billing.dropped)
        if self.limited:
            limiter = self.limiter
            meter.show_limits(limiter.refused, limiter.shadowed, limiter.opened)
        self.fleet.let_go()

    def _check(self, relay: Relay, connection: Connection, now: float) -> None:
        timeouts = self.timeouts
        if relay.paused_at:
            if now - relay.paused_at > timeouts.client_stall:
                connection.abort()
        elif now - relay.request.received > timeouts.total:
            reason = f"The request took longer than timeouts.total ({timeouts.total:g} s)."
            relay.expire(UpstreamTimeout(reason, code="total_timeout"))
        elif relay.queued is not None:
            pass  # the engine it was sent to has given it up: it waits for its turn elsewhere
        elif not relay.first_at:
            first_byte_s = timeouts.first_byte
            if relay.prefill is not None:
                first_byte_s = relay.prefill.first_byte_s(first_byte_s)
            if relay.hedge_at and now > relay.hedge_at:
                relay.hedge(self)
            self._check_silence(relay, now - relay.sent_at, first_byte_s, first=True)
        else:
            self._check_silence(relay, now - relay.heard_last, timeouts.stall, first=False)
        if self.heartbeat_s and not relay.ended and now - max(relay.heard_last, relay.heard_at) > self.heartbeat_s:
            relay.heartbeat(now)

    def _check_silence(self, relay: Relay, silent_s: float, ceiling: float, *, first: bool) -> None:
        """Lets go of an engine that says nothing for too long: longer than configured, or many times longer than
        requests like it take, where another engine may be asked instead."""
        if silent_s > ceiling:
            relay.expire(_too_silent(ceiling, first=first))
        elif silent_s > self.learned.least_s and relay.tries is not None and relay.tries.may_leave:
            limits = relay.tries.limits()
            if silent_s > (bound := limits.first_byte_s if first else limits.stall_s):
                did = "began no answer" if first else "paused"
                reason = f"The engine {did} for {bound:.3g} s, many times longer than for requests like it."
                relay.expire(UpstreamTimeout(reason, code="engine_slow" if first else "stall_timeout"))

    # -- draining ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Lets running requests finish and connections close after their next answer; the sweep closes idle ones."""
        self.draining = True
        self.lanes.drain()
        self.waiting.drain(monotonic())

    def drained(self) -> bool:
        """Whether no client has anything to wait for any more."""
        return all(connection.settled for connection in self.connections)

    def abandon(self) -> None:
        """Ends what is still running when the drain bound is reached, each with its typed error."""
        for relay in list(self.running):
            reason = f"The gateway is stopping and this request outlasted timeouts.drain ({self.timeouts.drain:g} s)."
            relay.expire(UpstreamTimeout(reason, code="drain_timeout"))

    def live(self) -> list[dict[str, object]]:
        """Requests under way, for people."""
        now = monotonic()
        return [
            {
                "id": relay.request_id.decode("ascii"),
                "model": relay.model,
                "engine": relay.engine,
                "path": relay.request.path.decode("latin-1"),
                "stream": relay.streaming,
                "age_s": now - relay.request.received,
                "first_byte": bool(relay.first_at),
                "events": relay.events,
            }
            for relay in self.running
        ]

    def choices(self, request_id: str) -> Choices:
        """What was chosen for a request that runs or has lately ended."""
        for relay in self.running:
            if relay.request_id.decode("ascii") == request_id:
                return choices_of(relay)
        return self._books.choices(request_id)

    def recent(self, limit: int) -> list[Record]:
        """The last finished Records, newest first."""
        self.book()
        return list(itertools.islice(reversed(self._books.records), limit))


def _too_silent(ceiling_s: float, *, first: bool) -> UpstreamTimeout:
    if first:
        reason = f"The engine sent no content within timeouts.first_byte ({ceiling_s:g} s)."
        return UpstreamTimeout(reason, code="first_byte_timeout")
    return UpstreamTimeout(f"The engine sent nothing for timeouts.stall ({ceiling_s:g} s).", code="stall_timeout")
