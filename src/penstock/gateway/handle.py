"""The life of a request, from whole Request to one Record. The order of stages is this code."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from penstock.core.errors import ClientLeft, InternalError, RequestError, Unavailable, UpstreamFailed, UpstreamTimeout
from penstock.core.record import Attempt, Outcome, Record
from penstock.core.request import Request
from penstock.gateway.answer import models_answer
from penstock.gateway.relay import Relay, client_left
from penstock.telemetry.series import OTHER
from penstock.wire.openai import Call, read_call

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.connection import Connection

log = logging.getLogger("penstock.gateway")

MOST_ATTEMPTS = 3


async def handle(app: App, connection: Connection, request: Request) -> None:
    """Answers `request` on `connection`. Never raises; whatever happens, one Record is closed."""
    relay, record = app.open(connection, request)
    failure: RequestError | None = None
    try:
        if request.error is not None:
            raise request.error
        record.key = app.keys.authenticate(request)
        call = read_call(request)
        record.model = call.model or ""
        models = models_answer(request, app.fleet.endpoints)
        if models is not None:
            relay.answer(200, models)
        else:
            failure = await _answer_from_engine(app, relay, record, request, call)
    except RequestError as error:
        failure = error
        relay.refuse(error)
    except Exception:
        log.exception("request %s failed inside the gateway", record.id)
        failure = InternalError(f"The gateway failed; its log tells more under request id {record.id}.")
        if relay.committed:
            connection.abort()
        else:
            relay.refuse(failure)
    finally:
        record.outcome = outcome_of(failure, relay.status)
        record.error = failure.code if failure is not None else ""
        app.close(connection, request, relay, record)


async def _answer_from_engine(
    app: App, relay: Relay, record: Record, request: Request, call: Call
) -> RequestError | None:
    """Tries engines until one answers. Raises what ends the request before its commit point; returns what ends it
    after."""
    excluded: list[str] = []
    fresh = False
    while True:
        choice = app.fleet.choose(call.model, excluded)
        engine = choice.endpoint.name
        record.engine = engine
        row = app.meter.traffic(app.meter.route(request.path), call.model or OTHER, engine)
        app.fleet.lease(engine)
        attempt = Attempt(engine, 0.0)
        record.attempts.append(attempt)
        try:
            failure = await relay.attempt(
                app.fleet.engine(engine), request, row, fresh=fresh, count_content=not call.reports_usage
            )
        finally:
            app.fleet.give_back(engine)
        attempt.started_s = relay.sent_at - request.received
        if failure is None:
            return None
        attempt.error = failure.code
        if relay.left:
            return client_left()
        if relay.committed:
            return failure
        if not retriable(failure) or len(record.attempts) >= MOST_ATTEMPTS or app.draining:
            raise failure
        # A kept-alive connection may have been closed as we wrote: the same engine deserves a fresh one first.
        fresh = relay.was_reused
        if not fresh:
            excluded.append(engine)
            if not app.fleet.has_other(call.model, excluded):
                raise failure


def retriable(failure: RequestError) -> bool:
    """Whether another attempt may be made before the commit point: the engine was not reached, or it dropped the
    connection before it answered. A timeout is not: the engine may still be busy with the first."""
    return failure.code in ("upstream_refused", "upstream_reset", "connect_timeout", "upstream_malformed")


def outcome_of(failure: RequestError | None, status: int) -> Outcome:
    """The outcome of a request from what ended it. An engine's own 4xx is an answer, hence a rejection by it."""
    if failure is None:
        if status >= 500:
            return Outcome.UPSTREAM_FAILED
        return Outcome.REJECTED if status >= 400 else Outcome.SUCCESS
    for kind, outcome in (
        (ClientLeft, Outcome.CLIENT_LEFT),
        (UpstreamTimeout, Outcome.TIMED_OUT),
        (UpstreamFailed, Outcome.UPSTREAM_FAILED),
        (Unavailable, Outcome.UNAVAILABLE),
        (InternalError, Outcome.INTERNAL_ERROR),
    ):
        if isinstance(failure, kind):
            return outcome
    return Outcome.REJECTED
