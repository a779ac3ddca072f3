"""Which engine is tried next, and whether another may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.clock import monotonic
from penstock.core.errors import RequestError, Unavailable
from penstock.gateway.ask import SOLE
from penstock.gateway.view import RETRY_AFTER_S
from penstock.policy.route.facts import Ask

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.relay import Relay

NOT_REACHED = frozenset({"upstream_refused", "connect_timeout"})
"""The engine never saw the request: another may try, whatever the request does."""
BROKEN_OFF = frozenset({"upstream_reset", "upstream_malformed", "upstream_busy", "engine_slow"})
"""The engine answered nothing of use and was let go of: another may try what changes nothing by being done twice."""
BUSY = frozenset({429, 502, 503, 504})
"""Statuses by which an engine says that another may do better."""


class Tries:
    """The tries of one request."""

    def __init__(self, app: App, relay: Relay, ask: Ask, *, repeatable: bool) -> None:
        self._app = app
        self._relay = relay
        self._ask = ask
        self._repeatable = repeatable
        self._excluded: list[str] = []
        self._moved = False
        if ask is not SOLE:
            app.retries.requested(monotonic())
            if repeatable:
                relay.may_move = self._may_move

    def next_engine(self) -> str:
        """The engine to try now. Raises Unavailable when all that serve the model have failed or are full."""
        began = monotonic()
        decision = self._app.fleet.choose(self._ask, began, self._app.chance(), self._excluded)
        if decision is None:
            reason = "Every engine that serves this model has failed this request or takes no more now."
            raise Unavailable(reason, code="overloaded", retry_after_s=RETRY_AFTER_S)
        decision.seconds = monotonic() - began
        self._relay.decisions.append(decision)
        return decision.engine

    def may_go_on(self, failure: RequestError, engine: str) -> bool:
        """Whether another engine may be tried after `engine` failed before the commit point."""
        if self._ask is SOLE:
            return False
        if failure.code not in NOT_REACHED and not (failure.code in BROKEN_OFF and self._repeatable):
            return False
        self._excluded.append(engine)
        if self._moved:  # paid for and looked up when the engine's refusal came
            self._moved = False
            return True
        return self._has_another() and self._app.retries.may_retry(monotonic())

    def _may_move(self, status: int) -> bool:
        """Whether an answer with this status is dropped in favour of another engine."""
        relay = self._relay
        self._moved = (
            status in BUSY
            and not self._app.draining
            and self._has_another(relay.engine)
            and self._app.retries.may_retry(monotonic())
        )
        return self._moved

    def _has_another(self, *besides: str) -> bool:
        app = self._app
        excluded = [*self._excluded, *besides]
        if len(excluded) >= app.attempts:
            return False
        return app.fleet.router.choose(self._ask, monotonic(), 0.0, excluded) is not None
