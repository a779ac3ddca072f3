"""The life of a request, from whole Request to one Record. The order of stages is this code."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint
from penstock.core.errors import (
    InternalError,
    NotFound,
    Overloaded,
    RequestError,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from penstock.core.record import Attempt
from penstock.core.request import Request
from penstock.gateway.answer import MODELS, models_answer
from penstock.gateway.ask import PATIENCE, SOLE
from penstock.gateway.legs import Legs
from penstock.gateway.life import Wait
from penstock.gateway.relay import Relay, Transcript, client_left
from penstock.gateway.standins import steps_for
from penstock.gateway.tries import Tries, repeatable, tries_of
from penstock.gateway.verdict import Verdict
from penstock.gateway.view import RETRY_AFTER_S
from penstock.gateway.waiting import bounded, party_of, patience
from penstock.gateway.why import headers_of
from penstock.policy.identity.access import permit
from penstock.policy.resilience.advice import AdviceSettings, advise
from penstock.policy.resilience.fallback import Step
from penstock.policy.route.disaggregate import PATHS
from penstock.policy.route.facts import Ask, Lease
from penstock.wire.openai import Call, read_call, with_model
from penstock.wire.paths import PLAIN, check_path

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.connection import Connection

log = logging.getLogger("penstock.gateway")

LONGEST_MODEL = 256
"""Characters of a model's name that are kept in Records: clients choose it, up to the size of a body."""
Way = Coroutine[Wait[Any], None, RequestError | None]
"""Ends with what ended the request after its commit point, None for a whole answer; raises what ended it before."""
FAILS_OVER = (NotFound, Unavailable, Overloaded, UpstreamFailed, UpstreamTimeout)
"""Errors before the commit point after which a model that stands in is asked."""
ADVICE = AdviceSettings()
UNKNOWN = Verdict(None)
UNAUDITED = "The audit log cannot be written, and nothing is served without it."


async def handle(app: App, connection: Connection, request: Request) -> None:
    """Answers `request` on `connection`. Never raises; whatever happens, one Record is closed (law 1)."""
    relay = app.open(connection, request)
    try:
        if request.error is not None:
            raise request.error
        call = _let_in(app, relay, request)
        path, scopes = request.path, relay.principal.scopes
        models = models_answer(request, app.fleet.endpoints, scopes) if path.startswith(MODELS) else None
        if models is not None:
            relay.answer(200, models)
        else:
            if app.billing is not None:
                app.billing.admit(relay, relay.principal)
            if app.limited and (waiting := app.limiter.admit(relay, call, app.epoch)) is not None:
                await waiting
            relay.failure = await _answer(app, relay, request, call)
    except RequestError as error:
        relay.failure = error
        if error.retry is None:
            _advise(app, request, error)
        relay.refuse(error)
    except Exception:
        number = relay.request_id.decode("ascii")
        log.exception("request %s failed inside the gateway", number)
        relay.failure = InternalError(f"The gateway failed; its log tells more under request id {number}.")
        if relay.committed:
            connection.abort()
        else:
            relay.refuse(relay.failure)
    finally:
        app.close(connection, relay)


def _let_in(app: App, relay: Relay, request: Request) -> Call:
    """Who asks, and for what. Raises Unauthenticated, Forbidden or BadRequest."""
    special = request.special
    authorization, api_key = special.get(b"authorization"), special.get(b"x-api-key")
    principal = relay.principal = app.callers.authenticate(authorization, api_key, app.epoch + request.received)
    relay.key = principal.tenant.key
    path = request.path
    if path not in PLAIN:
        check_path(path)
    if app.audit is not None:
        if app.audit.refusing:
            raise Unavailable(UNAUDITED, code="audit_unavailable", retry_after_s=10.0)
        if app.content_bytes:
            relay.transcript = Transcript(request.body, app.content_bytes)
    call = read_call(request)
    relay.model = (call.model or "")[:LONGEST_MODEL]
    if principal.scopes.models or principal.scopes.endpoints:
        permit(principal, path, call.model)
    return call


def _advise(app: App, request: Request, error: RequestError) -> None:
    """Tells the client's SDK whether to come again, and when: its retries come on top of ours."""
    advice = advise(
        ADVICE,
        error.code,
        chance=app.chance(),
        wait_s=error.retry_after_s,
        repeatable=repeatable(request),
        spent=app.budget(monotonic()).left(monotonic()) < 1,
    )
    if advice.retry is not None:
        error.retry, error.retry_after_s = advice.retry, advice.retry_after_s


