"""The life of a request, from whole Request to one Record. The order of stages is this code."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from penstock.core.clock import monotonic
from penstock.core.errors import InternalError, RequestError
from penstock.core.record import Attempt
from penstock.core.request import Request
from penstock.gateway.answer import MODELS, models_answer
from penstock.gateway.ask import SOLE, ask_of
from penstock.gateway.relay import Relay, client_left
from penstock.gateway.tries import Tries
from penstock.gateway.verdict import Verdict
from penstock.gateway.why import headers_of
from penstock.wire.openai import Call, read_call
from penstock.wire.paths import check_path

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.connection import Connection

log = logging.getLogger("penstock.gateway")

LONGEST_MODEL = 256
"""Characters of a model's name that are kept in Records: clients choose it, up to the size of a body."""
REPEATABLE = frozenset(
    {
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/embeddings",
        b"/v1/responses",
        b"/v1/messages",
        b"/v1/rerank",
        b"/tokenize",
        b"/detokenize",
    }
)
"""POST endpoints that only compute. An upload or a batch is not sent twice."""
UNKNOWN = Verdict(None)
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


async def handle(app: App, connection: Connection, request: Request) -> None:
    """Answers `request` on `connection`. Never raises; whatever happens, one Record is closed (law 1)."""
    relay = app.open(connection, request)
    try:
        if request.error is not None:
            raise request.error
        relay.key = app.keys.authenticate(request)
        path = request.path
        if path[:4] != b"/v1/" or b"." in path or b"%" in path:
            check_path(path)
        call = read_call(request)
        relay.model = (call.model or "")[:LONGEST_MODEL]
        models = models_answer(request, app.fleet.endpoints) if path.startswith(MODELS) else None
        if models is not None:
            relay.answer(200, models)
        else:
            relay.failure = await _answer_from_engine(app, relay, request, call)
    except RequestError as error:
        relay.failure = error
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


async def _answer_from_engine(app: App, relay: Relay, request: Request, call: Call) -> RequestError | None:
    """Tries engines until one answers. Raises what ends the request before its commit point; returns what ends it
    after."""
    fleet = app.fleet
    serving = fleet.serving(call.model)
    ask = SOLE if len(serving) == 1 else ask_of(request, call, app.routing)
    repeatable = request.method in SAFE or request.path in REPEATABLE
    tries = Tries(app, relay, ask, repeatable=repeatable)
    fresh = False
    while True:
        if not fresh:
            relay.engine = serving[0].name if ask is SOLE else tries.next_engine()
        engine = relay.engine
        if app.routing.explain_headers:
            relay.extra = headers_of(relay)
        lease = fleet.lease(engine, ask, monotonic())
        verdict = UNKNOWN
        try:
            failure = await relay.attempt(fleet.engines[engine], app.meter, call, fresh)
            verdict = relay.verdict(failure)
        finally:
            fleet.release(lease, monotonic(), verdict)
        relay.attempts.append(
            Attempt(engine, relay.sent_at - request.received, relay.was_reused, "" if failure is None else failure.code)
        )
        if failure is None:
            return None
        if relay.left:
            return client_left()
        if relay.committed:
            return failure
        # A kept-alive connection may have been closed as we wrote: the same engine deserves a fresh one first.
        fresh = not fresh and relay.was_reused and failure.code == "upstream_reset" and repeatable
        if app.draining or not (fresh or tries.may_go_on(failure, engine)):
            raise failure
