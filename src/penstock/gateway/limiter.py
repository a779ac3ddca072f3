"""The limits of callers, as a worker keeps them: reserve before a request is sent anywhere, settle when it has ended.

Requests reserve from shares that this worker holds. One whose share is used up waits a moment for the supervisor's
answer, and then the rule decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import NamedTuple

from penstock.config.state import RateLimits
from penstock.core.clock import monotonic
from penstock.core.limit import Measure, Rule
from penstock.core.record import TokenSource
from penstock.core.tenant import Principal
from penstock.gateway.life import Wait
from penstock.gateway.relay import Relay, client_left
from penstock.policy.limit.bucket import counted
from penstock.policy.limit.estimate import Estimates, EstimateSettings
from penstock.policy.limit.local import LocalLimits, Plan, Reservation, Short
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.limit.refusal import Refused, headers
from penstock.policy.price.book import Book
from penstock.policy.price.cost import most, price_of
from penstock.wire.openai import Call

MOST_LEARNT = 8
"""Requests of a batch that estimates learn from: they keep the last hundred of a kind."""
MOST_PLANS = 10_000
"""Callers times models whose counts are kept at hand."""


class Held:
    """What one request has reserved."""

    __slots__ = ("_limiter", "key", "reservation", "spends")

    def __init__(self, limiter: Limiter, key: str, reservation: Reservation, *, spends: bool) -> None:
        self._limiter = limiter
        self.key = key
        self.reservation = reservation
        self.spends = spends

    def settle(self, relay: Relay, epoch: float) -> None:
        """The request has ended: charges what it used and gives back the rest."""
        self._limiter.settle(self, relay, epoch)


class Need(NamedTuple):
    """What one request is expected to use, and of which counts."""

    plan: Plan
    key: str
    input_tokens: int
    output_tokens: int
    spend: int
    spends: bool
    """A count of money is among them."""


class Limiter:
    """One worker's. `send` tells the supervisor what is wanted."""

    def __init__(
        self, settings: RateLimits, book: Book, send: Callable[[Wants], None], known_model: Callable[[str], bool]
    ) -> None:
        self._rules = settings.rules()
        self._wait_s = settings.wait
        self._headers = settings.headers
        self._book = book
        self._send = send
        self._known_model = known_model
        self._local = LocalLimits()
        self._estimates = Estimates(EstimateSettings())
        self._plans: dict[tuple[str, str], tuple[Principal, Plan, bool]] = {}
        self._waiting: list[tuple[Short, Wait[None]]] = []
        self.shadowed: dict[str, int] = {}
        """Shadow rule -> requests that it would have refused."""
        self.opened: dict[str, int] = {}
        """Rule -> requests that it let pass while the store could not say."""
        self.refused: dict[str, int] = {}
        """Rule -> requests that it refused."""

    def admit(self, relay: Relay, call: Call, epoch: float) -> Coroutine[Wait[None], None, None] | None:
        """Reserves what a request is expected to use. Raises LimitExceeded or LimitsUnavailable; or returns what has to
        be awaited before that is known."""
        principal = relay.principal
        model = call.model or ""
        if not self._known_model(model):
            model = ""
        plan, spends = self._plan(principal, model)
        if not plan.parts:
            return None
        request = relay.request
        key = principal.tenant.key
        read = self._estimates.input_tokens(model, request.bytes_in)
        written = self._estimates.output_tokens(model, key, call.most_output or None)
        spend = most(self._book, model, read, written, epoch + request.received) if spends else 0
        answer = self._local.reserve(plan, monotonic(), read, written, spend)
        if type(answer) is Reservation and not (self._headers or answer.shadowed or answer.opened):
            relay.held = Held(self, key, answer, spends=spends)
            return None
        need = Need(plan, key, read, written, spend, spends)
        if isinstance(answer, Short):
            return self._ask(relay, need, answer)
        self._decided(relay, need, answer)
        return None

    def _decided(self, relay: Relay, need: Need, answer: Reservation | Refused) -> None:
        if self._headers or isinstance(answer, Refused):
            standings = self._local.standings(need.plan, monotonic())
            relay.extra = relay.limit_lines = [f"{name}: {value}".encode() for name, value in headers(standings)]
        if isinstance(answer, Refused):
            _count(self.refused, (answer.rule,))
            raise answer.error()
        if answer.shadowed:
            _count(self.shadowed, answer.shadowed)
        if answer.opened:
            _count(self.opened, answer.opened)
        relay.held = Held(self, need.key, answer, spends=need.spends)

    async def _ask(self, relay: Relay, need: Need, short: Short) -> None:
        """Asks for more, until the answer or for as long as is bearable."""
        plan, read, written, spend = need.plan, need.input_tokens, need.output_tokens, need.spend
        end = monotonic() + self._wait_s
        while True:
            self.report(monotonic())
            wait: Wait[None] = Wait()
            self._waiting.append((short, wait))
            timer = asyncio.get_running_loop().call_later(max(0.0, end - monotonic()), wait.set, None)
            await wait
            timer.cancel()
            now = monotonic()
            gave_up = 0 if now < end else short.number
            answer = self._local.reserve(plan, now, read, written, spend, gave_up)
            if not isinstance(answer, Short):
                break
            short = answer
        if relay.left:
            if isinstance(answer, Reservation):
                self._local.settle(answer, 0, 0)
            raise client_left()
        self._decided(relay, need, answer)

    def settle(self, held: Held, relay: Relay, epoch: float) -> None:
        """See Held."""
        (usage, _), request = relay.tokens(), relay.request
        read, written = usage.input_tokens, usage.output_tokens
        spend = 0
        if held.spends:
            duration_s = relay.ended_at - request.received
            cost = price_of(
                self._book, relay.model, relay.engine, usage, duration_s, epoch + request.received, served=bool(written)
            )
            spend = cost.nano
        self._local.settle(held.reservation, read, written, spend)

    def learn(self, ended: Sequence[Relay]) -> None:
        """From requests that have ended: how long prompts and answers are. A few of a batch tell enough."""
        told = [relay for relay in ended if relay.held is not None]
        for relay in told[:: max(1, len(told) // MOST_LEARNT)]:
            usage, source = relay.tokens()
            if source is TokenSource.USAGE:
                model = relay.model if self._known_model(relay.model) else ""
                read, written = usage.input_tokens, usage.output_tokens
                self._estimates.learn(model, relay.key, relay.request.bytes_in, read, written)

    def report(self, now: float) -> None:
        """Tells the supervisor what was used and what is wanted, if there is anything to tell."""
        wants = self._local.wants(now)
        if wants is not None:
            self._send(wants)

    def take(self, grants: Grants, now: float) -> None:
        """The supervisor's answer; who waited for it goes on."""
        self._local.take(grants, now)
        waiting, self._waiting = self._waiting, []
        for short, wait in waiting:
            if short.answered:
                wait.set(None)
            elif not wait.done:
                self._waiting.append((short, wait))

    def standings(self, principal: Principal, model: str, now: float) -> list[dict[str, object]]:
        """How far a caller's limits are used, for people."""
        plan, _ = self._plan(principal, model)
        return [
            {"rule": each.rule.name, "level": each.rule.level, "limit": each.rule.limit, "used": each.used}
            for each in self._local.standings(plan, now)
        ]

    def _plan(self, principal: Principal, model: str) -> tuple[Plan, bool]:
        place = (principal.tenant.key, model)
        found = self._plans.get(place)
        if found is None or found[0] is not principal:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            buckets = counted(principal, model, self._rules)
            spends = any(each.rule.measure is Measure.SPEND for each in buckets)
            found = self._plans[place] = (principal, self._local.plan(buckets), spends)
        return found[1], found[2]


def _count(into: dict[str, int], rules: Iterable[Rule]) -> None:
    for rule in rules:
        into[rule.name] = into.get(rule.name, 0) + 1