def _answer(app: App, relay: Relay, request: Request, call: Call) -> Way:
    """Most fleets have one engine per model and no bounds: nothing to choose, to wait for or to fall over to."""
    if app.models or app.fleet.splitting:
        return _answer_or_stand_in(app, relay, request, call)
    serving = app.fleet.serving(call.model)
    if len(serving) == 1 and not serving[0].max_in_flight:
        return _answer_from_one(app, relay, request, call, serving[0].name)
    for engine in serving:
        if not engine.max_in_flight:  # it never is full, so nobody ever waits
            ask = app.asks.read(request, call, relay.principal)
            if app.tokens is not None:
                return _answer_by_tokens(app, relay, request, call, ask)
            tries = tries_of(app, relay, call, ask, serving)
            return _answer_from_engine(app, relay, request, call, tries)
    return _answer_within_bounds(app, relay, request, call)


async def _answer_from_one(app: App, relay: Relay, request: Request, call: Call, engine: str) -> RequestError | None:
    """As `_answer_from_engine`, from the only engine there is."""
    fleet = app.fleet
    relay.engine = engine
    if app.routing.explain_headers:
        relay.extra = [*relay.limit_lines, *headers_of(relay)]
    alone = fleet.alone
    fresh = False
    while True:
        alone[engine] += 1
        try:
            failure = await relay.attempt(fleet.engines[engine], app.meter, call, fresh)
        finally:
            alone[engine] -= 1
        relay.attempts.append(
            Attempt(engine, relay.sent_at - request.received, relay.was_reused, "" if failure is None else failure.code)
        )
        if failure is None:
            return None
        if relay.left:
            return client_left()
        if relay.committed:
            return failure
        stale = relay.was_reused and failure.code == "upstream_reset" and repeatable(request)
        if fresh or not stale or app.draining or engine not in fleet.engines:
            raise failure
        fresh = True


async def _answer_by_tokens(app: App, relay: Relay, request: Request, call: Call, ask: Ask) -> RequestError | None:
    """As `_answer_from_engine`, once the prompt's token ids are known or will not be."""
    ask = await _with_tokens(app, relay, request, ask, app.fleet.serving(call.model))
    serving = app.fleet.serving(call.model)  # engines come and go meanwhile
    tries = tries_of(app, relay, call, ask if len(serving) > 1 else SOLE, serving)
    return await _answer_from_engine(app, relay, request, call, tries)


async def _with_tokens(app: App, relay: Relay, request: Request, ask: Ask, serving: Sequence[Endpoint]) -> Ask:
    assert app.tokens is not None
    ask = await app.tokens.add(ask, request, serving)
    if relay.left:
        raise client_left()
    return ask


async def _answer_or_stand_in(app: App, relay: Relay, request: Request, call: Call) -> RequestError | None:
    """Asks the pools of the model, then the models that stand in for it, as long as nothing has reached the client."""
    steps = steps_for(app, relay, request, call)
    for step in steps[:-1]:
        _take(relay, request, call, step)
        relay.has_standin = True
        try:
            return await _answer_within_bounds(app, relay, request, call, step.pool)
        except FAILS_OVER:
            if relay.left or app.draining:
                raise
        relay.has_standin = False
        relay.may_move = None
    if not steps:
        return await _answer_within_bounds(app, relay, request, call)
    _take(relay, request, call, steps[-1])
    return await _answer_within_bounds(app, relay, request, call, steps[-1].pool)


def _take(relay: Relay, request: Request, call: Call, step: Step) -> None:
    """The request now asks for the step's model."""
    if step.model != call.model:
        request.body = with_model(request.body, step.model)
        call.model = relay.model = step.model


