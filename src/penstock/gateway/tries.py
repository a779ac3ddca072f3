"""Which engine is tried next, and whether another may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint
from penstock.core.errors import RequestError, Unavailable
from penstock.core.request import Request
from penstock.gateway.ask import SOLE
from penstock.gateway.view import RETRY_AFTER_S
from penstock.gateway.waiting import overloaded
from penstock.policy.resilience.timeouts import Kind, Limits, kind_of
from penstock.policy.route.facts import Ask, Decision
from penstock.wire.openai import Call
from penstock.wire.paths import COMPUTING

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.legs import Legs
    from penstock.gateway.relay import Relay

NOT_REACHED = frozenset({"upstream_refused", "connect_timeout"})
"""The engine never saw the request: another may try, whatever the request does."""
BROKEN_OFF = frozenset({"upstream_reset", "upstream_malformed", "upstream_busy", "engine_slow"})
"""The engine answered nothing of use and was let go of: another may try what changes nothing by being done twice."""
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
BUSY = frozenset({429, 502, 503, 504})
"""Statuses by which an engine says that another may do better."""


def repeatable(request: Request) -> bool:
    """Whether doing it twice changes nothing."""
    return request.method in SAFE or request.path in COMPUTING


class Tries(msgspec.Struct, eq=False):
    """The tries of one request, among the engines that serve its model. `tries_of` makes them."""

    app: App
    relay: Relay
    ask: Ask
    serving: Sequence[Endpoint]
    repeatable: bool
    """Whether doing it twice changes nothing."""
    may_leave: bool
    """Whether an engine that is slow is let go of, as another may do better."""
    call: Call
    legs: Legs | None = None
    """Its two legs, where it may go in two."""
    decision: Decision | None = None
    """The last one: None where there is no choice."""
    excluded: Sequence[str] = ()
    moved: bool = False
    """Another engine is to be asked: that is paid for and looked up already."""

    @property
    def kind(self) -> Kind:
        """Requests that take about as long as this one."""
        ask, call, legs = self.ask, self.call, self.legs
        model = ask.model if legs is None else ask.model + legs.part
        return kind_of(model, call.stream is True, ask.prompt_tokens, call.most_output, 0)

    def limits(self) -> Limits:
        """The time that requests like it need. Asked only of one that has waited longer than most ever do."""
        return self.app.learned.limits(self.kind)

    def hedge(self) -> str | None:
        """A second engine for a request that its first is slow to answer; None when there is none, or no budget."""
        app, now = self.app, monotonic()
        excluded = [*self.excluded, self.relay.engine]
        decision = app.fleet.choose(self.ask, now, app.chance(), excluded)
        if decision is None or not app.hedger.may_hedge(now, repeatable=self.repeatable, first_byte=False, copies=1):
            return None
        self.relay.decisions = (*self.relay.decisions, decision)
        return decision.engine

    def next_engine(self) -> str:
        """The engine to try now. Raises Unavailable when all that serve the model have failed or are full."""
        if self.ask is SOLE:
            return self.serving[0].name
        app, relay, before = self.app, self.relay, self.decision
        fleet, now = app.fleet, monotonic()
        if fleet.health.troubled:
            decision = fleet.choose(self.ask, now, app.chance(), self.excluded)
        else:
            may_wait = relay.turn is not None and not (before or relay.attempts or self.legs)
            decision = fleet.router.choose(self.ask, now, app.chance(), self.excluded, may_wait=may_wait)
        if decision is None:
            if before is not None and before.full and not relay.attempts:
                reason = "No engine had room within queue.max_wait or the client's own read timeout."
                raise overloaded(reason, "queue_timeout", RETRY_AFTER_S)
            reason = "Every engine that serves this model has failed this request or takes no more now."
            raise Unavailable(reason, code="overloaded", retry_after_s=RETRY_AFTER_S)
        self.decision = decision
        if app.hedger.enabled:
            delay_s = app.hedger.delay_s(self.kind, repeatable=self.repeatable)
            relay.hedge_at = now + delay_s if delay_s is not None else 0.0
        relay.decisions = (*relay.decisions, decision) if relay.decisions else (decision,)
        if self.legs is not None:
            self.legs.decide(decision, now)
        return decision.engine

    def may_go_on(self, failure: RequestError) -> bool:
        """Whether another engine may be tried after a failure before the commit point."""
        if self.ask is SOLE:
            return False
        if failure.code not in NOT_REACHED and not (failure.code in BROKEN_OFF and self.repeatable):
            return False
        self.excluded = (*self.excluded, self.relay.engine)
        if self.moved:  # paid for and looked up when the engine's refusal came
            self.moved = False
            return True
        return self._has_another() and self.app.may_retry()

    def may_move(self, status: int) -> bool:
        """Whether an answer with this status is dropped in favour of another."""
        if self.legs is not None and self.legs.unread(status):
            return True
        if status not in BUSY or self.app.draining:
            return False
        another = self.ask is not SOLE and self._has_another(self.relay.engine)
        if not (another or self.relay.has_standin) or not self.app.may_retry():
            return False
        self.moved = another  # without another engine, another model is asked
        return True

    def _has_another(self, *besides: str) -> bool:
        app = self.app
        if len(self.relay.attempts) + len(besides) >= app.attempts:
            return False
        excluded = [*self.excluded, *besides]
        return app.fleet.router.choose(self.ask, monotonic(), 0.0, excluded) is not None


def tries_of(app: App, relay: Relay, call: Call, ask: Ask, serving: Sequence[Endpoint]) -> Tries:
    """Those of `relay`, which may move to another engine from now on where that is allowed."""
    request = relay.request
    again = request.path in COMPUTING or request.method in SAFE
    tries = Tries(app, relay, ask, serving, again, again, call)
    if ask is not SOLE:
        app.routed += 1
        relay.tries = tries
        if again:
            relay.may_move = tries.may_move
    elif relay.has_standin:
        relay.may_move = tries.may_move
    return tries