async def _answer_within_bounds(
    app: App, relay: Relay, request: Request, call: Call, pool: str = ""
) -> RequestError | None:
    """Takes a place in the model's compartment and waits until an engine has room."""
    fleet = app.fleet
    serving = fleet.serving(call.model, pool)
    splits = fleet.splits(call.model) and request.path in PATHS
    choice, may_wait = splits or len(serving) > 1, bounded(serving)
    ask = app.asks.read(request, call, relay.principal, choice=choice, pool=pool) if choice or may_wait else SOLE
    if app.tokens is not None and choice:
        ask = await _with_tokens(app, relay, request, ask, serving)
        serving = fleet.serving(call.model, pool)
    place = app.bulkheads.enter(relay.model) if app.models else None
    if app.models and place is None:
        bound = app.models[relay.model].max_in_flight
        reason = f"{bound} requests of {relay.model} are under way: models.{relay.model}.max_in_flight."
        raise Overloaded(reason, code="bulkhead_full", retry_after_s=RETRY_AFTER_S)
    relay.turn = None
    try:
        if may_wait:
            party = party_of(relay.principal)
            relay.turn = app.waiting.at_once(ask, relay.model, serving, party)
            if relay.turn is None:
                patience_s = patience(request.special.get(PATIENCE, b""))
                relay.turn = await app.waiting.enter(relay, ask, relay.model, serving, patience_s, party)
                serving = fleet.serving(call.model, pool)  # engines come and go meanwhile
        tries = tries_of(app, relay, call, ask if splits or len(serving) > 1 else SOLE, serving)
        if splits:
            tries.legs = Legs(app, relay, tries, may_leave=len(serving) > 1)
        return await _answer_from_engine(app, relay, request, call, tries)
    finally:
        if relay.turn is not None:
            relay.turn.end()
        if place is not None:
            app.bulkheads.leave(place)


def _stale(app: App, relay: Relay, tries: Tries, failure: RequestError) -> bool:
    """Whether a kept-alive connection was closed as we wrote: the same engine deserves a fresh one first."""
    return (
        relay.was_reused
        and failure.code == "upstream_reset"
        and not (relay.left or relay.committed or app.draining)
        and tries.repeatable
        and len(relay.attempts) + 1 < app.attempts
    )


def _left(
    app: App, relay: Relay, lease: Lease, verdict: Verdict | None, failure: RequestError | None, again: bool
) -> None:
    """An attempt is over: what it teaches, and who may have the room that it leaves; unless it goes on there `again`,
    and leaves none."""
    if verdict is not None:
        app.judge(relay, lease, verdict, failure)
    if relay.turn is not None:
        relay.turn.charge(*relay.spent())
    if app.waiting.used and not again:
        app.lanes.ended(lease.engine, monotonic())
        app.waiting.ended(lease.tokens if relay.turn is None else relay.turn.tokens, lease.engine)


async def _has_waited(app: App, relay: Relay, lease: Lease) -> bool:
    """Waits for room in the engine that has the prompt's prefix. False, and the lease is returned: go elsewhere."""
    there = False
    try:
        there = await app.lanes.enter(relay, patience(relay.request.special.get(PATIENCE, b"")))
    finally:
        if not there:
            app.fleet.release(lease, monotonic())
    return there


async def _answer_from_engine(
    app: App, relay: Relay, request: Request, call: Call, tries: Tries
) -> RequestError | None:
    """Tries engines until one answers. Raises what ends the request before its commit point; returns what ends it
    after."""
    fleet = app.fleet
    fresh = False
    while True:
        if not fresh:
            relay.engine = tries.next_engine()
        engine = relay.engine
        decision = None if fresh else tries.decision
        relay.lease = fleet.lease(engine, tries.ask, monotonic(), decision)
        if decision is not None and decision.full and not await _has_waited(app, relay, relay.lease):
            continue
        if app.routing.explain_headers:
            relay.extra = [*relay.limit_lines, *headers_of(relay)]
        verdict: Verdict | None = UNKNOWN
        failure = None
        try:
            if tries.legs is None:
                failure = await relay.attempt(fleet.engines[engine], app.meter, call, fresh)
            else:
                failure = await tries.legs.attempt(engine, call, fresh)
            well = failure is None and relay.status < 400 and not fleet.health.troubled
            relay.well = well and tries.ask is not SOLE
            verdict = None if well else relay.verdict(failure)
        finally:
            fresh = failure is not None and not fresh and _stale(app, relay, tries, failure)
            lease = relay.lease  # a second engine may have taken over
            fleet.release(lease, monotonic())
            if verdict is not None or app.waiting.used:  # nobody has a turn before somebody could wait
                _left(app, relay, lease, verdict, failure, fresh)
        if failure is None:
            relay.attempts.append(Attempt(relay.engine, relay.sent_at - request.received, relay.was_reused))
            return None
        relay.attempts.append(Attempt(relay.engine, relay.sent_at - request.received, relay.was_reused, failure.code))
        if relay.left or relay.committed:
            return client_left() if relay.left else failure
        if app.draining or not (fresh or tries.may_go_on(failure)):
            raise failure
